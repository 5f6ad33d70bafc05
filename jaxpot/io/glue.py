"""Tabulated core potentials of GAPs: QUIP's `IP Glue`, of which its pair energies."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.io.gap_xml import atomic_number
from jaxpot.io.text import integer, number
from jaxpot.math.splines import CubicSpline
from jaxpot.potentials.pair import PairSpline
from jaxpot.units import ATOMIC_NUMBERS, SYMBOLS

_ATTRIBUTES = {  # of all elements; the density is nothing without an embedding energy
    "Glue_params": {"n_types", "label"},
    "per_type_data": {"type", "atomic_num"},
    "density": {"num_points", "density_y1", "density_yn", "do_spline"},
    "potential_density": {"num_points", "y1", "yn"},
    "potential_neighbours": {"num_points", "num_neighbours"},
    "per_pair_data": {"type1", "type2"},
    "potential_pair": {"num_points", "y1", "yn"},
    "point": {"r", "E", "rho", "a"},
}


def read_glue(root: ElementTree.Element, known: tuple[str, ...], label: str) -> list[PairSpline]:
    """The core potential that gap_fit took off the data, as a potential of pair splines; none where no pair is known.

    Args:
      root: of the GAP's XML file.
      known: the elements of the GAP; the tables of others are left out.
      label: what messages call it.

    Raises:
      ValueError: for embedding energies, elements and attributes that QUIP does not read, or tables that are not whole.
    """
    tables = list(root.iter("Glue_params"))
    if len(tables) != 1:
        raise ValueError(f"{label}: expected one element Glue_params, found {len(tables)}")
    for element in tables[0].iter():
        unknown = sorted(set(element.attrib) - _ATTRIBUTES.get(element.tag, set()))
        if element.tag not in _ATTRIBUTES or unknown:
            raise ValueError(f"{label}: {element.tag} {' '.join(unknown)} is not implemented")
    types = [(e.get("type"), atomic_number(e.get("atomic_num", ""), label)) for e in tables[0].iter("per_type_data")]
    elements = {name: SYMBOLS[z] for name, z in types}
    if not len(set(elements.values()) - {SYMBOLS[0]}) == len(elements) == len(types):
        raise ValueError(f"{label}: expected per_type_data of different types and elements, got {types}")
    for element in tables[0].iter("per_type_data"):
        points = [p for name in ("potential_density", "potential_neighbours") for table in element.iter(name) for p in (table, *table.iter("point"))]
        # natural ends and no energies: no embedding
        embeds = any(number(p.get("E", "0"), label) or not _natural(p.get(end), label) for p in points for end in ("y1", "yn"))
        if elements[element.get("type")] in known and embeds:
            raise ValueError(f"{label}: the embedding energy of {elements[element.get('type')]} is not implemented, only pair energies")
    splines = {}
    for element in tables[0].iter("per_pair_data"):
        pair, found = tuple(elements.get(element.get(t)) for t in ("type1", "type2")), element.findall("potential_pair")
        if None in pair or len(found) > 1:
            raise ValueError(f"{label}: per_pair_data of types {element.get('type1')} and {element.get('type2')} with {len(found)} tables")
        if not found or not set(pair) <= set(known):
            continue
        (table,) = found
        if tuple(sorted(pair)) in map(tuple, map(sorted, splines)):
            raise ValueError(f"{label}: the pair {pair} has two tables")
        points = [[number(p.get(name, ""), label) for name in ("r", "E")] for p in table.iter("point")]
        if len(points) != integer(table.get("num_points", ""), label) or not points:
            raise ValueError(f"{label}: the pair {pair} has {len(points)} points, but num_points={table.get('num_points')}")
        x, y = require_finite(np.array(points), f"{label}, {pair}").T
        ends = [None if _natural(table.get(end, "0"), label) else number(table.get(end, "0"), label) for end in ("y1", "yn")]
        if not np.all(np.diff(x) > 0) or len(x) < 2:
            raise ValueError(f"{label}: the distances r of the pair {pair} must ascend")
        splines[pair] = CubicSpline(x, y, *ends)
    return [PairSpline(tuple(dict.fromkeys(s for pair in splines for s in pair)), tuple(splines), tuple(splines.values()))] if splines else []


def glue_of(core: PairSpline, known: tuple[str, ...]) -> ElementTree.Element:
    """What `read_glue` reads, for the elements of a GAP. QUIP asks for a density of every element, which is nothing here."""
    glue = ElementTree.Element("Glue_params", n_types=str(len(known)))
    for i, symbol in enumerate(known, 1):
        of_type = ElementTree.SubElement(glue, "per_type_data", type=str(i), atomic_num=str(ATOMIC_NUMBERS[symbol]))
        _table(of_type, "density", [{"a": "0.5", "rho": "0.0"}, {"a": "1.0", "rho": "0.0"}], density_y1="0.0", density_yn="0.0")
        _table(of_type, "potential_density", [{"rho": "0.0", "E": "0.0"}, {"rho": "1.0", "E": "0.0"}])
    for pair, spline in zip(core.pairs, core.splines, strict=True):
        first, second = (str(known.index(symbol) + 1) for symbol in pair)
        of_pair = ElementTree.SubElement(glue, "per_pair_data", type1=first, type2=second)
        x, y = (require_finite(np.asarray(values, float), f"write_gap: the spline of {pair}").tolist() for values in (spline.x, spline.y))
        ends = {name: "1.0e50" if end is None else repr(float(end)) for name, end in (("y1", spline.first), ("yn", spline.last))}
        _table(of_pair, "potential_pair", [{"r": repr(r), "E": repr(energy)} for r, energy in zip(x, y, strict=True)], **ends)
    return glue


def _table(parent: ElementTree.Element, name: str, points: list[dict[str, str]], **ends: str) -> None:
    table = ElementTree.SubElement(parent, name, {"num_points": str(len(points)), **ends})
    for point in points:
        ElementTree.SubElement(table, "point", point)


def _natural(slope: str | None, label: str) -> bool:
    return slope is None or number(slope, label) > 0.99e30
