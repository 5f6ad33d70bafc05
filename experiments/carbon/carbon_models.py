"""A linear ACE and a SOAP-GAP of carbon, their repulsion of cores, and dispersion."""

from collections.abc import Callable

import jax
import numpy as np
from ase import Atoms

import jaxpot as jp
from jaxpot import empirical, longrange

SPECIES = ("C",)


def dataset(frames: list[Atoms], settings: dict, noise: dict) -> jp.Dataset:
    return jp.Dataset.from_atoms(frames, settings["cutoff"], sigma=jp.noise_levels(**noise))


def isolated(kind: str, frames: list[Atoms], config: dict) -> jp.IsolatedAtoms:
    """What an atom has without neighbours: of ACE, which vanishes there, the energy of the most stable frame and the measured cohesive energy; a
    normalised SOAP does not vanish, and the mean is all there is to say."""
    energies = [atoms.get_potential_energy() / len(atoms) for atoms in frames]
    return jp.IsolatedAtoms({"C": float(np.mean(energies)) if kind == "GAP" else float(np.min(energies)) + config["energies"]["cohesive"]})


def ace(settings: dict) -> jp.AtomicPotential:
    """Before `even`, and without coefficients."""
    radial = jp.radial.Agnesi(int(max(settings["degrees"])) + 1, nearest=settings["nearest"])
    cutoff = jp.cutoffs.PowerCutoff(settings["cutoff"], settings["power"])
    density = jp.Density(SPECIES, cutoff, radial, l_max=settings["l_max"], sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree(tuple(settings["degrees"]))), jp.Linear(scale=settings["scale"]))


def even(settings: dict, data: jp.Dataset) -> jp.AtomicPotential:
    """An ACE whose functions make equally large forces a priori, but smaller with every further factor."""
    term = ace(settings)
    roughness = term.descriptor.smoothness(0.0, settings["order"]) * jp.fit.force_scales(term, data)
    return term.replace(head=term.head.replace(roughness=roughness))


def gap(settings: dict, data: jp.Dataset) -> jp.AtomicPotential:
    radial = jp.radial.EquispacedGaussians(settings["n_max"])
    cutoff = jp.CosineCutoff(settings["cutoff"], width=settings["width"])
    soap = jp.SOAP(jp.Density(SPECIES, cutoff, radial, settings["l_max"], sigma=settings["sigma"]))
    points = jp.fit.select_environments(soap, data, settings["n_sparse"], key=jax.random.key(settings["seed"]))
    head = jp.SparseGP(jp.PolynomialKernel(settings["zeta"]), delta=settings["delta"], jitter=settings["jitter"])
    return jp.AtomicPotential(soap, head).with_points(points)


KINDS: dict[str, Callable[[dict, jp.Dataset], jp.AtomicPotential]] = {"ACE": even, "GAP": gap}


def fitted(kind: str, frames: list[Atoms], config: dict) -> jp.Sum:
    """The short-range part and the isolated atoms, fitted to energies, forces and stresses."""
    data = dataset(frames, config[kind], config["noise"])
    return jp.fit.linear(KINDS[kind](config[kind], data) + isolated(kind, frames, config), data)


def dispersion(settings: dict, atoms: Atoms) -> longrange.Dispersion:
    """Damped and summed over the lattice, for crystals and glasses about as large as `atoms`."""
    damping = longrange.RationalDamping(SPECIES, radius=[settings["radius"]])
    whole = longrange.sum_for(atoms, accuracy=settings["accuracy"], interaction=damping, charges=settings["c6"] ** 0.5)
    return longrange.Dispersion(SPECIES, c6=[settings["c6"]], sum=whole, interaction=damping)


def with_core(fit: jp.Sum, settings: dict) -> jp.Potential:
    """The fit, which gives way to the repulsion of nuclei where an atom has a neighbour nearer than in any training frame.

    Beyond `radius` it is the fit itself, to the last digit, and so are its errors.
    """
    part, atoms = fit.terms
    core = empirical.ZBL(SPECIES, inner=settings["inner"], outer=settings["outer"])
    return empirical.Switched(part, core, empirical.ByDistance(settings["radius"], settings["width"])) + atoms
