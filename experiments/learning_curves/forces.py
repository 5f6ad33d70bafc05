"""Force fields of single molecules: sGDML and linear ACE on rMD17, energies and forces against the number of training structures."""

import time
from collections.abc import Iterator

import datasets
import jax
import numpy as np

import jaxpot as jp

# MAE of energies (meV) and forces (meV/Å) with 1000 training structures, as tabled in Batatia et al., "MACE: higher order equivariant message
# passing neural networks", NeurIPS 2022; recalled in data/rMD17/README.md
PUBLISHED = {
    "ethanol": {"sGDML": (2.4, 16.0), "GAP": (3.5, 18.1), "FCHL19": (0.9, 6.2), "ACE": (1.2, 7.3)},
    "malonaldehyde": {"sGDML": (3.1, 18.8), "GAP": (4.8, 26.4), "FCHL19": (1.5, 10.2), "ACE": (1.7, 11.1)},
    "aspirin": {"sGDML": (7.2, 31.8), "GAP": (17.7, 44.9), "FCHL19": (6.2, 20.9), "ACE": (6.1, 17.9)},
}
REACH = 1.0  # Å, of the neighbour lists of models that use none


def errors(model, frames: list) -> dict[str, float]:
    """Mean absolute errors in eV per structure and eV/Å."""
    level = jp.Properties(energy=1.0, forces=1.0)
    found = jp.fit.report(model, jp.Dataset.from_atoms(frames, max(float(model.reach), REACH), sigma=level))["all"]
    return {"energy": found["energy"]["mae"] * len(frames[0]), "forces": found["forces"]["mae"]}


def sgdml(frames: list, settings: dict, length: float, permutations: tuple):
    graphs = [jp.from_atoms(a, REACH) for a in frames]
    kernel = jp.kernels.Matern(length)
    descriptor = jp.descriptors.InverseDistances(tuple(frames[0].get_chemical_symbols()))
    model = jp.molecules.GradientDomain(descriptor, kernel, permutations, delta=settings["delta"]).with_points(graphs)
    data = jp.Dataset.from_atoms(frames, REACH, sigma=jp.Properties(energy=1.0, forces=settings["noise"]))
    return jp.fit.linear(model, data, method="kernel")


def ace(frames: list, settings: dict):
    species = tuple(sorted(set(frames[0].get_chemical_symbols())))
    density = jp.Density(
        species,
        jp.cutoffs.PowerCutoff(settings["cutoff"]),
        jp.radial.Agnesi(max(settings["degrees"]) + 1, nearest=settings["nearest"]),
        l_max=settings["l_max"],
        sigma=None,
        center_weight=0.0,
    )
    basis = jp.ACE(density, jp.TotalDegree(tuple(settings["degrees"])))
    mean = float(np.mean([a.get_potential_energy() for a in frames])) / len(frames[0])
    head = jp.Linear(scale=settings["scale"], roughness=basis.smoothness(settings["smoothness"]))
    model = jp.AtomicPotential(basis, head) + jp.IsolatedAtoms(dict.fromkeys(species, mean))
    data = jp.Dataset.from_atoms(frames, settings["cutoff"], sigma=jp.noise_levels(settings["energy"], settings["noise"]))
    return jp.fit.linear(model, data, method="cholesky")


def rmd17(molecule: str, config: dict, done: dict) -> Iterator[dict]:
    """Test errors of both models for every size of the training set, after each of them; `done` is what an interrupted run has left."""
    train, test = datasets.load(f"rMD17/{molecule}_train01"), datasets.load(f"rMD17/{molecule}_test01")
    sizes, settings = config["molecules"][molecule], config["sgdml"]
    result = done or {"models": {"sGDML": {}, "ACE": {}}, "seconds": {"sGDML": {}, "ACE": {}}, "published": PUBLISHED[molecule]}
    permutations = jp.molecules.recover_permutations(train[: settings["n_permutations"]])
    result["permutations"] = len(permutations)
    if "length" not in result:
        few, held_out = train[: settings["n_choice"]], train[-settings["n_held_out"] :]
        found = {length: errors(sgdml(few, settings, length, permutations), held_out)["forces"] for length in settings["lengths"]}
        result["length"] = min(found, key=found.get)
        print(f"{molecule}: {len(permutations)} permutations, length {result['length']:g} 1/Å of {found}", flush=True)
        yield result
    for n, kind in sorted((n, kind) for kind, of_kind in sizes.items() for n in of_kind):  # the large ones last
        if str(n) in result["models"][kind]:
            continue
        start = time.perf_counter()
        model = sgdml(train[:n], settings, result["length"], permutations) if kind == "sGDML" else ace(train[:n], config["ace"])
        result["seconds"][kind][str(n)] = time.perf_counter() - start
        one = result["models"][kind][str(n)] = errors(model, test)
        print(f"{molecule}: {kind} of {n} structures, {1e3 * one['energy']:.2f} meV, {1e3 * one['forces']:.1f} meV/Å", flush=True)
        jax.clear_caches()
        yield result
