"""Tabulated core potentials of GAPs: QUIP's `IP Glue`, of which its pair energies."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.io.text import number
from jaxpot.math.splines import CubicSpline
from jaxpot.potentials.pair import PairSpline
from jaxpot.units import SYMBOLS


def read_glue(root: ElementTree.Element, known: tuple[str, ...], label: str) -> list[PairSpline]:
    """The core potential that gap_fit took off the data, as a potential of pair splines; none where no pair is known.

    Args:
      root: of the GAP's XML file.
      known: the elements of the GAP; the tables of others are left out.
      label: what messages call it.

    Raises:
      ValueError: for other core potentials than `IP Glue`, embedding energies, or tables that are not whole.
    """
    stated = next((e.get("init_args", "") for e in root.iter("Potential")), "")
    if not re.search(r"init_args_pot1=\{\s*IP Glue\b", stated):
        raise ValueError(f"{label}: {stated or 'not named in an element Potential'} is not implemented, only IP Glue")
    tables = list(root.iter("Glue_params"))
    if len(tables) != 1:
        raise ValueError(f"{label}: expected one element Glue_params, found {len(tables)}")
    elements = {e.get("type"): SYMBOLS[int(e.get("atomic_num"))] for e in tables[0].iter("per_type_data")}
    for element in tables[0].iter("per_type_data"):
        points = [p for name in ("potential_density", "potential_neighbours") for table in element.iter(name) for p in (table, *table.iter("point"))]
        # natural ends and no energies: no embedding
        embeds = any(number(p.get("E", "0"), label) or not _natural(p.get(end), label) for p in points for end in ("y1", "yn"))
        if elements[element.get("type")] in known and embeds:
            raise ValueError(f"{label}: the embedding energy of {elements[element.get('type')]} is not implemented, only pair energies")
    splines = {}
    for element in tables[0].iter("per_pair_data"):
        pair, table = tuple(elements[element.get(t)] for t in ("type1", "type2")), element.find("potential_pair")
        if table is None or not set(pair) <= set(known):
            continue
        if tuple(sorted(pair)) in map(tuple, map(sorted, splines)):
            raise ValueError(f"{label}: the pair {pair} has two tables")
        points = [[number(p.get(name), label) for name in ("r", "E")] for p in table.iter("point")]
        if len(points) != int(table.get("num_points")):
            raise ValueError(f"{label}: the pair {pair} has {len(points)} points, but num_points={table.get('num_points')}")
        x, y = require_finite(np.array(points), f"{label}, {pair}").T
        ends = [None if _natural(table.get(end, "0"), label) else number(table.get(end, "0"), label) for end in ("y1", "yn")]
        splines[pair] = CubicSpline(x, y, *ends)
    return [PairSpline(tuple(dict.fromkeys(s for pair in splines for s in pair)), tuple(splines), tuple(splines.values()))] if splines else []


def _natural(slope: str | None, label: str) -> bool:
    return slope is None or number(slope, label) > 0.99e30
