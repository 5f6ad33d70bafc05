"""`jaxpot info`: what there is to know of a model file."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxpot.potentials.base import terms_of
from jaxpot.potentials.combinations import never_seen
from jaxpot.structures import float32_error
from jaxpot.trees import walk


def info(args: argparse.Namespace, model: Any) -> int:
    """Runs `jaxpot info` on the model of its file."""
    leaves = [np.asarray(leaf) for _, leaf, _ in walk(model)]
    heads = [getattr(term, "head", None) for term in terms_of(model)]
    facts = {
        "file": args.model,
        "class": type(model).__name__,
        "species": list(model.species),
        "cutoff": float(model.reach),
        "n_coefficients": sum(int(np.size(h.coefficients)) for h in heads if getattr(h, "coefficients", None) is not None),
        "n_sparse_points": sum(h.n_coefficients for h in heads if type(h).__name__ == "SparseGP"),
        "dtype": sorted({leaf.dtype.name for leaf in leaves if leaf.dtype.kind == "f"}),
        "n_numbers": int(sum(leaf.size for leaf in leaves)),
        "bytes": int(sum(leaf.nbytes for leaf in leaves)),
        "never_seen": list(never_seen(model)),
        **_in_float32(model),
    }
    if args.json:
        print(json.dumps({**facts, "tree": str(model).splitlines()}))
        return 0
    print(f"{model}\n")
    facts.update(species=" ".join(facts["species"]), cutoff=f"{facts['cutoff']:g} Å", dtype=" ".join(facts["dtype"]))
    known = any(getattr(term, "seen", None) is not None for term in terms_of(model))
    facts["never_seen"] = (", ".join(facts["never_seen"]) or "nothing: every combination of elements was in the fit") if known else "not known"
    error, refused = facts.pop("float32_error"), facts.pop("float32_refused")
    measured = "measured on structures alone, by jaxpot.float32_error(model, atoms)" if error is None else f"{error:.1e} eV per atom at its sparse points"
    facts["float32_costs"] = f"refused: {refused}" if refused else measured
    facts["bytes"] = f"{facts['bytes']} in memory, {Path(args.model).stat().st_size} on disk"
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<16} {value}")
    return 0


def _in_float32(model: Any) -> dict[str, Any]:
    """What float32 costs a model at its own points, or why it is refused; neither where it has none."""
    try:
        return {"float32_error": float32_error(model).energy, "float32_refused": None}
    except ValueError:
        return {"float32_error": None, "float32_refused": None}
    except TypeError as error:
        return {"float32_error": None, "float32_refused": str(error).split("; ")[0].removeprefix("cast: ")}
