"""Jobs of docs/gallery in other codes, each as short as its documentation makes it; `python -m experiments.benchmarks.gallery_peers 7` runs one."""

import sys
from collections.abc import Callable
from typing import NamedTuple


def alloy_by_command_line() -> None:
    """ace-jax's commands."""
    import subprocess

    import ase.io
    import numpy as np
    from ase.build import bulk
    from ase.calculators.emt import EMT

    for seed in range(50):
        atoms = bulk("Cu", a=3.55 + 0.06 * (seed % 9) + 0.03 * (seed % 5), cubic=True).repeat((1, 1, 2))
        atoms.symbols[np.random.default_rng(seed).permutation(8)[: seed % 9]] = "Au"
        atoms.rattle(0.08, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        ase.io.write("train.xyz" if seed < 40 else "test.xyz", atoms, append=True)
    keys = "--energy-key energy --force-key forces --stress-key stress"
    subprocess.run(f"aj fit --order 3 --max-degree 10 --rcut 4.5 --train train.xyz --test test.xyz {keys} --out fit".split(), check=True)
    subprocess.run(f"aj eval --model fit/model.npz --data test.xyz {keys} --out predicted.xyz".split(), check=True)


def linear_ace() -> None:
    """ace-jax's command, of the same frames."""
    import subprocess

    import ase.io
    from ase.build import bulk
    from ase.calculators.emt import EMT

    frames = [bulk("Al", a=3.9 + 0.01 * k, cubic=True).repeat((1, 1, 2)) for k in range(30)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.15, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
    ase.io.write("train.xyz", frames[::2])
    ase.io.write("test.xyz", frames[1::2])
    keys = "--energy-key energy --force-key forces --stress-key stress"
    subprocess.run(f"aj fit --order 3 --max-degree 8 --rcut 5.0 --train train.xyz --test test.xyz {keys} --out fit".split(), check=True)


def gradients_of_a_trajectory() -> None:
    """jax-md; its pairs are of minimum images, for which 32 atoms are too few at this cutoff."""
    import jax
    import jax.numpy as jnp
    from ase.build import bulk
    from jax_md import energy, simulate, smap, space

    jax.config.update("jax_enable_x64", True)
    atoms = bulk("Ar", a=5.3, cubic=True).repeat(3)
    atoms.rattle(0.05, seed=0)
    displacement, shift = space.periodic(atoms.cell.lengths())
    units = 10.180505  # fs: Å √(u / eV)

    def lennard_jones(r, sigma, epsilon):  # that of jax-md answers to σ by NaN, from the distance of an atom to itself
        x = (sigma / jnp.where(r > 0, r, 1e3)) ** 6
        return 4 * epsilon * (x**2 - x)

    pairs = energy.multiplicative_isotropic_cutoff(lennard_jones, r_onset=6.0, r_cutoff=7.5)
    potential = smap.pair(pairs, space.canonicalize_displacement_or_metric(displacement), sigma=3.405, epsilon=0.0104)
    start, step = simulate.nve(potential, shift, 4.0 / units)

    @jax.jit
    def end(params):
        state = start(jax.random.key(0), atoms.positions, kT=60.0 * 8.617333e-5, mass=39.948, **params)
        state, _ = jax.lax.scan(jax.checkpoint(lambda state, _: (step(state, **params), None)), state, length=50)
        return potential(state.position, **params)

    params = {"sigma": 3.405, "epsilon": 0.0104}
    value, slopes = jax.value_and_grad(end)(params)
    difference = (end(params | {"sigma": 3.405 + 1e-5}) - end(params | {"sigma": 3.405 - 1e-5})) / 2e-5
    print(f"{float(value):.6f} eV; by σ {float(slopes['sigma']):.6f} and {float(difference):.6f} eV/Å; by ε {float(slopes['epsilon']):.6f}")


def own_flax_head() -> None:
    """DScribe for features and their derivatives, the training by hand in Flax and Optax."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from ase.build import bulk
    from dscribe.descriptors import SOAP
    from flax import nnx

    import jaxpot as jp

    jax.config.update("jax_enable_x64", True)
    silicon = {"A": 7.049556277, "B": 0.6022245584, "p": 4.0, "q": 0.0, "a": 1.8, "lam": 21.0, "gamma": 1.2, "cosine": -1 / 3}
    truth = jp.empirical.StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, **silicon)
    frames = [bulk("Si", a=5.43, cubic=True) for _ in range(20)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.15, seed=seed)
        atoms.calc = jp.Calculator(truth)
        atoms.get_forces()
    soap = SOAP(species=["Si"], r_cut=4.0, n_max=4, l_max=3, sigma=0.5, periodic=True)
    derivatives, features = soap.derivatives(frames, method="numerical", attach=True)  # analytical ones do not know of periods
    energies, forces = np.array([a.get_potential_energy() for a in frames]), np.array([a.get_forces() for a in frames])
    mean, deviation = features.mean((0, 1)), features.std((0, 1)) + 1e-12
    features, derivatives = jnp.array((features - mean) / deviation), jnp.array(derivatives / deviation)
    rngs = nnx.Rngs(0)
    module = nnx.Sequential(nnx.Linear(soap.get_number_of_features(), 16, rngs=rngs), nnx.silu, nnx.Linear(16, 1, rngs=rngs))
    graph, params = nnx.split(module)
    params = jax.tree.map(lambda x: x.astype(float), params)

    def predicted(params, features, derivatives):
        value, slope = jax.value_and_grad(lambda x: nnx.merge(graph, params)(x).sum())(features)
        return value, -jnp.einsum("iaxf,if->ax", derivatives, slope)

    def loss(params):
        e, f = jax.vmap(predicted, (None, 0, 0))(params, features, derivatives)
        return jnp.sum((e + energies.mean() - energies) ** 2) / 8 / 0.01**2 + jnp.sum((f - forces) ** 2) / 0.1**2

    optimizer = optax.adam(0.01)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(1000):
        params, state = step(params, state)
    e, f = jax.vmap(predicted, (None, 0, 0))(params, features, derivatives)
    print("meV/atom, eV/Å (RMSE):", jnp.sqrt(jnp.mean((e + energies.mean() - energies) ** 2)) / 8 * 1000, jnp.sqrt(jnp.mean((f - forces) ** 2)))


def own_radial_and_cutoff() -> None:
    """featomic's splines of a radial basis of one's own; the cutoff is its own, and the answer to a length a difference."""
    import numpy as np
    from ase.build import bulk
    from featomic import SoapPowerSpectrum
    from featomic.basis import RadialBasis, TensorProduct
    from featomic.cutoff import Cutoff, ShiftedCosine
    from featomic.density import Gaussian
    from featomic.splines import SoapSpliner

    class Decays(RadialBasis):
        def __init__(self, *, max_radial, radius, length):
            super().__init__(max_radial=max_radial, radius=radius)
            self.length = length

        def compute_primitive(self, positions, n, *, derivative):
            values = np.exp(-positions * n / self.length)
            return -n / self.length * values if derivative else values

    def spectrum(length):
        cutoff, basis = Cutoff(radius=4.5, smoothing=ShiftedCosine(width=1.0)), Decays(max_radial=3, radius=4.5, length=length)
        basis = TensorProduct(max_angular=3, radial=basis, spline_accuracy=1e-8)
        hypers = SoapSpliner(cutoff=cutoff, density=Gaussian(width=0.5), basis=basis).get_hypers()
        return SoapPowerSpectrum(**hypers).compute(bulk("Si"))[0].values.sum()

    print((spectrum(3.0 + 1e-4) - spectrum(3.0 - 1e-4)) / 2e-4)


def tensors() -> None:
    """featomic's equivariant power spectrum, a ridge regression by hand."""
    import metatensor as mts
    import numpy as np
    from ase.build import molecule
    from featomic import SphericalExpansion
    from featomic.clebsch_gordan import EquivariantPowerSpectrum

    frames = [molecule("H2O") for _ in range(60)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.08, seed=seed)
        atoms.rotate(37 * seed, (1, 2, 3))
        bonds = atoms.positions[1:] - atoms.positions[0]
        atoms.info["dipole"] = np.sum(bonds * np.exp(-0.7 * np.linalg.norm(bonds, axis=1, keepdims=True)), axis=0)
    expansion = SphericalExpansion(
        cutoff={"radius": 3.5, "smoothing": {"type": "ShiftedCosine", "width": 1.0}}, density={"type": "Gaussian", "width": 0.4},
        basis={"type": "TensorProduct", "max_angular": 3, "radial": {"type": "Gto", "max_radial": 3}},
    )  # fmt: skip
    vectors = mts.Labels(["o3_lambda", "o3_sigma"], np.array([[1, 1]]))

    def features(frames):
        found = EquivariantPowerSpectrum(expansion).compute(frames, selected_keys=vectors, neighbors_to_properties=True)
        found = mts.sum_over_samples(found.keys_to_properties("center_type"), "atom")
        return found.block().values[:, [2, 0, 1]].reshape(3 * len(frames), -1)  # y, z, x of real harmonics

    a, y = features(frames[:40]), np.array([atoms.info["dipole"] for atoms in frames[:40]]).ravel()
    scale = np.sqrt(np.mean(a**2))
    weights = np.linalg.solve(a.T @ a / scale**2 + 1e-8 * np.eye(a.shape[1]), a.T @ y / scale**2)
    error = features(frames[40:]) @ weights - np.array([atoms.info["dipole"] for atoms in frames[40:]]).ravel()
    print("dipole RMSE, e·Å:", np.sqrt(np.mean(error**2)))


def files_of_other_codes() -> None:
    """gap_fit writes the GAP, QUIP reads it; there is no ACE."""
    import subprocess

    import ase.io
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from quippy.potential import Potential

    frames = [bulk("Al", a=3.9 + 0.01 * k, cubic=True) for k in range(20)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.info["dft_energy"], atoms.arrays["dft_forces"], atoms.calc = atoms.get_potential_energy(), atoms.get_forces(), None
    ase.io.write("train.xyz", frames)
    gap = "gap={distance_2b cutoff=5.0 cutoff_transition_width=1.0 covariance_type=ard_se theta_uniform=1.0 delta=0.5 n_sparse=20 sparse_method=uniform}"
    options = ["default_sigma={0.001 0.02 0 0}", "e0_method=average", "energy_parameter_name=dft_energy", "force_parameter_name=dft_forces"]
    subprocess.run(["gap_fit", "at_file=train.xyz", gap, *options, "gp_file=al.xml"], check=True)
    frames[0].calc = Potential(param_filename="al.xml")
    print(frames[0].get_potential_energy() - frames[0].info["dft_energy"])


class Job(NamedTuple):
    code: str
    run: Callable[[], None]


JOBS = {  # by the number of the page
    1: Job("ace-jax, commands", alloy_by_command_line), 2: Job("ace-jax, a command", linear_ace), 3: Job("jax-md", gradients_of_a_trajectory),
    4: Job("DScribe and Flax", own_flax_head), 6: Job("featomic, splines", own_radial_and_cutoff), 7: Job("featomic, λ-SOAP", tensors),
    8: Job("gap_fit", files_of_other_codes),
}  # fmt: skip

if __name__ == "__main__":
    JOBS[int(sys.argv[1])].run()
