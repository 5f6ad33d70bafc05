"""Heads: from the features of atoms to atomic energies."""

import importlib
from typing import TYPE_CHECKING, Any

from jaxpot.heads.base import Head, LinearHead
from jaxpot.heads.condensed_gp import ExpandedGP, TabulatedGP
from jaxpot.heads.hidden import HiddenLayer
from jaxpot.heads.linear import Embedding, Linear, Quadratic, SharedLinear, ShiftedPower, SmoothedPower
from jaxpot.heads.mlp import MLP
from jaxpot.heads.references import References
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.math.activations import CELU, Activation, Cosine, Exponential, Gaussian, Harmonic, Identity, Logistic, ReLU, SiLU, Softplus, Tanh

if TYPE_CHECKING:
    from jaxpot.heads.flax import LinenHead, NNXHead

_LAZY = {"LinenHead": "jaxpot.heads.flax", "NNXHead": "jaxpot.heads.flax"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'jaxpot.heads' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


__all__ = [
    "CELU", "MLP", "Activation", "Cosine", "Embedding", "ExpandedGP", "Exponential", "Gaussian", "Harmonic", "Head", "HiddenLayer", "Identity", "Linear",
    "LinearHead", "LinenHead", "Logistic", "NNXHead", "Quadratic", "ReLU", "References", "SharedLinear", "ShiftedPower", "SiLU", "SmoothedPower",
    "Softplus", "SparseGP", "TabulatedGP", "Tanh",
]  # fmt: skip
