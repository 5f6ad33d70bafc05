"""The linear terms of a model, and their rows of the design matrix."""

from jaxpot.graph import Graph
from jaxpot.potentials.base import Model, named, terms_of
from jaxpot.potentials.linear import LinearModel, is_linear, lacking
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
        raise TypeError(f"{' + '.join(named(term, 'head') for term in terms_of(model))} is not linear in its coefficients; use jaxpot.fit.train")
    for term in terms:
        if words := lacking(term):
            raise ValueError(words)
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
