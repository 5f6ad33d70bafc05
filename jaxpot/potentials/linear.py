"""Models that are linear in coefficients of theirs, and what a fit asks of them."""

import abc
import functools
from collections.abc import Sequence
from typing import Any

import jax

from jaxpot.graph import Graph
from jaxpot.interface import Interface
from jaxpot.properties import Properties

Array = jax.Array

SPARSE_POINTS = "sparse points; write potential.with_points(jaxpot.fit.select_environments(descriptor, data, 1000, key=key))"


class LinearModel(Interface):
    """Interface: a model whose predictions are `basis(graph) @ coefficients`, with a Gaussian prior on the coefficients."""

    @abc.abstractmethod
    def basis(self, graph: Graph) -> Properties:
        """Derivatives of all that is predicted by the coefficients: every field with a trailing axis [P]."""

    @abc.abstractmethod
    def precision(self) -> Array:
        """The prior w ~ Normal(0, precision⁻¹), shape [P, P]."""

    @abc.abstractmethod
    def with_coefficients(self, w: Array) -> "LinearModel":
        """The same model with these coefficients [P]."""

    def energy_row(self, graph: Graph) -> Array:
        """Derivatives of the energy by the coefficients, shape [P]; for models that have it without the rows of forces."""
        return self.basis(graph).energy


@functools.singledispatch
def is_linear(model: Any) -> bool:
    """Whether a model is linear in coefficients of its own; classes of which only some instances are register it."""
    return isinstance(model, LinearModel)


@functools.singledispatch
def constant_of(model: LinearModel) -> Any:
    """What a linear model predicts whatever its coefficients, as a model; None, unless a class registers it, is nothing."""
    return None


@functools.singledispatch
def lacking(model: LinearModel) -> str:
    """What a linear model lacks to have coefficients, with the line to write; empty if nothing."""
    return without_coefficients((model,), SPARSE_POINTS)


def without_coefficients(parts: Sequence[Any], needed: str) -> str:
    """Which of the parts that hold coefficients has none, and what it needs; empty if all have."""
    return next((f"{type(part).__name__} has no {needed}" for part in parts if not part.n_coefficients), "")
