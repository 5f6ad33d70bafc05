"""Ten elements made from rescaled Lennard-Jones atoms: what a linear ACE costs by the number of elements, and mixtures that it never had.

    python experiments/alloy/mixtures.py            # 2, 4, 6, 8 and 10 elements; what is there already is not fitted again

σ of an element is 1.6 times its covalent radius and ε a smooth function of its group, those of a pair follow Lorentz and Berthelot. Every element alone
and every second pair of elements are fitted; the other pairs, and the mixture of all elements, are held out.
"""

import itertools
import json
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from ase.data import atomic_numbers, covalent_radii  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.descriptors import element_channels  # noqa: E402
from jaxpot.empirical import LennardJones  # noqa: E402

HERE = Path(__file__).resolve().parent
ELEMENTS = ("Ti", "V", "Fe", "Cu", "Zr", "Nb", "Pd", "Ag", "Ta", "W")
SETTINGS = {"sizes": (2, 4, 6, 8, 10), "frames": 8, "held": 4, "cutoff": 5.2, "degrees": (9, 6, 4), "pairs": (12,), "difference": 0.3, "seed": 0}


def truth(species: tuple[str, ...]) -> LennardJones:
    """The potential that labels."""
    radii = np.array([covalent_radii[atomic_numbers[s]] for s in species])
    group = np.array([atomic_numbers[s] % 18 for s in species])
    sigma, epsilon = 1.6 * radii, 0.25 + 0.1 * np.cos(2 * np.pi * group / 18)
    cutoff = jp.PolynomialCutoff(SETTINGS["cutoff"], width=1.0)
    return LennardJones(species, epsilon=np.sqrt(epsilon[:, None] * epsilon), sigma=0.5 * (sigma[:, None] + sigma), cutoff=cutoff)


def structures(teacher: LennardJones, mixture: tuple[str, ...], n: int, rng: np.random.Generator) -> list[Atoms]:
    """Shaken face-centred crystals of 32 atoms with these elements at random places, labelled."""
    found = []
    for _ in range(n):
        symbols = rng.permutation(np.resize(rng.permutation(mixture), 32))
        mean = np.mean([1.6 * covalent_radii[atomic_numbers[s]] for s in symbols])
        atoms = bulk("Cu", "fcc", a=1.54 * mean * rng.uniform(0.97, 1.06), cubic=True).repeat(2)
        atoms.set_chemical_symbols(symbols)
        atoms.rattle(rng.uniform(0.05, 0.2), rng=rng)
        own = jp.evaluate(teacher, jp.from_atoms(atoms, teacher.reach))
        atoms.info |= {"energy": float(own.energy), "config_type": "-".join(sorted(mixture))}
        atoms.arrays["forces"] = np.asarray(own.forces)
        found.append(atoms)
    return found


def model_of(species: tuple[str, ...], frames: list[Atoms], force: float) -> jp.Potential:
    """Pairs with a channel for every element, products with three, elements alike a priori."""
    terms: jp.Potential = jp.IsolatedAtoms.from_data(frames, "lstsq")
    for degrees, channels in ((SETTINGS["pairs"], len(species)), (SETTINGS["degrees"], 3)):
        radial = jp.radial.Agnesi(degrees[0] + 1, nearest=2.5)
        density = jp.Density(
            species, jp.cutoffs.PowerCutoff(SETTINGS["cutoff"], 3), radial, min(4, degrees[0]), sigma=None, center_weight=0.0,
            channels=element_channels(species, channels),
        )  # fmt: skip
        ace = jp.ACE(density, jp.TotalDegree(degrees))
        term = jp.AtomicPotential(ace, jp.Linear(scale=2.0 * force, difference=SETTINGS["difference"]))
        rough = ace.smoothness(0.0, 4.0) * jp.fit.force_scales(term, frames[::4])
        terms = terms + term.replace(head=term.head.replace(roughness=rough))
    return terms


def errors(model: jp.Potential, frames: list[Atoms]) -> dict[str, float]:
    report = jp.fit.report(model, frames)["all"]
    return {name: report[name]["mae"] for name in ("energy", "forces")}


def measured(n: int) -> dict:
    """Functions, seconds and errors of a fit with n elements."""
    species, rng = tuple(sorted(ELEMENTS[:n])), np.random.default_rng(SETTINGS["seed"])
    teacher = truth(species)
    pairs = list(itertools.combinations(species, 2))
    # every second one: those whose places differ by an odd number, so that every element has been with others
    known = [pair for pair in pairs if (species.index(pair[1]) - species.index(pair[0])) % 2]
    train = [a for mixture in [(s,) for s in species] + known for a in structures(teacher, mixture, SETTINGS["frames"], rng)]
    seen = [a for mixture in known for a in structures(teacher, mixture, SETTINGS["held"], rng)]
    unseen = [a for mixture in pairs if mixture not in known for a in structures(teacher, mixture, SETTINGS["held"], rng)]
    every = structures(teacher, species, 4 * SETTINGS["held"], rng)
    force = float(np.sqrt(np.mean([a.arrays["forces"] ** 2 for a in train])))
    sigma = jp.noise_levels(0.002 * force, 0.1 * force)
    model = model_of(species, train, force)
    data, began, busy = jp.Dataset.of(model, train, sigma=sigma), time.monotonic(), time.process_time()
    model = jp.fit.levels(model, data, common=True).posterior.model
    seconds, busy = time.monotonic() - began, time.process_time() - busy
    graph, evaluate, ready = jp.from_atoms(every[0].repeat(3), SETTINGS["cutoff"]), jax.jit(jp.evaluate), jp.prepare(model)
    jax.block_until_ready(evaluate(ready, graph))
    times = []
    for _ in range(7):
        start = time.monotonic()
        jax.block_until_ready(evaluate(ready, graph))
        times.append(time.monotonic() - start)
    return {
        "frames": len(train), "functions of an element": model.n_coefficients // n, "functions": model.n_coefficients, "fit, s": seconds,
        "processor, s": busy, "evaluation, µs/atom": 1e6 * float(np.median(times)) / len(graph.numbers), "rms force, eV/Å": force,
        "fitted": errors(model, train), "pairs that were there": errors(model, seen), "all elements": errors(model, every),
    } | ({"pairs left out": errors(model, unseen)} if unseen else {})  # fmt: skip


if __name__ == "__main__":
    stored = HERE / "results" / "mixtures.json"
    stored.parent.mkdir(exist_ok=True)
    found = json.loads(stored.read_text()) if stored.exists() else {}
    for n in SETTINGS["sizes"]:
        if str(n) not in found:
            found[str(n)] = measured(n)
            stored.write_text(json.dumps(found, indent=1) + "\n")
        own = found[str(n)]
        kinds = [kind for kind in ("fitted", "pairs that were there", "pairs left out", "all elements") if kind in own]
        told = "; ".join(f"{kind} {1e3 * own[kind]['energy']:.2f} meV/atom, {1e3 * own[kind]['forces']:.1f} meV/Å" for kind in kinds)
        print(f"{n} elements: {own['functions']} functions, fit {own['fit, s']:.0f} s, {own['evaluation, µs/atom']:.1f} µs/atom; {told}", flush=True)
