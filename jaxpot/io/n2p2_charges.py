"""Networks of the fourth generation in n2p2's files: electronegativities, hardness, widths of charges, and the screening of near pairs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxpot.descriptors.acsf import ACSF
from jaxpot.descriptors.carried import OwnCharge
from jaxpot.descriptors.joined import Joined
from jaxpot.heads.mlp import MLP
from jaxpot.io.n2p2_keywords import NORMALISATION, Settings, by_element, word_of, words_of
from jaxpot.io.text import number, read_text
from jaxpot.longrange.carried import Carried, ChargedPotential, Screening
from jaxpot.longrange.energies import PairsOfCharges
from jaxpot.longrange.fragments import WholeStructure
from jaxpot.longrange.qeq import QEq
from jaxpot.longrange.sums import PairSum
from jaxpot.math.cutoffs import CosineCutoff
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.trees import fits
from jaxpot.units import ATOMIC_NUMBERS, COULOMB

_UNITS = 1e-6  # relative; by how much units may miss Coulomb's constant


def charged_potential(
    settings: Settings, descriptor: ACSF, electronegativity: MLP, head: MLP, sum: PairSum | None, path: Path, *, length_unit: float, energy_unit: float
) -> ChargedPotential:
    """Atomic energies that see their charge, and electrostatics, at equilibrated charges; networks in eV.

    n2p2 has Coulomb's constant in the units of its files, which is that of this library to some digits: electronegativity and hardness are
    divided by what is left, so that charges are the same.

    Raises:
      ValueError: without a sum, for normalised data, for units in which Coulomb's constant is another, and for elements without hardness or width.
    """
    if sum is None:
        raise ValueError(
            f"{path}: a network of the fourth generation needs to know how the pairs of its charges are summed; write "
            "read_n2p2(..., sum=jaxpot.longrange.sum_for(frames)), which for free molecules is jaxpot.longrange.Direct()"
        )
    if given := [key for key in NORMALISATION if key in settings]:
        raise ValueError(f"{path}: {', '.join(given)} of a network of the fourth generation are not implemented; train it without")
    species = descriptor.species
    permittivity = number(word_of(settings, "four_pi_epsilon", path), path) if "four_pi_epsilon" in settings else 1.0
    left = energy_unit * length_unit / permittivity / COULOMB
    if not abs(left - 1) < _UNITS:
        raise ValueError(
            f"{path}: with these units Coulomb's constant is {left * COULOMB:.8g} eV Å, expected {COULOMB}; write length_unit=jaxpot.units.BOHR, "
            "energy_unit=jaxpot.units.HARTREE, or the units that four_pi_epsilon is in"
        )
    widths = _of_elements(settings, "fixed_gausswidth", species, path)
    hardness = np.array([_hardness(path.parent / f"hardness.{ATOMIC_NUMBERS[symbol]:03d}.data") for symbol in species])
    last = [part[-1] / left for part in (electronegativity.weights, electronegativity.biases)]
    weights, biases = ((*part[:-1], end) for part, end in zip((electronegativity.weights, electronegativity.biases), last, strict=True))
    network = AtomicPotential(descriptor, electronegativity.replace(weights=weights, biases=biases))
    qeq = QEq(species, network, hardness=hardness * energy_unit / left, sigma=widths * length_unit, sum=sum)
    inner, outer = _screening(settings, path)
    terms = (
        PairsOfCharges(species, sum, qeq.interaction),
        Carried(Screening(qeq.interaction, CosineCutoff(outer * length_unit, width=(outer - inner) * length_unit))),
        Carried(AtomicPotential(Joined((descriptor, OwnCharge(species))), head)),
    )
    return ChargedPotential(qeq, terms)


def _of_elements(settings: Settings, key: str, species: tuple[str, ...], path: Path) -> np.ndarray:
    found = by_element(settings.get(key, []), species, path, key)
    wrong = [symbol for symbol in species if len(found.get(symbol, ())) != 1 or len(found[symbol][0]) != 1]
    if wrong:
        raise ValueError(f"{path}: expected one {key} of {', '.join(wrong)}")
    return np.array([number(found[symbol][0][0], path) for symbol in species])


def _hardness(path: Path) -> float:
    words = [word for line in read_text(path, "a file of n2p2").split("\n") for word in line.split("#")[0].split()]
    if len(words) != 1:
        raise ValueError(f"{path}: expected one number, the hardness, got {' '.join(words)[:80]!r}")
    return number(words[0], path)


def _screening(settings: Settings, path: Path) -> tuple[float, float]:
    """Where it begins to end, and where it has ended."""
    words = words_of(settings, "screen_electrostatics", path) if "screen_electrostatics" in settings else []
    if len(words) != 2:
        raise ValueError(f"{path}: expected screen_electrostatics with two radii, got {' '.join(words) or 'none'!r}")
    inner, outer = (number(word, path) for word in words)
    if not 0 <= inner < outer:
        raise ValueError(f"{path}: expected screen_electrostatics with 0 ≤ inner < outer radius, got {inner} and {outer}")
    return inner, outer


class ChargedParts(NamedTuple):
    """What files hold of a network of the fourth generation."""

    network: AtomicPotential
    electronegativity: MLP
    qeq: QEq
    cutoff: CosineCutoff


def charged_parts(potential: ChargedPotential) -> ChargedParts:
    """The parts of a potential as `charged_potential` makes it.

    Raises:
      TypeError: for another.
    """
    qeq, terms = potential.charges, potential.terms
    described = (
        fits(qeq, QEq, electronegativity=AtomicPotential, totals=WholeStructure)
        and [type(getattr(term, "potential", term)) for term in terms] == [PairsOfCharges, Screening, AtomicPotential]
        and fits(terms[2].potential, AtomicPotential, descriptor=Joined, head=MLP)
        and fits(qeq.electronegativity, AtomicPotential, descriptor=ACSF, head=MLP)
        and fits(terms[1].potential, Screening, cutoff=CosineCutoff)
        and terms[2].potential.descriptor == Joined((qeq.electronegativity.descriptor, OwnCharge(qeq.species)))
    )
    if not described:
        raise TypeError(
            "write_n2p2: files of the fourth generation hold QEq with the electronegativity AtomicPotential(acsf, MLP(...)), and the terms "
            "PairsOfCharges, Carried(Screening(interaction, CosineCutoff)) and Carried(AtomicPotential(Joined((acsf, OwnCharge)), MLP(...))), "
            "all of one ACSF"
        )
    return ChargedParts(terms[2].potential, qeq.electronegativity.head, qeq, terms[1].potential.cutoff)


def charge_files(parts: ChargedParts, species: tuple[str, ...], *, length_unit: float, energy_unit: float) -> tuple[list[str], dict[str, list[str]]]:
    """Lines of the settings, and files of hardness. Coulomb's constant is written in the units of the files."""
    qeq, outer, width = parts.qeq, float(parts.cutoff.radius) / length_unit, parts.cutoff.width
    inner = 0.0 if width is None else outer - float(width) / length_unit
    order = [qeq.species.index(symbol) for symbol in species]
    lines = ["nnp_type 4", f"four_pi_epsilon {energy_unit * length_unit / COULOMB!r}", f"screen_electrostatics {inner!r} {outer!r}"]
    lines += [f"fixed_gausswidth {symbol} {float(qeq.sigma[i]) / length_unit!r}" for symbol, i in zip(species, order, strict=True)]
    hardness = [repr(float(qeq.hardness[i]) / energy_unit) for i in order]
    return lines, {f"hardness.{ATOMIC_NUMBERS[symbol]:03d}.data": [value] for symbol, value in zip(species, hardness, strict=True)}
