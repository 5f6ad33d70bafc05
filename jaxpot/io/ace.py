"""The older text form of PACE potentials, .ace files of one element, for `jaxpot.io.yace`."""

import re
from pathlib import Path

import numpy as np

from jaxpot.io.text import number, read_text

_MOST = 1_000_000  # of anything that is counted


class _Words:
    """The words and punctuation marks of a file, and where reading has come to."""

    def __init__(self, path: Path):
        self.path, self.at = path, 0
        self.words = re.sub(r"([=():<>])", r" \1 ", re.sub(r"#.*", "", read_text(path, "a PACE potential"))).split()

    def follows(self, key: str) -> bool:
        """Whether the next words are these; then they are read."""
        words = re.sub(r"([=():<>])", r" \1 ", key).split()
        if self.words[self.at : self.at + len(words)] != words:
            return False
        self.at += len(words)
        return True

    def key(self, key: str) -> None:
        if not self.follows(key):
            raise ValueError(f"{self.path}: expected {key}, found {' '.join(self.words[self.at : self.at + 5]) or 'the end of the file'}")

    def text(self, key: str) -> str:
        self.key(key)
        return self.words.pop(self.at) if self.at < len(self.words) else ""

    def numbers(self, key: str, n: int) -> list[float]:
        self.key(key)
        own = self.words[self.at : self.at + n]
        self.at += n
        if len(own) < n:
            raise ValueError(f"{self.path} ends before the {n} numbers of {key}")
        return [number(word, f"{self.path}: {key}") for word in own]

    def integers(self, key: str, n: int) -> list[int]:
        found = self.numbers(key, n)
        if any(x != int(x) for x in found):
            raise ValueError(f"{self.path}: expected {n} whole numbers after {key}, got {found}")
        return [int(x) for x in found]

    def count(self, key: str) -> int:
        (found,) = self.integers(key, 1)
        if not 0 <= found <= _MOST:
            raise ValueError(f"{self.path}: expected a count after {key}, got {found}")
        return found


def read_ace(path: str | Path) -> dict:
    """The contents of a file in the structure of a .yace file.

    Args:
      path: the .ace file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for several elements, and where something else follows than this form has.
    """
    words = _Words(Path(path))
    if words.count("nelements=") != 1:
        raise ValueError(f"{path}: only .ace files of one element are read; save it as .yace with python-ace")
    element = words.text("elements:")
    l_max, name, n_parameters = words.count("lmax="), words.text("embedding-function:"), words.count("")
    parameters = words.numbers("FS parameters:", n_parameters)
    high, width = words.numbers("core energy-cutoff parameters:", 2)
    energies = words.numbers("", 1) if words.follows("E0:") else [0.0]
    basis, n_base, n_mixed = words.text("radbasename="), words.count("nradbase="), words.count("nradmax=")
    words.numbers("cutoffmax=", 1)
    words.numbers("deltaSplineBins=", 1)
    (prefactor, exponent), lam = words.numbers("core repulsion parameters:", 2), words.numbers("radparameter=", 1)
    (radius,), (end,) = words.numbers("cutoff=", 1), words.numbers("dcut=", 1)
    mixing = np.array(words.numbers("crad=", n_base * n_mixed * (l_max + 1))).reshape(n_base, n_mixed, l_max + 1)
    for key in ("rankmax=", "ndensitymax=", "num_c_tilde_max=", "num_ms_combinations_max="):
        words.count(key)
    functions = []
    for key in ("total_basis_size_rank1:", "total_basis_size:"):
        functions += [_function(words) for _ in range(words.count(key))]
    if words.at < len(words.words):
        raise ValueError(f"{path}: cannot read {' '.join(words.words[words.at : words.at + 5])} after the last function")
    return {
        "elements": [element], "E0": energies, "functions": {0: functions},
        "embeddings": {0: {
            "ndensity": n_parameters // 2, "FS_parameters": parameters, "npoti": name, "rho_core_cutoff": high, "drho_core_cutoff": width,
        }},
        "bonds": {(0, 0): {
            "nradmax": n_mixed, "lmax": l_max, "nradbasemax": n_base, "radbasename": basis, "radparameters": lam, "rcut": radius, "dcut": end,
            "radcoefficients": mixing.transpose(1, 2, 0).tolist(), "prehc": prefactor, "lambdahc": exponent,
        }},
    }  # fmt: skip


def _function(words: _Words) -> dict:
    words.key("ctilde_basis_func:")
    rank, p, mu = (words.count(key) for key in ("rank=", "ndens=", "mu0="))
    found = {"mu0": mu, "rank": rank, "ndensity": p}
    for key, field in (("mu=(", "mus"), ("n=(", "ns"), ("l=(", "ls")):
        found[field] = words.integers(key, rank)
        words.key(")")
    n_terms, components, values = words.count("num_ms="), [], []
    for _ in range(n_terms):
        components += words.integers("<", rank)
        values += words.numbers(">:", p)
    return found | {"num_ms_combs": n_terms, "ms_combs": components, "ctildes": values}
