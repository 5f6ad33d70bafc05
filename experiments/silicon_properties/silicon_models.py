"""Potentials of silicon: published parameter files, and models that are fitted here to DFT or to a published potential, their teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp
from jaxpot.io import read_edip, read_mtp, read_snap, read_stillinger_weber, read_tersoff
from jaxpot.observables import cubic_constants, elastic_constants, force_constants, minimum, relax
from jaxpot.units import TERAHERTZ

SPECIES = ("Si",)
TEACHER = "MTP of Zuo et al."
BY_GRADIENTS = "ACE of labels and constants"
CONSTANTS = ("a0", "c11", "c12", "c44", "highest phonon")  # which it is fitted to beside labels

# SiC.tersoff has Tersoff's third set of silicon, Phys. Rev. B 38, 9902 (1988), which is that of the published table; Si.tersoff has the second one
FILES: dict[str, Callable[[Path], jp.Potential]] = {
    "Tersoff": lambda root: read_tersoff(root / "potentials" / "lammps_empirical" / "SiC.tersoff", species=SPECIES),
    "SW": lambda root: read_stillinger_weber(root / "potentials" / "lammps_empirical" / "Si.sw"),
    "EDIP": lambda root: read_edip(root / "potentials" / "lammps_empirical" / "Si.edip"),
    TEACHER: lambda root: read_mtp(root / "data" / "potentials" / "mtp" / "Si_2020.mtp", SPECIES),
    "SNAP of Zuo et al.": lambda root: read_snap(*(root / "data" / "potentials" / "snap" / f"Si_Zuo_JPCA2020.{end}" for end in ("snapcoeff", "snapparam"))),
}


def labelled(frames: list[Atoms], teacher: jp.Potential) -> list[Atoms]:
    """The frames with energy, forces and stress of the teacher in place of their own."""
    data = jp.Dataset.from_atoms(frames, float(teacher.reach), sigma=jp.Properties(), keys={})
    out = []
    for atoms, found in zip(frames, jp.fit.predict(teacher, data), strict=True):
        atoms = atoms.copy()
        stress = (-found.virial / atoms.get_volume()).flat[[0, 4, 8, 5, 2, 1]]
        atoms.calc = SinglePointCalculator(atoms, energy=float(found.energy), forces=found.forces, stress=stress)
        out.append(atoms)
    return out


def even(term: jp.AtomicPotential, data: jp.Dataset, smoothness: Any = 1.0) -> jp.AtomicPotential:
    """The term with a prior by which all functions make equally large forces on the atoms of the data, divided by `smoothness`."""
    return term.replace(head=term.head.replace(roughness=smoothness * jp.fit.force_scales(term, data)))


def ace(settings: dict, data: jp.Dataset) -> jp.AtomicPotential:
    """Products of up to three factors, of four bodies."""
    radial = jp.radial.Agnesi(int(max(settings["degrees"])) + 1, nearest=settings["nearest"])
    cutoff = jp.cutoffs.PowerCutoff(settings["cutoff"], settings["power"])
    density = jp.Density(SPECIES, cutoff, radial, l_max=settings["l_max"], sigma=None, center_weight=0.0)
    descriptor = jp.ACE(density, jp.TotalDegree(tuple(settings["degrees"])))
    return even(jp.AtomicPotential(descriptor, jp.Linear(scale=settings["scale"])), data, descriptor.smoothness(0.0, settings["order"]))


def snap(settings: dict, data: jp.Dataset) -> jp.AtomicPotential:
    """Quadratic in its components, where Zuo et al. have both forms."""
    descriptor = jp.descriptors.Bispectrum(SPECIES, settings["cutoff"], settings["two_j_max"])
    return jp.AtomicPotential(descriptor, jp.heads.Quadratic(scale=settings["scale"], quadratic_scale=settings["quadratic_scale"]))


def mtp(settings: dict, data: jp.Dataset) -> jp.AtomicPotential:
    """With Chebyshev polynomials as they are for radial functions: linear, where Zuo et al. have fitted those as well."""
    descriptor = jp.descriptors.MTP(SPECIES, settings["level"], settings["min_dist"], settings["max_dist"])
    return even(jp.AtomicPotential(descriptor, jp.Linear(scale=settings["scale"])), data)


def gap(settings: dict, data: jp.Dataset) -> jp.AtomicPotential:
    radial = jp.radial.EquispacedGaussians(settings["n_max"])
    soap = jp.SOAP(jp.Density(SPECIES, jp.CosineCutoff(settings["cutoff"], width=settings["width"]), radial, settings["l_max"], sigma=settings["sigma"]))
    points = jp.fit.select_environments(soap, data, settings["n_sparse"], key=jax.random.key(settings["seed"]))
    head = jp.SparseGP(jp.PolynomialKernel(settings["zeta"]), delta=settings["delta"], jitter=settings["jitter"])
    return jp.AtomicPotential(soap, head).with_points(points)


FAMILIES: dict[str, Callable[[dict, jp.Dataset], jp.AtomicPotential]] = {"ACE": ace, "SNAP": snap, "MTP": mtp, "GAP": gap}


def labels_of(train: list[Atoms], test: list[Atoms], cutoff: float, of_fit: dict) -> tuple[jp.Dataset, jp.Dataset, float]:
    """What is fitted and what is not seen, and the mean energy per atom of what is fitted, in eV."""
    noise = jp.noise_levels(of_fit["energy"], of_fit["forces"], of_fit["virial"])
    data, unseen = (jp.Dataset.from_atoms(frames, cutoff, sigma=noise) for frames in (train, test))
    return data, unseen, float(np.mean([atoms.get_potential_energy() / len(atoms) for atoms in train]))


def errors(model: jp.Potential, unseen: jp.Dataset) -> dict[str, float]:
    """Root mean square errors, in eV per atom and eV/Å."""
    found = jp.fit.report(model, unseen)["all"]
    return {name: found[name]["rmse"] for name in ("energy", "forces", "virial")}


def fitted(family: str, train: list[Atoms], test: list[Atoms], config: dict) -> tuple[jp.Potential, dict]:
    """A model fitted to energies, forces and stresses, and its errors on frames that it has not seen.

    The energy of an atom alone is that of an atom in the mean of the training frames, plus the measured cohesive energy; of a GAP, whose
    kernel is normalised and does not vanish there, the mean alone.
    """
    settings, of_fit = config[family.lower()], config["fit"]
    data, unseen, mean = labels_of(train, test, settings.get("max_dist", settings.get("cutoff")), of_fit)
    isolated = jp.IsolatedAtoms({"Si": mean if family == "GAP" else mean + of_fit["cohesive"]})
    term = FAMILIES[family](settings, data)
    model = jp.fit.linear(term + isolated, data)
    return model, {"coefficients": term.n_coefficients, "errors": errors(model, unseen)}


def constants_near(model: jp.Potential, near: jp.Graph) -> jax.Array:
    """Those of `CONSTANTS`, in Å, GPa and THz, of diamond at the model's minimum near one: the highest phonon is the optical one at Γ."""
    crystal = minimum(model, near, cell=True)
    lattice = (4 * jnp.abs(jnp.linalg.det(crystal.cell))) ** (1 / 3)
    spring = jnp.trace(force_constants(model, crystal, of=(0,))[0, 0]) / 3  # eV/Å², of an atom against the other
    optical = jnp.sqrt(2 * spring / bulk("Si").get_masses()[0]) * TERAHERTZ
    return jnp.concatenate([lattice[None], cubic_constants(elastic_constants(model, crystal)), optical[None]])


def by_gradients(train: list[Atoms], test: list[Atoms], constants: dict[str, float], config: dict) -> tuple[jp.Potential, dict]:
    r"""An ACE whose coefficients are the most probable ones by labels and by constants of the crystal together, and what is to be said of its fit.

    By labels alone coefficients are Gaussian, w = ŵ + C z with z of unit variance, which holds all that labels say; so wanted is the minimum of

    .. math:: |z|^2 + \sum_k \left(\frac{O_k(z) - \hat O_k}{\sigma_k}\right)^2

    found by steps of Gauss and Newton, with derivatives of constants through the relaxation of crystal and ions.
    """
    settings, ace_of = config["by_gradients"], config["ace"]
    data, unseen, mean = labels_of(train, test, ace_of["cutoff"], config["fit"])
    posterior = jp.fit.posterior(ace(ace_of, data) + jp.IsolatedAtoms({"Si": mean + config["fit"]["cohesive"]}), data)
    near = relax(posterior.model, bulk("Si"), cell=True).graph
    target, sigma = (np.array([values[name] for name in CONSTANTS]) for values in (constants, settings["sigma"]))

    def moved(z: jax.Array) -> jp.Potential:
        return posterior.model.with_coefficients(posterior.coefficients + posterior.factor @ z)

    def told(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = constants_near(moved(z), near)
        return found, found

    slopes_and_values, z, seen = jax.jit(jax.jacrev(told, has_aux=True)), jnp.zeros(posterior.factor.shape[1]), []
    for _ in range(settings["steps"]):
        J, found = (np.asarray(x) for x in slopes_and_values(z))
        seen.append(found)
        z = jnp.asarray(J.T @ np.linalg.solve(J @ J.T + np.diag(sigma**2), target - found + J @ np.asarray(z)))
    model = moved(z)
    seen.append(np.asarray(jax.jit(constants_near)(model, near)))
    return model, {
        "errors of labels alone": errors(posterior.model, unseen), "errors": errors(model, unseen), "squares of z": float(z @ z),
        "constants": [dict(zip(CONSTANTS, values.tolist(), strict=True)) for values in seen],
    }  # fmt: skip
