"""The models, each fitted to frames of one molecule by a function of (frames, isolated, settings), and the choice among settings."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
import optax
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp

REACH = 1.0  # Å, of the neighbour lists of models that use none
WEIGHTS = ("*.weights.*", "*.biases.*")


def dataset(frames: list, cutoff: float, settings: dict) -> jp.Dataset:
    """Energies with a noise level per structure, not per atom: all structures have the same atoms."""
    return jp.Dataset.from_atoms(frames, cutoff, sigma=jp.Properties(energy=settings["energy"], forces=settings["forces"]))


def ace(frames: list, isolated: dict, settings: dict):
    """Linear ACE; functions are the rougher a priori the higher their degree and the more atoms they couple. Its posterior is kept where asked for."""
    degrees = tuple(settings["degrees"])
    density = jp.Density(
        tuple(isolated),
        jp.cutoffs.PowerCutoff(settings["cutoff"]),
        jp.radial.Agnesi(int(max(degrees)) + 1, nearest=settings["nearest"]),
        l_max=settings["l_max"],
        sigma=None,
        center_weight=0.0,
    )
    basis = jp.ACE(density, jp.TotalDegree(degrees, settings["weight"]))
    roughness = basis.smoothness(settings["smoothness"], order=settings["per_factor"])
    model = jp.AtomicPotential(basis, jp.Linear(scale=settings["scale"], roughness=roughness)) + jp.IsolatedAtoms(isolated)
    fit = jp.fit.posterior if settings["covariance"] else jp.fit.linear
    return fit(model, dataset(frames, settings["cutoff"], settings), method="cholesky")


def gap(frames: list, isolated: dict, settings: dict):
    """SOAP-GAP with pairs, its posterior kept where asked for."""
    species, cutoff = tuple(isolated), jp.CosineCutoff(settings["cutoff"], width=settings["width"])
    data = dataset(frames, settings["cutoff"], settings)
    pairs = jp.descriptors.TwoBody(species, cutoff)
    soap = jp.SOAP(jp.Density(species, cutoff, jp.GTO(settings["n_max"]), l_max=settings["l_max"], sigma=settings["sigma"]))
    model = jp.IsolatedAtoms(isolated)
    atoms = frames[0].get_chemical_symbols()
    n_pairs = {(a, b): settings["n_pairs"] for a, b in pairs.kinds if a != b or atoms.count(a) > 1}  # those that the molecule has
    for descriptor, head, n in (
        (pairs, jp.SparseGP(jp.kernels.SquaredExponential(settings["pair_length"]), delta=settings["pair_delta"]), n_pairs),
        (soap, jp.SparseGP(jp.PolynomialKernel(settings["zeta"]), delta=settings["delta"]), settings["n_sparse"]),
    ):
        points = jp.fit.select_environments(descriptor, data, n, key=jax.random.key(settings["seed"]))
        model = model + jp.AtomicPotential(descriptor, head).with_points(points)
    return (jp.fit.posterior if settings["covariance"] else jp.fit.linear)(model, data)


def network(frames: list, isolated: dict, settings: dict):
    """A committee of networks on symmetry functions, trained in float32 on energies less a constant per element."""
    species, cutoff = tuple(isolated), jp.CosineCutoff(settings["cutoff"])
    places = np.linspace(*settings["places"])
    sets = (
        jp.descriptors.G2(cutoff, eta=np.full(len(places), settings["eta"]), r_s=places),
        jp.descriptors.G5.centered(cutoff, settings["angular"], zeta=settings["wide"]),
        jp.descriptors.G4.centered(cutoff, settings["angular"], zeta=settings["narrow"]),
    )
    atoms = frames[0].get_chemical_symbols()
    mean = np.mean([a.get_potential_energy() for a in frames]) - sum(isolated[symbol] for symbol in atoms)
    constants = {symbol: float(energy + mean / len(atoms)) for symbol, energy in isolated.items()}
    data = dataset([_less(a, constants) for a in frames], settings["cutoff"], settings)
    steps = settings["epochs"] * jp.fit.steps_per_epoch(data, settings["batch"])
    members = []
    for seed in range(settings["members"]):
        model = jp.AtomicPotential(jp.descriptors.ACSF(species, sets), jp.MLP(tuple(settings["hidden"]), seed=seed))
        single, small = jp.cast((jp.fit.standardise(model, data), data), "float32")
        trained, _ = jp.fit.train(
            single, small, optax.adam(optax.cosine_decay_schedule(settings["learning_rate"], steps)), steps=steps, where=WEIGHTS,
            batch=settings["batch"], key=jax.random.key(seed), average=settings["average"],
        )  # fmt: skip
        members.append(jp.cast(trained, "float64"))
    return (jp.potentials.Committee(tuple(members)) if len(members) > 1 else members[0]) + jp.IsolatedAtoms(constants)


def _less(atoms: Atoms, constants: dict) -> Atoms:
    """The frame with energies that float32 resolves."""
    out = atoms.copy()
    energy = atoms.get_potential_energy() - sum(constants[symbol] for symbol in atoms.symbols)
    out.calc = SinglePointCalculator(out, energy=energy, forces=atoms.get_forces())
    return out


def sgdml(frames: list, isolated: dict, settings: dict):
    """sGDML: forces by one solve, the constant from energies."""
    permutations = jp.molecules.recover_permutations(frames[: settings["n_permutations"]])
    descriptor = jp.descriptors.InverseDistances(tuple(frames[0].get_chemical_symbols()))
    model = jp.molecules.GradientDomain(descriptor, jp.kernels.Matern(settings["length"]), permutations, delta=settings["delta"])
    model = model.with_points([jp.from_atoms(a, REACH) for a in frames])
    return jp.fit.linear(model, dataset(frames, REACH, settings), method="kernel")


def apip(frames: list, isolated: dict, settings: dict):
    """Atomic body-ordered permutation-invariant polynomials with the roughness on random clusters as their prior."""
    species, transform = tuple(isolated), jp.radial.MorseTransform(settings["nearest"], decay=settings["decay"])
    model = jp.IsolatedAtoms(isolated)
    for order, degree, cutoff in zip((2, 3, 4), settings["degrees"], settings["cutoffs"], strict=False):
        pip = jp.descriptors.ClusterPIP(species, jp.CosineCutoff(cutoff, width=settings["width"]), transform, order, degree)
        penalty = settings["regularisation"] * pip.roughness(settings["shortest"], settings["n_clusters"])
        model = model + jp.AtomicPotential(pip, jp.heads.SharedLinear(scale=settings["scale"], penalty=penalty))
    return jp.fit.linear(model, dataset(frames, max(settings["cutoffs"]), settings))


FITS: dict[str, Callable] = {"ACE": ace, "SOAP-GAP": gap, "ACSF network": network, "sGDML": sgdml, "aPIP": apip}


def model_of(fitted):
    """The model of a posterior, or the model itself."""
    return fitted.model if isinstance(fitted, jp.fit.Posterior) else fitted


def cutoff_of(model) -> float:
    return max(float(model.reach), REACH)


def errors(model, frames: list, cutoff: float) -> dict[str, float]:
    """Root mean square errors of energies (eV per molecule) and force components (eV/Å)."""
    found = jp.fit.report(model, dataset(frames, cutoff, {"energy": 1.0, "forces": 1.0}))["all"]
    return {"energy": found["energy"]["rmse"] * len(frames[0]), "forces": found["forces"]["rmse"]}


def hottest(frames: list, n: int) -> tuple[list, list]:
    """All but the n frames of highest energy, and those."""
    order = np.argsort([a.get_potential_energy() for a in frames], kind="stable")
    return [frames[i] for i in sorted(order[:-n])], [frames[i] for i in sorted(order[-n:])]


def choices(kind: str, frames: list, isolated: dict, settings: dict, held_out: int, done: list[dict]) -> Iterator[dict]:
    """Errors of all candidates (changes of the settings) fitted to the cooler of the training frames, on the hottest; `choosing` in
    the settings makes these fits cheaper. `done` is what an interrupted run has left."""
    cooler, hotter = hottest(frames, held_out)
    for change in settings.get("candidates", []):
        if any(one["change"] == change for one in done):
            continue
        own = {**settings, **settings.get("choosing", {}), **change}
        model = model_of(FITS[kind](cooler[: own.get("n_train")], isolated, own))
        yield {"change": change, **errors(model, hotter, cutoff_of(model))}
        jax.clear_caches()
