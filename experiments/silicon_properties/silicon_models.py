"""Potentials of silicon: published parameter files, and models that are fitted here to DFT or to a published potential, their teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp
from jaxpot.io import read_edip, read_mtp, read_snap, read_stillinger_weber, read_tersoff

SPECIES = ("Si",)
TEACHER = "MTP of Zuo et al."

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
    descriptor = jp.descriptors.Bispectrum(SPECIES, settings["cutoff"], settings["two_j_max"])
    return even(jp.AtomicPotential(descriptor, jp.Linear(scale=settings["scale"])), data)


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


def fitted(family: str, train: list[Atoms], test: list[Atoms], config: dict) -> tuple[jp.Potential, dict]:
    """A model fitted to energies, forces and stresses, and its errors on frames that it has not seen.

    The energy of an atom alone is that of an atom in the mean of the training frames, plus the measured cohesive energy; of a GAP, whose
    kernel is normalised and does not vanish there, the mean alone.
    """
    settings, of_fit = config[family.lower()], config["fit"]
    cutoff = settings.get("max_dist", settings.get("cutoff"))
    noise = jp.noise_levels(of_fit["energy"], of_fit["forces"], of_fit["virial"])
    data, unseen = (jp.Dataset.from_atoms(frames, cutoff, sigma=noise) for frames in (train, test))
    mean = float(np.mean([atoms.get_potential_energy() / len(atoms) for atoms in train]))
    isolated = jp.IsolatedAtoms({"Si": mean if family == "GAP" else mean + of_fit["cohesive"]})
    term = FAMILIES[family](settings, data)
    model = jp.fit.linear(term + isolated, data)
    errors = jp.fit.report(model, unseen)["all"]
    return model, {"coefficients": term.n_coefficients, "errors": {name: errors[name]["rmse"] for name in ("energy", "forces", "virial")}}
