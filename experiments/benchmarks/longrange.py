"""Sums of charges in crystals: jaxpot's Ewald and ParticleMesh beside jax-pme and torch-pme, at equal errors of the forces; how cost grows; whether the
error that is expected is the true one; and charges that minimise their energy, by conjugate gradients and by the whole matrix."""

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from tqdm import tqdm

import jaxpot as jp
from experiments.benchmarks import peers, timing
from experiments.benchmarks.comparisons import Claim, Comparison
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.longrange import ConjugateGradients, Coulomb, Dense, Direct, PairSum, ParticleMesh, QEq, mesh_for, sum_for
from jaxpot.longrange.choice import ewald
from jaxpot.longrange.task import task_of
from jaxpot.units import COULOMB

DENSITY = 0.05  # atoms per Å³, as in NaCl
EWALD_UP_TO = 3000  # atoms; beyond, Ewald's sum takes minutes
DENSE_UP_TO = 1000  # atoms; beyond, the matrix of the hardness takes minutes


def salt(n_atoms: int, seed: int = 0) -> tuple[Atoms, np.ndarray]:
    """A disordered cubic salt of charges ±1."""
    random, side = np.random.default_rng(seed), int(np.ceil(n_atoms ** (1 / 3)))
    sites = random.permutation(np.stack(np.meshgrid(*[np.arange(side)] * 3), axis=-1).reshape(-1, 3))[:n_atoms]
    cell = (n_atoms / DENSITY) ** (1 / 3)
    charges = np.where(np.arange(n_atoms) % 2, 1.0, -1.0)
    places = (sites + 0.4 * random.random(sites.shape)) * cell / side
    return Atoms(np.where(charges > 0, 11, 17), positions=places, cell=np.eye(3) * cell, pbc=True), charges


def gas(n_atoms: int, seed: int) -> tuple[Atoms, np.ndarray]:
    """Charges at random places of a random triclinic cell, of every third with a net charge."""
    random = np.random.default_rng(seed)
    while True:
        cell = np.eye(3) + 0.35 * random.normal(size=(3, 3))
        cell *= (n_atoms / DENSITY / abs(np.linalg.det(cell))) ** (1 / 3)
        if np.min(1 / np.linalg.norm(np.linalg.inv(cell), axis=0)) > 0.6 * (n_atoms / DENSITY) ** (1 / 3):
            break
    q = random.normal(size=n_atoms)
    return Atoms(f"H{n_atoms}", positions=random.random((n_atoms, 3)) @ cell, cell=cell, pbc=True), q if seed % 3 == 0 else q - q.mean()


def everything(sum: PairSum, graph: jp.Graph, q: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Energy, forces and virial."""

    def energy(positions, epsilon):
        return 0.5 * jnp.sum(q * sum.potential(Coulomb(), jp.strain(graph.replace(positions=positions), epsilon), q))

    value, (by_position, by_strain) = jax.value_and_grad(energy, argnums=(0, 1))(graph.positions, jnp.zeros((3, 3)))
    return value, -by_position, -by_strain


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(np.asarray(x) ** 2, axis=-1))))


def sums(n_atoms: int, accuracy: float, runs: int) -> Comparison:
    """Energy, forces and virial of one salt at one accuracy, in eV/Å; lists at hand, those of the peers with every pair once."""
    atoms, q = salt(n_atoms)
    result = Comparison(f"charges, errors of {accuracy:.0e} eV/Å", n_atoms)
    exact = mesh_for(atoms, accuracy=0.03 * accuracy)
    _, forces, _ = jax.jit(everything)(exact, jp.from_atoms(atoms, float(exact.reach)), jnp.asarray(q))
    mesh = mesh_for(atoms, accuracy=accuracy)
    kinds: dict[str, PairSum] = {"ParticleMesh": mesh}
    if n_atoms <= EWALD_UP_TO:
        kinds["Ewald"] = ewald(task_of(atoms, accuracy, Coulomb(), 1.0, 0.1))[1]()
    contenders = {}
    for name, sum in kinds.items():
        program = timing.program(everything, sum, jp.from_atoms(atoms, float(sum.reach)), jnp.asarray(q))
        result.check(f"{name}, rms error, eV/Å", rms(program()[1] - forces), 2 * accuracy)
        contenders[name] = timing.Timed(program)
    for name, kind in (("jax-pme", peers.JaxPME), ("torch-pme", peers.TorchPME)):
        spacing, peer, found = float(mesh.spacing), None, np.inf
        while found > 1.5 * accuracy and spacing > 0.2 * float(mesh.spacing):
            peer = result.try_to(lambda kind=kind, spacing=spacing: kind(atoms, q, float(mesh.cutoff.radius), float(mesh.width), spacing, COULOMB))
            if peer is None:
                break
            found, spacing = rms(peer.forces() - forces), 0.75 * spacing
        if peer and found <= 1.5 * accuracy:
            result.checks[f"{name}, rms error, eV/Å"] = found
            contenders[name] = timing.Timed(peer)
        elif peer:
            result.missing.append(f"{name} reaches {found:.1e} eV/Å only")
    result.times = timing.interleaved(contenders, runs)
    for name in ("jax-pme", "torch-pme"):
        result.faster(f"{n_atoms} charges at {accuracy:.0e} eV/Å against {name}", name, "ParticleMesh", 1.0)
    return result


def equilibration(n_atoms: int, accuracy: float, runs: int) -> Comparison:
    """Charges of one salt that minimise their energy, and the sum of their squares with its derivatives by positions and strain."""
    atoms, result = salt(n_atoms)[0], Comparison(f"equilibrated charges, errors of {accuracy:.0e} eV/Å", n_atoms)
    species = ("Na", "Cl")
    qeq = QEq(species, jp.IsolatedAtoms({"Na": 2.8, "Cl": 8.6}), hardness=[9.2, 18.7], sigma=[1.4, 1.0], sum=Direct())
    qeq = qeq.replace(sum=sum_for(atoms, interaction=qeq.interaction, accuracy=accuracy), solver=ConjugateGradients())
    graph = jp.from_atoms(atoms, float(qeq.reach))

    def with_derivatives(model, graph):
        def squares(positions, epsilon):
            return jnp.sum(model.charges(jp.strain(graph.replace(positions=positions), epsilon)) ** 2)

        return jax.value_and_grad(squares, argnums=(0, 1))(graph.positions, jnp.zeros((3, 3)))

    name = type(qeq.sum).__name__
    programs = {f"conjugate gradients on {name}": timing.program(QEq.charges, qeq, graph)}
    programs[f"with derivatives, on {name}"] = timing.program(with_derivatives, qeq, graph)
    if n_atoms <= DENSE_UP_TO:
        programs["the whole matrix"] = timing.program(QEq.charges, qeq.replace(solver=Dense()), graph)
        found, _, whole = (program() for program in programs.values())
        result.check("largest difference of charges, e", float(jnp.max(jnp.abs(found - whole))), 1e-8)
    result.times = timing.interleaved({text: timing.Timed(program) for text, program in programs.items()}, runs)
    return result


def growth(times: dict[int, float]) -> float:
    """The largest ratio of the cost per atom and log N, over sizes, to that of the smallest from 1000 on."""
    sizes = sorted(n for n in times if n >= 1000)
    scaled = [times[n] / (n * np.log(n)) for n in sizes]
    return max(scaled) / scaled[0]


def expected_errors(n_cells: int) -> list[float]:
    """True over expected rms errors of forces, of random cells of 100 to 2000 charges."""
    ratios = []
    for seed in tqdm(range(n_cells), desc="cells", leave=False):
        random = np.random.default_rng(1000 + seed)
        atoms, q = gas(int(np.exp(random.uniform(np.log(100), np.log(2000)))), seed)
        spacing, order = random.uniform(0.7, 1.4), int(random.integers(4, 7))
        grid = tuple(int(np.ceil(length / spacing)) for length in atoms.cell.lengths())
        width = random.uniform(1.0, 1.4)
        sum = ParticleMesh(PolynomialCutoff(5.0 * width, width=0.5 * width), width=width, grid=grid, spacing=spacing, order=order)
        expected = float(sum.error(Coulomb(), jp.from_atoms(atoms, float(sum.reach)), jnp.asarray(q)))
        exact = sum_for(atoms, accuracy=0.02 * expected)
        found = [np.asarray(jax.jit(everything)(one, jp.from_atoms(atoms, float(one.reach)), jnp.asarray(q))[1]) for one in (exact, sum)]
        ratios.append(rms(found[1] - found[0]) / expected)
        jax.clear_caches()
    return ratios


def claims_of_errors(ratios: list[float]) -> list[Claim]:
    within = float(np.mean([0.5 <= ratio <= 2 for ratio in ratios]))
    return [Claim(f"expected error within a factor of two of the true one, of {len(ratios)} random cells", within, 0.95)]
