"""The XML file of a GAP: which elements and attributes it may have, and which potentials its `init_args` add up."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from jaxpot.io.text import integer, number
from jaxpot.units import SYMBOLS

OLDEST = 1426512068  # earlier versions of `soap` meant other prefactors and another centre by the same keys
LARGEST = 200  # of n_max, l_max, alpha_max and K: more is a slip of the pen

# attributes and children of all elements that QUIP writes in a GAP; anything else may change energies
_ATTRIBUTES = {
    "GAP_params": {"label", "gap_version", "svn_version"},
    "GAP_data": {"do_core", "do_pca", "e0", "n_species"},
    "e0": {"Z", "value"},
    "gpSparse": {"label", "n_coordinate", "fitted"},
    "gpCoordinates": {
        "label", "dimensions", "signal_variance", "signal_mean", "sparsified", "n_permutations", "covariance_type", "zeta", "n_sparseX",
        "sparseX_filename", "sparseX_md5sum",
    },
    "sparseX": {"i", "alpha", "sparseCutoff", "sliced"},
    "permutation": {"i"},
}  # fmt: skip
_CHILDREN = {
    "GAP_params": {"GAP_data", "gpSparse", "command_line", "XYZ_data"},
    "GAP_data": {"e0"},
    "gpSparse": {"gpCoordinates"},
    "gpCoordinates": {"theta", "descriptor", "permutation", "sparseX"},
    "sparseX": {"sparseX_slice"},
}
_LOGICAL = re.compile(r"\.?([tf])", re.IGNORECASE)  # as Fortran reads one


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, name, pubid, system):
        raise ValueError("it declares a document type (<!DOCTYPE), which no GAP has; take that declaration out")


def read_tree(path: Path) -> ElementTree.Element:
    """The root of the file, in the encoding that it declares.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no XML, or declares a document type, whose entities can grow without bound.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a GAP file (.xml)")
    if not path.exists():
        raise FileNotFoundError(f"no GAP file at {path}")
    content = path.read_bytes()
    encoding = None
    if b"encoding=" not in content[:200]:  # then it should be UTF-8; what old editors write in comments is Latin-1
        try:
            content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8")
        except UnicodeDecodeError:
            encoding = "iso-8859-1"
    try:
        parser = ElementTree.XMLParser(target=_WithoutDoctype(), encoding=encoding)
        parser.feed(content)
        return parser.close()
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"{path} is not readable XML: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not readable as a GAP: {error}") from None


def gap_params(root: ElementTree.Element, path: Path) -> tuple[ElementTree.Element, bool]:
    """The element GAP_params, and whether a core potential IP Glue is added to it.

    Raises:
      ValueError: if there is not one such element with a fitted Gaussian process of 2015 or later, for elements and attributes that QUIP does not
        write, and for sums with other potentials.
    """
    found = [root] if root.tag == "GAP_params" else list(root.iter("GAP_params"))
    if len(found) > 1:
        labels = ", ".join(str(p.get("label")) for p in found)
        raise ValueError(f"{path} has {len(found)} elements GAP_params ({labels}); expected one; write each to a file of its own and add what is read")
    if not found or len(found[0].findall("gpSparse")) != 1:
        raise ValueError(f"{path} has no fitted Gaussian process (an element GAP_params with one gpSparse); is it written by gap_fit?")
    params = found[0]
    version = integer(params.get("gap_version", "0"), f"{path}: gap_version")
    if version < OLDEST:
        raise ValueError(f"{path} has gap_version {version}; only files since {OLDEST} (March 2015) are read, whose keys mean what they say")
    _check(params, path)
    process = params.find("gpSparse")
    if not truth(process.get("fitted", "T"), f"{path}: fitted"):
        raise ValueError(f'{path} has not been fitted (fitted="F", from sparsify_only_no_fit): it has no coefficients; run gap_fit without that option')
    coordinates, alphas = process.findall("gpCoordinates"), [number(x.get("alpha", ""), f"{path}: alpha") for x in process.iter("sparseX")]
    if alphas and not any(alphas):
        raise ValueError(f"{path} has not been fitted: all its coefficients alpha are zero")
    stated = process.get("n_coordinate")
    if stated is None or integer(stated, f"{path}: n_coordinate") != len(coordinates):
        raise ValueError(f"{path}: gpSparse has n_coordinate={stated}, but {len(coordinates)} elements gpCoordinates")
    label = process.get("label", "")
    for i, element in enumerate(coordinates, 1):
        if element.get("label", "") != f"{label}{i}":
            raise ValueError(f"{path}: gpCoordinates number {i} has the label {element.get('label')}; expected {label}{i}, by which QUIP looks it up")
    if label != params.get("label", ""):
        raise ValueError(f"{path}: GAP_params has the label {params.get('label')}, its gpSparse {label}; expected the same")
    data = params.find("GAP_data")
    stated = data is not None and truth(data.get("do_core", "F"), f"{path}: do_core")
    if data is not None and truth(data.get("do_pca", "F"), f"{path}: do_pca"):
        raise ValueError(f"{path}: do_pca=T is not implemented")
    return params, _has_core(root, params, stated, path)


def _check(element: ElementTree.Element, path: Path) -> None:
    unknown = sorted(set(element.attrib) - _ATTRIBUTES.get(element.tag, set(element.attrib)))
    if unknown:
        raise ValueError(f"{path}: the attribute {unknown[0]}={element.get(unknown[0])[:60]} of {element.tag} is not implemented")
    for child in element:
        if child.tag not in _CHILDREN.get(element.tag, ()):
            raise ValueError(f"{path}: an element {child.tag} in {element.tag} is not implemented")
        _check(child, path)


def _has_core(root: ElementTree.Element, params: ElementTree.Element, stated: bool, path: Path) -> bool:
    """By `init_args`, as QUIP goes; do_core only repeats it."""
    potentials = list(root.iter("Potential"))
    if len(potentials) > 1:
        raise ValueError(f"{path} has {len(potentials)} elements Potential; expected one")
    unknown = [key for element in potentials for key in element.attrib if key not in ("label", "init_args")]
    if unknown:
        raise ValueError(f"{path}: the attribute {unknown[0]} of Potential is not implemented")
    text = potentials[0].get("init_args", "") if potentials else None
    label = params.get("label", "")
    words = " ".join((f"IP GAP label={label}" if text is None else text).split())
    total = re.fullmatch(r"[Ss]um init_args_pot1=\{\s*(.*?)\s*\} init_args_pot2=\{\s*(.*?)\s*\}", words)
    parts = list(total.groups()) if total else [words]
    own = [part for part in parts if re.match(r"IP GAP\b", part)]
    if len(own) != 1 or (len(parts) == 1 and stated) or not set(parts) - set(own) <= {"IP Glue"}:
        raise ValueError(f"{path}, core potential: {text or 'not named in an element Potential'} is not implemented, only IP Glue, added to one IP GAP")
    if own[0] not in ("IP GAP", f"IP GAP label={label}"):
        raise ValueError(f"{path}: init_args={own[0]} is not implemented, only IP GAP label={label}, the one of GAP_params in this file")
    return len(parts) == 2


def isolated_energies(params: ElementTree.Element, path: Path) -> dict[int, float]:
    """Energies e0 by atomic number, in eV. An attribute e0 of GAP_data holds for all elements that have none of their own."""
    data = params.find("GAP_data")
    if data is None:
        return {}
    general = data.get("e0")
    found = {} if general is None else dict.fromkeys(range(1, len(SYMBOLS)), number(general, f"{path}: e0"))
    own: set[int] = set()
    for element in data.findall("e0"):
        z = atomic_number(element.get("Z", ""), f"{path}: e0")
        if z in own or not z:
            raise ValueError(f"{path}: e0 of Z = {z}{' is there twice' if z else ' belongs to no element'}")
        own.add(z)
        found[z] = number(element.get("value", ""), f"{path}: e0 of Z = {z}")
    return found


def truth(text: str, where: str) -> bool:
    """A logical, as Fortran writes it: T, F, .true., False.

    Raises:
      ValueError: if it is none.
    """
    found = _LOGICAL.match(text.strip())
    if not found:
        raise ValueError(f"{where}: expected T or F, got {text[:60]!r}")
    return found[1] in "tT"


def count(text: str, where: str, largest: int) -> int:
    """A whole number from 0 to the largest that makes sense.

    Raises:
      ValueError: if it is none.
    """
    if not 0 <= (value := integer(text, where)) <= largest:
        raise ValueError(f"{where}: expected a whole number from 0 to {largest}, got {value}")
    return value


def atomic_number(text: str, where: str) -> int:
    """0, for any element, or that of an element."""
    return count(text, f"{where}: atomic number", len(SYMBOLS) - 1)


def real(settings: dict[str, str], key: str, default: str | None, where: str) -> float:
    """A number of a descriptor.

    Raises:
      ValueError: if it is none, or lacks without a default.
    """
    if (text := settings.get(key, default)) is None:
        raise ValueError(f"{where}: the descriptor has no {key}")
    return number(text, f"{where}: {key}")


def whole(settings: dict[str, str], key: str, default: str | None, where: str) -> int:
    """A size of a descriptor, 0 to `LARGEST`; likewise."""
    if (text := settings.get(key, default)) is None:
        raise ValueError(f"{where}: the descriptor has no {key}")
    return count(text, f"{where}: {key}", LARGEST)


def settings_of(text: str, where: str) -> tuple[str, dict[str, str]]:
    """The descriptor's name and its key=value pairs; values may be lists in braces.

    Raises:
      ValueError: for other words, and a key that is there with two values.
    """
    name, _, rest = text.strip().partition(" ")
    pairs = re.findall(r"(\w+)=(\{[^}]*\}|\S+)", rest)
    left = re.sub(r"(\w+)=(\{[^}]*\}|\S+)", "", rest).split()
    if left or not name:
        raise ValueError(f"{where}: descriptor {name}: cannot read {left}")
    found: dict[str, str] = {}
    for key, value in pairs:
        value = value.strip("{}").strip()
        if found.setdefault(key, value) != value:
            raise ValueError(f"{where}: descriptor {name} has {key} twice, {found[key]} and {value}")
    return name, found
