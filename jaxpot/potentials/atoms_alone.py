"""The energies of atoms alone, as far as labelled structures tell them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpot.labels import read_label, what_is_there
from jaxpot.structures import is_atoms

WORDS = ("lstsq", "isolated", "mean")
_FAR = 5.0  # Å; the periodic images of what is marked as an isolated atom are further away


class IsolatedEnergies(NamedTuple):
    """What `isolated_energies` found.

    Args:
      how: the word.
      values: symbol -> energy in eV.
      errors: symbol -> standard error in eV, by what the frames leave of a sum over atoms; infinite for elements that they do not tell apart.
        Empty where energies are not from such a sum.

    Example:
      >>> print(IsolatedEnergies("lstsq", {"Si": -158.54}, {"Si": 0.01}))
      energies of atoms alone (lstsq), eV: Si -158.54 ± 0.01
    """

    how: str
    values: dict[str, float]
    errors: dict[str, float]

    def __str__(self) -> str:
        def one(symbol: str) -> str:
            error = self.errors.get(symbol)
            told = "" if error is None else f" ± {error:.2g}" if np.isfinite(error) else " (not told apart from others)"
            return f"{symbol} {self.values[symbol]:.6g}{told}"

        return f"energies of atoms alone ({self.how}), eV: {', '.join(map(one, self.values))}"


def isolated_energies(frames: Iterable[Any], how: str, keys: Mapping[str, str] | None = None, path: str = "how") -> IsolatedEnergies:
    """An energy per element from labelled structures.

    Args:
      frames: `ase.Atoms` with labels, one or several.
      how: "lstsq", the least-squares energies whose sums over atoms are nearest to those of the frames, per atom, and of all such those nearest to the
        mean; "isolated", the energies of frames that hold one atom and no periodicity, or are marked by config_type (or head) isolated_atom,
        IsolatedAtom, … in a periodic box with at least 5 Å between images; "mean", the mean energy per atom, for all elements.
      keys: where the labels are, as in `Dataset.from_atoms`.
      path: where the word stands in a configuration, for messages.

    Raises:
      ValueError: for another word, and where the frames do not tell.
    """
    words = ", ".join(f'"{word}"' for word in WORDS)
    if how not in WORDS:
        raise ValueError(f"{path} is {how!r}; expected {words} or a table such as {{Si = -158.54}}")
    frames = [frames] if is_atoms(frames) else list(frames)
    species = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    example = f"a table such as {{{', '.join(f'{symbol} = -158.54' for symbol in species)}}}"
    found = []
    for number, atoms in enumerate(frames):
        try:
            energy = read_label(atoms, "energy", keys)
            if energy is not None and len(atoms):
                found.append((atoms, float(energy.value), how == "isolated" and _is_isolated(atoms)))
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from None
    if how == "isolated":
        return IsolatedEnergies(how, _marked(found, species, path, example), {})
    if not found:
        raise ValueError(f"{path}: no training frame has an energy; name it with data.keys, or write {example}; {what_is_there(frames)}")
    share = np.array([[atoms.get_chemical_symbols().count(symbol) / len(atoms) for symbol in species] for atoms, _, _ in found])
    energies = np.array([energy / len(atoms) for atoms, energy, _ in found])
    mean = float(np.mean(energies))
    if how == "mean":
        return IsolatedEnergies(how, dict.fromkeys(species, mean), {})
    values = mean + np.linalg.lstsq(share, energies - mean, rcond=None)[0]
    errors = _errors(share, energies - share @ values)
    return IsolatedEnergies(how, *(dict(zip(species, numbers, strict=True)) for numbers in (values.tolist(), errors)))


def _errors(share: np.ndarray, left: np.ndarray) -> list[float]:
    """Standard errors of least-squares energies, of shares of the elements [n, S] and of what is left of the energies per atom [n]."""
    _, sizes, directions = np.linalg.svd(share, full_matrices=False)
    told = sizes > 1e-10 * sizes[0]
    directions, sizes = directions[told], sizes[told]
    variance = np.sum(left**2) / max(len(left) - len(sizes), 1)
    errors = np.sqrt(variance * np.sum((directions / sizes[:, None]) ** 2, axis=0))
    return np.where(np.sum(directions**2, axis=0) > 1 - 1e-8, errors, np.inf).tolist()


def _marked(found: Sequence[tuple[Any, float, bool]], species: Sequence[str], path: str, example: str) -> dict[str, float]:
    """Those of the frames that are isolated atoms."""
    out: dict[str, float] = {}
    for atoms, energy, isolated in found:
        if isolated:
            symbol = atoms.get_chemical_symbols()[0]
            if abs(out.setdefault(symbol, energy) - energy) > 1e-6:
                raise ValueError(f"{path}: two isolated atoms of {symbol} have the energies {out[symbol]} and {energy} eV; keep one")
    if missing := [symbol for symbol in species if symbol not in out]:
        mark = "one atom without periodicity, or marked config_type=isolated_atom"
        raise ValueError(f'{path}: no frame holds an isolated atom of {", ".join(missing)} ({mark}) with its energy; write "lstsq", or {example}')
    return {symbol: out[symbol] for symbol in species}


def _is_isolated(atoms: Any) -> bool:
    """Whether a frame is one atom alone: without periodicity, or marked as such in a box that is large enough."""
    marks = [re.sub(r"[^a-z]", "", str(atoms.info.get(key, "")).lower()) for key in ("config_type", "head")]
    marked = any(mark in ("isolatedatom", "isolatedatoms") for mark in marks)
    if marked and len(atoms) != 1:
        raise ValueError(f"the frame is marked as an isolated atom, but holds {len(atoms)} atoms; correct its config_type")
    if not atoms.pbc.any() or not marked:
        return len(atoms) == 1 and not atoms.pbc.any()
    from ase.neighborlist import neighbor_list

    images = neighbor_list("d", atoms, _FAR)
    if len(images):
        raise ValueError(f"the frame is marked as an isolated atom, but its periodic images are {images.min():.3g} Å away; expected over {_FAR} Å")
    return True
