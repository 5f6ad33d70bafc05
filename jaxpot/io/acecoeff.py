"""Coefficients that FitSNAP writes apart from the couplings of a .yace file, for `jaxpot.io.yace`."""

from pathlib import Path

from jaxpot.io.fields import counts, numbers
from jaxpot.io.text import number, read_text

_MOST = 1_000_000


def multiplied(found: dict, path: Path, coefficients: Path) -> dict:
    """The contents of a .yace file whose functions are couplings alone, times the coefficients of an .acecoeff file.

    Args:
      found: the contents.
      path: the .yace file, for messages.
      coefficients: the .acecoeff file: for every element its name, its energy if alone, and one number for every function.

    Raises:
      ValueError: if the functions have coefficients already, and for elements and counts that are not those of the .yace file.
    """
    words = [line.split("#")[0].split() for line in read_text(coefficients, "an .acecoeff file").splitlines()]
    words = [line for line in words if line]
    if not words or [len(line) for line in words[:2]] != [2, 1] or not isinstance(found, dict) or not isinstance(found.get("functions"), dict):
        raise ValueError(f"{coefficients}: expected the numbers of elements and functions, an element, and its coefficients, for functions of {path}")
    elements, rows = [], []
    for line in words[1:]:
        if len(line) == 1 and line[0].isalpha():
            elements.append(line[0])
            rows.append([])
        elif len(line) == 1 and rows and len(rows[-1]) < _MOST:
            rows[-1].append(number(line[0], coefficients))
        else:
            raise ValueError(f"{coefficients}: expected an element or one coefficient, got {' '.join(line)[:60]!r}")
    if elements != found.get("elements"):
        raise ValueError(f"{coefficients} is of the elements {elements}, {path} of {found.get('elements')}")
    energies, functions = list(numbers(found["E0"], (len(elements),), f"{path}: E0")), {}
    for mu, (symbol, own) in enumerate(zip(elements, rows, strict=True)):
        of_center = found["functions"].get(mu) or []
        if any(counts([f["rank"]], str(path)) == [1] and numbers(f["ctildes"], (1,), str(path)) != 1 for f in of_center):
            raise ValueError(f"{path}: functions of {symbol} have their coefficients already; leave out coefficients={coefficients.name!r}")
        if len(own) not in (len(of_center), len(of_center) + 1):
            raise ValueError(f"{coefficients}: {len(own)} coefficients of {symbol}; {path} has {len(of_center)} functions of it, and one energy")
        if len(own) > len(of_center):
            energies[mu] = own.pop(0)
        values = [numbers(f["ctildes"], (len(f["ctildes"]),), str(path)) for f in of_center]
        functions[mu] = [f | {"ctildes": (c * x).tolist()} for f, c, x in zip(of_center, own, values, strict=True)]
    return found | {"E0": energies, "functions": functions}
