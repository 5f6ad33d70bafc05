"""The linear terms of a model, and their rows of the design matrix."""

from jaxpot.graph import Graph
from jaxpot.potentials.atomic import DescribedPotential
from jaxpot.potentials.base import LinearModel, Model, is_linear, terms_of
from jaxpot.potentials.gdml import GradientDomain
from jaxpot.potentials.structure_gp import StructureGP
from jaxpot.potentials.tensors import TensorModel
from jaxpot.precision import promoted_pair
from jaxpot.properties import Properties


def linear_terms(model: Model) -> tuple[int, ...]:
    """Positions of the linear terms of a Sum, (0,) for a linear model itself."""
    return tuple(i for i, term in enumerate(terms_of(model)) if is_linear(term))


def require_linear(model: Model) -> tuple[LinearModel, ...]:
    """The linear terms of a model.

    Raises:
      TypeError: if there is none, naming the model and what to use instead.
      ValueError: if a term has no coefficients to fit.
    """
    terms = tuple(terms_of(model)[i] for i in linear_terms(model))
    if not terms:
        names = " + ".join(type(t).__name__ + (f"({type(t.head).__name__})" if isinstance(t, DescribedPotential) else "") for t in terms_of(model))
        raise TypeError(f"{names} is not linear in its coefficients; use jaxpot.fit.train")
    for part in (part for term in terms for part in (term.parts if isinstance(term, TensorModel) else (term,))):
        if not part.n_coefficients:
            if isinstance(part, StructureGP | GradientDomain):
                name = type(part).__name__
                raise ValueError(f"{name} has no reference structures; write model.with_points([jaxpot.from_atoms(a, cutoff) for a in frames])")
            raise ValueError(
                f"{type(getattr(part, 'head', part)).__name__} has no sparse points; write "
                f"{'model' if isinstance(model, TensorModel) else 'potential'}.with_points(jaxpot.fit.select_environments(descriptor, data, 1000, key=key))"
            )
    return terms


def design(model: Model, graph: Graph) -> Properties:
    r"""The rows of the design matrix that belong to one structure.

    .. math:: E = \sum_p A^E_p w_p, \qquad F = \sum_p A^F_p w_p, \qquad W = \sum_p A^W_p w_p

    Args:
      model: a linear model, or a Sum; its terms that are not linear have no rows.
      graph: one structure.

    Returns:
      Properties with energy [P], forces [N, 3, P] and virial [3, 3, P]; P counts the coefficients of all linear terms in order. Of a
      model of tensors its property alone, for example polarizability [3, 3, P].

    Raises:
      TypeError: if no term is linear.
    """
    require_linear(model)
    model, graph = promoted_pair(model, graph)
    return model.basis(graph)
