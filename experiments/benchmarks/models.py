"""The structures and potentials that are timed, with random coefficients: what they cost does not depend on them."""

from collections.abc import Callable

import ase.build
import jax
import numpy as np
from ase import Atoms

import jaxpot as jp

CUTOFF = 5.0  # Å
MANY = ("C", "Si", "Ge", "Sn")
SPARSE_POINTS = 1000
TABLE = 1e-7  # accuracy of tabulated radial functions, with which features agree with exact ones to 1e-6

# Products of at most three factors. ace-jax has 120, 299 and 885 functions of these degrees, pair functions included; here are 1 % more.
ACE_DEGREES = {"ace-121": 10, "ace-304": 13, "ace-898": 17}


def crystal(n_atoms: int, species: tuple[str, ...] = ("Si",), rattle: float = 0.1) -> Atoms:
    """Diamond with the lattice constant of silicon, displaced at random, elements at random places; 31 neighbours at most within 5 Å.

    Raises:
      ValueError: if the number of atoms is not a multiple of eight.
    """
    if n_atoms % 8 or n_atoms < 8:
        raise ValueError(f"a diamond crystal has a multiple of 8 atoms, not {n_atoms}")
    cells = n_atoms // 8
    a = max(d for d in range(1, round(cells ** (1 / 3)) + 1) if cells % d == 0)
    b = max(d for d in range(1, round((cells // a) ** 0.5) + 1) if cells // a % d == 0)
    atoms = ase.build.bulk("Si", "diamond", a=5.43, cubic=True).repeat((a, b, cells // a // b))
    atoms.rattle(rattle, seed=0)
    if len(species) > 1:
        atoms.symbols = np.random.default_rng(0).choice(species, len(atoms))
    return atoms


def elements(n: int) -> tuple[str, ...]:
    """Silicon, or n elements."""
    return MANY[:n] if n > 1 else ("Si",)


def linear(descriptor: jp.Descriptor) -> jp.AtomicPotential:
    """Any descriptor with a linear head of random coefficients."""
    model = jp.AtomicPotential(descriptor, jp.Linear())
    return model.with_coefficients(np.random.default_rng(0).normal(size=model.n_coefficients))


def soap(species: tuple[str, ...] = ("Si",), *, normalize: bool = False) -> jp.SOAP:
    """featomic's Gto basis of the same size; its `max_radial` is n_max − 1."""
    density = jp.Density(species, jp.CosineCutoff(CUTOFF, width=0.5), jp.GTO(8), 6, sigma=0.5)
    return jp.SOAP(density, normalize=normalize)


def soap_gap(species: tuple[str, ...]) -> jp.AtomicPotential:
    """Sparse points from a crystal of the same kind."""
    descriptor = soap(species, normalize=True)
    envs = jp.environments(jp.from_atoms(crystal(max(1000, SPARSE_POINTS), species, rattle=0.2), CUTOFF), CUTOFF, species)
    points = jax.tree_util.tree_map(lambda x: x[:SPARSE_POINTS], envs)
    model = jp.AtomicPotential(descriptor, jp.SparseGP(jp.PolynomialKernel(4.0), delta=1.0, jitter=1e-8)).with_points(points)
    return model.with_coefficients(np.random.default_rng(0).normal(size=SPARSE_POINTS))


def ace(degree: int, species: tuple[str, ...] = ("Si",)) -> jp.ACE:
    """Of several elements, every one has its own radial functions, as in PACE, so that the number of functions stays."""
    degrees = (degree - 1, degree - 1, degree - 3)
    n_max, n_species = degree, len(species)
    mixing = None if n_species == 1 else np.random.default_rng(0).normal(size=(n_species, n_max, n_max))
    density = jp.Density(
        species, jp.cutoffs.PowerCutoff(CUTOFF), jp.radial.Agnesi(n_max, 2.35), l_max=(degree - 2) // 3, sigma=None, center_weight=0.0, mixing=mixing
    )
    return jp.ACE(density, jp.TotalDegree(degrees, 1.5))


def acsf_mlp(species: tuple[str, ...]) -> jp.AtomicPotential:
    """Eight radial and 16 angular functions of every element and pair of elements, two layers of 15 nodes."""
    cutoff = jp.CosineCutoff(CUTOFF)
    angular = jp.descriptors.G4(cutoff, eta=[0.01, 0.05], lam=[-1.0, 1.0], zeta=[1.0, 2.0, 4.0, 8.0])
    return jp.AtomicPotential(jp.descriptors.ACSF(species, (jp.descriptors.G2.shifted(cutoff, 8), angular)), jp.MLP((15, 15)))


FAMILIES: dict[str, Callable[[tuple[str, ...]], jp.AtomicPotential]] = {
    "soap-linear": lambda species: linear(soap(species)),
    "soap-gap": soap_gap,
    "snap": lambda species: linear(jp.descriptors.Bispectrum(species, CUTOFF, 8)),
    **{name: lambda species, degree=degree: linear(ace(degree, species)) for name, degree in ACE_DEGREES.items()},
    "mtp": lambda species: linear(jp.descriptors.MTP(species, 16, 2.0, CUTOFF)),
    "acsf-mlp": acsf_mlp,
}


def energy(model: jp.Potential, graph: jp.Graph) -> jax.Array:
    return model(graph)


def energy_and_forces(model: jp.Potential, graph: jp.Graph) -> tuple[jax.Array, jax.Array]:
    """What `evaluate` does without the virial, which the compiler leaves out where nobody asks for it."""
    found = jp.evaluate(model, graph)
    return found.energy, found.forces


QUANTITIES = {"energy": energy, "energy, forces": energy_and_forces, "energy, forces, virial": jp.evaluate}


def for_dynamics(model: jp.Potential) -> jp.Potential:
    """As a simulation would use it: tables ready, radial functions of densities tabulated."""
    return jax.jit(lambda model: jp.prepare(model))(jp.tabulate(model, accuracy=TABLE))


def one_block(model: jp.Potential, n_atoms: int) -> jp.Potential:
    """The same without a loop over blocks, whose body would be counted once."""
    return model.replace(chunk=n_atoms)


def deviation(got, reference) -> float:
    """Largest difference, relative to the largest value."""
    got, reference = np.asarray(got), np.asarray(reference)
    return float(np.max(np.abs(got - reference)) / np.max(np.abs(reference)))
