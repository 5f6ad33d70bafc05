"""The command `jaxpot init`: a configuration with comments; elements, energies of atoms alone, cutoffs and noise levels are filled in from data."""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jaxpot
from jaxpot.cutoffs import PowerCutoff
from jaxpot.descriptors import MTP, Bispectrum, element_channels
from jaxpot.io.config import table_from_model, to_toml
from jaxpot.io.frames import read_frames
from jaxpot.labels import likely_keys, read_label
from jaxpot.neighbors import neighbor_pairs
from jaxpot.potentials import isolated_energies

_LOOKED_AT = 100  # frames whose distances are measured
_NEAR = 4.0  # Å; nearest neighbours are nearer
_FUNCTIONS = (600, 4000)  # of all elements together, least and most, which a fit takes in minutes
_ROWS = 7  # components of forces for each function
_POINTS = 800
_DIFFERENCE = 0.3  # of what elements have of their own over what they have in common, a priori


class Facts(NamedTuple):
    """What the training frames say.

    Args:
      species: elements, alphabetically.
      labels: of "energy", "forces", "virial" those that are there.
      keys: where they are; None is under their own names.
      isolated: the word for energies of atoms alone.
      nearest: median distance of nearest neighbours, in Å.
      shortest: shortest distance, in Å.
      force: root mean square of force components, in eV/Å; 1 where there are no forces.
      cutoff: radius, in Å.
      n_atoms: in all frames.
    """

    species: tuple[str, ...]
    labels: tuple[str, ...]
    keys: dict[str, str] | None
    isolated: str
    nearest: float
    shortest: float
    force: float
    cutoff: float
    n_atoms: int


def init(args: argparse.Namespace) -> int:
    """Writes the configuration."""
    output = Path(args.output)
    if output.exists() and not args.overwrite:
        raise ValueError(f"{output} is there already; choose another --output, or write --overwrite")
    facts = facts_of(read_frames(args.train)[0], args.cutoff)
    train, test = ([os.path.relpath(path, output.parent) for path in paths or ()] for paths in (args.train, args.test))
    output.write_text(configuration(facts, args.model, train, test))
    print(f"wrote {output}: {' '.join(facts.species)}, cutoff {facts.cutoff:g} Å, {' and '.join(facts.labels)}; now write\n  jaxpot fit {output}")
    return 0


def facts_of(frames: list, cutoff: float | None = None) -> Facts:
    """What frames say; a cutoff is taken as it is given.

    Raises:
      ValueError: for frames without energies.
    """
    species = tuple(sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()}))
    keys = likely_keys(frames, ("energy", "forces", "virial"))
    labels = tuple(name for name in ("energy", "forces", "virial") if any(read_label(atoms, name, keys) is not None for atoms in frames))
    if "energy" not in labels:
        isolated_energies(frames, "lstsq", keys, "init")  # says what there is instead
    try:
        isolated_energies(frames, "isolated", keys)
        isolated = "isolated"
    except ValueError:
        isolated = "lstsq"
    nearest, shortest = _distances(frames[:: -(-len(frames) // _LOOKED_AT)])
    forces = [label.value for atoms in frames if "forces" in labels and (label := read_label(atoms, "forces", keys)) is not None]
    force = float(np.sqrt(np.mean(np.concatenate([f.ravel() for f in forces]) ** 2))) if forces else 1.0
    # the second and third shell of neighbours in metals and covalent crystals; at least what molecules in liquids need
    radius = round(float(np.clip(2.15 * nearest, 5.0, 6.5)), 1) if cutoff is None else cutoff
    return Facts(species, labels, keys, isolated, round(nearest, 2), round(shortest, 2), force, radius, sum(map(len, frames)))


def _distances(frames: list) -> tuple[float, float]:
    """Median of the distances of nearest neighbours, and the shortest."""
    found = []
    for atoms in frames:
        centers, _, _, distances = neighbor_pairs(atoms, _NEAR)
        nearest = np.full(len(atoms), np.inf)
        np.minimum.at(nearest, centers, distances)
        found.append(nearest[np.isfinite(nearest)])
    every = np.concatenate(found) if found else np.zeros(0)
    return (float(np.median(every)), float(np.min(every))) if len(every) else (2.5, 2.0)


# --- models ----------------------------------------------------------------------------------------------------------------


def _ace(facts: Facts) -> list[dict]:
    """Few bodies far, many bodies near: as many functions as data and the number of elements allow."""
    near, far = round(0.85 * facts.cutoff, 1), round(1.3 * facts.cutoff, 1) if len(facts.species) == 1 else facts.cutoff
    most = float(np.clip(3 * facts.n_atoms / _ROWS, *_FUNCTIONS)) / len(facts.species)
    if len(facts.species) == 1:
        terms = [_ace_term(facts, far, 4, (14, 12, 9), most / 2), _ace_term(facts, near, 3, (12, 11, 10, 6), most / 2)]
    else:  # pairs of elements and all products of few channels, of both what is common to all elements and small differences
        every, few = (element_channels(facts.species, n).round(6) for n in (len(facts.species), 3))
        terms = [_ace_term(facts, far, 4, (14,), most, every), _ace_term(facts, near, 3, (12, 8, 5), most, few)]
    alike = {} if len(facts.species) == 1 else {"difference": _DIFFERENCE}
    return [_with_rule(term, 2.0 * facts.force, 4.0, **alike) for term in terms]


def _ace_term(
    facts: Facts, cutoff: float, power: int, degrees: tuple[int, ...], most: float, channels: np.ndarray | None = None
) -> jaxpot.AtomicPotential:  # fmt: skip
    """The largest selection of these proportions that has at most so many functions of each element: of many bodies, if its degrees are not too small."""

    def of(own: tuple[int, ...]) -> jaxpot.ACE:
        radial = jaxpot.radial.Agnesi(own[0] + 1, nearest=facts.nearest)
        density = jaxpot.Density(facts.species, PowerCutoff(cutoff, power), radial, min(6, own[0]), sigma=None, center_weight=0.0, channels=channels)
        return jaxpot.ACE(density, jaxpot.TotalDegree(own))

    for order, least in ((4, 0.6), (3, 0.35), (2, 0.2), (1, 0.1)):
        best = None
        for scale in np.arange(least, 1.01, 0.05) if order <= len(degrees) else ():
            descriptor = of(tuple(int(round(scale * degree, 6)) for degree in degrees[:order]))
            if descriptor.n_features > most:
                break
            best = descriptor
        if best is not None:
            return jaxpot.AtomicPotential(best, jaxpot.Linear())
    raise ValueError(f"init: no ACE of {len(facts.species)} elements has at most {most:.0f} functions of each; write --model gap")


def _soap(facts: Facts) -> jaxpot.SOAP:
    n_max, l_max = (8, 6) if len(facts.species) == 1 else (6, 4) if len(facts.species) < 4 else (4, 3)
    sigma = 0.5 if facts.nearest > 1.6 else 0.3
    return jaxpot.SOAP(jaxpot.Density(facts.species, jaxpot.CosineCutoff(facts.cutoff, width=1.0), jaxpot.GTO(n_max=n_max), l_max, sigma=sigma))


def _gap(facts: Facts) -> list[dict]:
    return [table_from_model(jaxpot.AtomicPotential(_soap(facts), jaxpot.SparseGP(jaxpot.PolynomialKernel(zeta=4.0), delta=1.0)))]


def _snap(facts: Facts) -> list[dict]:
    descriptor = Bispectrum(facts.species, facts.cutoff, 8 if len(facts.species) < 3 else 6, by_element=1 < len(facts.species) < 3)
    return [_with_rule(jaxpot.AtomicPotential(descriptor, jaxpot.Linear()), 10 * facts.force)]


def _mtp(facts: Facts) -> list[dict]:
    descriptor = MTP(facts.species, 16, round(0.95 * facts.shortest, 2), facts.cutoff)
    return [_with_rule(jaxpot.AtomicPotential(descriptor, jaxpot.Linear()), 10 * facts.force)]


def _nn(facts: Facts) -> list[dict]:
    return [table_from_model(jaxpot.AtomicPotential(_soap(facts), jaxpot.MLP((32, 32)))) | {"head": {"class": "MLP", "hidden": [32, 32]}}]


def _with_rule(term: jaxpot.AtomicPotential, scale: float, order: float = 1.0, **more: float) -> dict:
    """The term's table, with a prior by which all functions make equally large forces."""
    rule = {"rule": "forces", "power": 0.0, "order": order}
    return table_from_model(term) | {"head": {"class": "Linear", "scale": _rounded(scale), "roughness": rule, **more}}


_TERMS: Mapping[str, Callable[[Facts], list[dict]]] = {"ace": _ace, "gap": _gap, "snap": _snap, "mtp": _mtp, "nn": _nn}


# --- text ------------------------------------------------------------------------------------------------------------------


def configuration(facts: Facts, model: str, train: list[str], test: list[str]) -> str:
    """The text of a configuration, with comments."""
    forces = _rounded(max(0.1 * facts.force if model in ("ace", "snap", "mtp") else 0.05 * facts.force, 1e-3))
    levels = {"energy": _rounded(0.02 * forces), "forces": forces, "virial": _rounded(0.5 * forces)}
    data = {"train": train if len(train) > 1 else train[0]} | ({"test": test if len(test) > 1 else test[0]} if test else {})
    data |= {"keys": facts.keys} if facts.keys else {}
    alone = {"class": "IsolatedAtoms", "energies_of": facts.isolated}
    parts: list[tuple[str, dict[str, Any]]] = [
        (f"{' '.join(facts.species)}; nearest neighbours at {facts.nearest} Å (median), no pair nearer than {facts.shortest} Å", {"data": data}),
        (
            f"standard deviations of labels: eV per √atom, eV/Å, eV per √atom. The root mean square force is {facts.force:.3g} eV/Å;\n"
            'smaller levels follow the labels more closely, "none" leaves a kind of label out',
            {"noise": {name: levels[name] for name in facts.labels}},
        ),
        (_WORDS[model], {"model": {"terms": [*_TERMS[model](facts), alone]}}),
    ]
    if model == "gap":
        n = min(_POINTS, max(facts.n_atoms // 2, 1))
        parts.append(("sparse points, shared among elements by how many environments there are; more are slower", {"sparse": {"n": n}}))
    if model == "nn":
        parts.append(("the learning rate falls to zero; a tenth of the frames, held out, says when the network is best", {"train": {"epochs": 400}}))
    else:
        parts.append((_METHOD, {"fit": {"method": "levels", "common": True}}))
    return "".join(f"{''.join(f'# {line}' + chr(10) for line in words.splitlines())}{to_toml(table)}\n" for words, table in parts)


_METHOD = (
    "levels: noise levels and scales of priors are those of the largest evidence, with one common factor for all noise levels above;\n"
    "common = false finds each of them, for deviations that are right (covariance = true keeps posterior.npz), at the price of energies.\n"
    "qr keeps all as they are given"
)
_WORDS = {
    "ace": "linear ACE: few bodies far, many bodies near; functions make equally large forces a priori, smaller by `order` with every further factor.\n"
    "Larger `degrees` give more functions. Energies of atoms alone: from frames that hold one (isolated), by least squares (lstsq), or numbers",
    "gap": "a sparse Gaussian process on SOAP; energies of atoms alone: from frames that hold one (isolated), by least squares (lstsq), or numbers",
    "snap": "linear SNAP; functions make equally large forces a priori",
    "mtp": "a moment tensor potential, linear in its coefficients; radial functions are Chebyshev polynomials. Larger `level` has more functions",
    "nn": "a network of SOAP for every element",
}  # fmt: skip


def _rounded(x: float) -> float:
    """Two digits."""
    return float(f"{x:.2g}")
