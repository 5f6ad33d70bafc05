"""Passes: each is one walk over a model, from the leaves of the tree upwards, with at most one rule per class.

A rule stands below its class, or, where it puts a fast form in the place of a plain one, in the file of that form; nothing hands on to
children. A rule may ask for the classes of some of the fields: then it holds for these only.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax

from jaxpot.checks import is_concrete
from jaxpot.leaves import Tree
from jaxpot.precision import in_float64
from jaxpot.trees import fields, fits, is_pytree, set_fields

Rule = Callable[..., Any]


class Fast(Tree):
    """Interface of what passes put in the place of a plain form. No pass looks inside."""


class Rules:
    """The rules of one pass, by class."""

    def __init__(self):
        self._of: dict[type, list[tuple[dict[str, Any], Rule]]] = {}

    def rule(self, cls: type, **kinds: Any) -> Callable[[Rule], Rule]:
        """Registers a function (part, …) -> part for a class, or for its instances with fields of these classes alone."""

        def register(function: Rule) -> Rule:
            self._of.setdefault(cls, []).insert(0 if kinds else len(self._of.get(cls, ())), (kinds, function))
            return function

        return register

    def __call__(self, value: Any, *more: Any) -> Any:
        """The value with every part in it replaced by what its rule makes of it, from the innermost outwards."""
        if isinstance(value, Fast):
            return value
        if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
            new = type(value)(self(child, *more) for child in value)
            return value if all(map(operator.is_, new, value)) else new
        if not is_pytree(value):
            return value
        parts = {name: child for name, child, field in fields(value) if not field.metadata.get("static")}
        changes = {name: new for name, child in parts.items() if (new := self(child, *more)) is not child}
        value = set_fields(value, **changes) if changes else value
        for cls in type(value).__mro__:
            for kinds, function in self._of.get(cls, ()):
                if fits(value, cls, **kinds):
                    return function(value, *more)
        return value


condensing, fusing, freezing, tabulating = Rules(), Rules(), Rules(), Rules()


def _in_float64(rules: Rules, model: Any, *more: Any) -> Any:
    """The pass in float64 where the model's numbers are at hand; under a transformation in what they have."""
    if all(is_concrete(leaf) for leaf in jax.tree_util.tree_leaves(model)):
        return in_float64(lambda model: rules(model, *more), model)
    return rules(model, *more)


def condense(model: Any) -> Any:
    """The model with what follows from its leaves alone computed: radial tables, features of sparse points. Differentiable; its parts stay what they are.

    It is for what looks at parts of a model many times, such as a fit at the rows of its structures.

    Args:
      model: a potential, a model of tensors or a descriptor.

    Returns:
      A model of the same class.
    """
    return condensing(model)


def prepare(model: Any) -> Any:
    """The model for many evaluations: condensed, and every part that has a fast form in it. It predicts the same, to round-off.

    Differentiable, so that gradients with respect to the leaves of the model pass through it; `evaluate` prepares a model by itself. Written
    once, outside of a loop over structures, it saves doing so again for each.

    Args:
      model: a potential, a model of tensors or a descriptor.

    Returns:
      A model of the same interface; to be evaluated, not to be fitted or saved.

    Example:
      >>> from jaxpot import GTO, SOAP, AtomicPotential, CosineCutoff, Density, Linear
      >>> soap = SOAP(Density(("Si",), CosineCutoff(5.0, width=1.0), GTO(n_max=2), l_max=1, sigma=0.5))
      >>> type(prepare(AtomicPotential(soap, Linear(coefficients=[0.1] * 6)))).__name__
      'LinearSOAP'
    """
    return fusing(condensing(model))


def freeze(model: Any) -> Any:
    """The model with its sparse points stored as features: faster, smaller, and no longer following hyper-parameters; made in float64.

    Args:
      model: a potential, a model of tensors or a descriptor; what refers to no points stays as it is.

    Returns:
      A model of the same class, which predicts the same.

    Raises:
      ValueError: for a kernel model without points.

    Example:
      >>> from jaxpot import IsolatedAtoms
      >>> freeze(IsolatedAtoms({"Si": -1.0})).species
      ('Si',)
    """
    return _in_float64(freezing, model)


def tabulate(model: Any, *, accuracy: float = 1e-9) -> Any:
    """The model for molecular dynamics: frozen, with the radial functions of its densities in tables, several times faster.

    It no longer follows hyper-parameters of radial functions and sigma. Energies and forces deviate from those of the model by about
    the accuracy; energy is conserved, since forces are the derivatives of the energies of the tables, which are twice differentiable.
    Sparse GPs with polynomial kernels of ζ = 1 or 2 become linear or quadratic heads, exactly, and lose their variance. All of it is
    computed in float64, also in 32-bit mode; `cast` comes afterwards.

    Args:
      model: a potential, a model of tensors or a descriptor.
      accuracy: largest deviation of any radial function, relative to the largest value of all.

    Returns:
      A model of the same class; `Tabulated.error` in its densities is the deviation measured.

    Raises:
      ValueError: for functions that no table of moderate size renders so accurately.

    Example:
      >>> from jaxpot import GTO, SOAP, CosineCutoff, Density
      >>> soap = tabulate(SOAP(Density(("Si",), CosineCutoff(5.0, width=1.0), GTO(n_max=8), l_max=6, sigma=0.5)))
      >>> bool(soap.expansion.radial.error <= 1e-9)
      True
    """
    return _in_float64(tabulating, _in_float64(freezing, model), accuracy)
