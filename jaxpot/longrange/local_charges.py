"""Charges predicted from each atom's surroundings, with a correction that makes their sum exact."""

import abc

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import Descriptor
from jaxpot.graph import Environment, Graph
from jaxpot.heads.base import Head
from jaxpot.interface import Interface
from jaxpot.longrange.charges import ChargeModel
from jaxpot.longrange.fragments import Totals, WholeStructure
from jaxpot.math.linalg import einsum
from jaxpot.passes import condense
from jaxpot.potentials.atomic import AtomicPotential, DescribedPotential
from jaxpot.potentials.base import Potential
from jaxpot.potentials.linear import LinearModel, constant_of, is_linear
from jaxpot.potentials.rows import energies_rows
from jaxpot.properties import Properties
from jaxpot.trees import pytree

Array = jax.Array


class Correction(Interface):
    """Interface: how atoms share what charges lack to their total."""

    @abc.abstractmethod
    def weights(self, graph: Graph) -> Array:
        """What every atom takes of it, up to a factor, [N], positive; of padding atoms it does not count."""

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why weights are NaN, in words."""
        return ()


@pytree
class Uniform(Correction):
    """All atoms take the same.

    Example:
      >>> from ase.build import molecule
      >>> from jaxpot import from_atoms
      >>> Uniform().weights(from_atoms(molecule("H2O"), 2.0)).tolist()
      [1.0, 1.0, 1.0]
    """

    def weights(self, graph: Graph) -> Array:
        return jnp.ones(graph.numbers.shape, graph.positions.dtype)


@pytree
class Weighted(Correction):
    r"""Atoms take what a model says, :math:`w_i = e^{a_i}`.

    Args:
      logarithm: a, the atomic energies of a potential, here numbers without a unit: `IsolatedAtoms({"O": 0.7, "H": 0.0})` makes oxygen take
        twice as much as hydrogen, an `AtomicPotential` has any descriptor and head.

    Example:
      >>> from ase.build import molecule
      >>> from jaxpot import IsolatedAtoms, from_atoms
      >>> weights = Weighted(IsolatedAtoms({"H": 0.0, "O": np.log(2.0)})).weights(from_atoms(molecule("H2O"), 2.0))
      >>> np.asarray(weights).round(4).tolist()  # O, H, H
      [1.0, 0.5, 0.5]
    """

    logarithm: Potential

    def weights(self, graph: Graph) -> Array:
        real = graph.numbers > 0
        logarithm = jnp.where(real, self.logarithm.energies(graph), 0)
        return jnp.exp(logarithm - jnp.max(logarithm))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.logarithm.causes(graph)


@pytree
class LocalCharges(ChargeModel, LinearModel):
    r"""Charges from a descriptor and a head, whose sum is made exact.

    .. math:: q_i = h(x_i, z_i) + \frac{w_i}{\sum_j w_j} \left(Q - \sum_j h(x_j, z_j)\right)

    With a linear head it is a linear model, which `fit.linear`, `fit.posterior` and `fit.log_evidence` fit to labels of charges, of dipoles, or
    of both; the fitted model is put into `Electrostatics` as it is. Any head can be trained inside of `Electrostatics` with energies and forces
    (and charges and dipoles) by `fit.train`.

    Args:
      descriptor: features of every atom.
      head: features to charges: where heads say eV, read e.
      correction: how the atoms share what charges lack to the total.
      totals: which charges are given in sum; that of the whole structure, unless said.

    Raises:
      TypeError, ValueError: as `AtomicPotential`.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, Linear, SOAP
      >>> soap = SOAP(Density(("O", "H"), CosineCutoff(4.0, width=1.0), GTO(n_max=2), l_max=1, sigma=0.5))
      >>> LocalCharges(soap, Linear()).n_coefficients
      40
    """

    local: DescribedPotential
    correction: Correction
    totals: Totals

    def __init__(self, descriptor: Descriptor, head: Head, correction: Correction = Uniform(), totals: Totals = WholeStructure()):
        fields = {"local": AtomicPotential(descriptor, head), "correction": correction, "totals": totals}
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    @property
    def species(self) -> tuple[str, ...]:
        return self.local.species

    @property
    def reach(self) -> Array:
        return self.local.reach

    @property
    def n_coefficients(self) -> int:
        return self.local.n_coefficients

    def with_points(self, points: Environment) -> "LocalCharges":
        """The same model, unfitted, with these M environments as sparse points; for heads that have them.

        Raises:
          TypeError: if the head has no sparse points.
        """
        return self.replace(local=self.local.with_points(points))

    def charges(self, graph: Graph) -> Array:
        groups = self.totals.groups(graph)
        q, weights = jnp.where(graph.numbers > 0, self.local.energies(graph), 0), self._weights(graph)
        return q + groups.shared(groups.totals.astype(q.dtype) - groups.sums(q), weights)

    def _weights(self, graph: Graph) -> Array:
        return jnp.where(graph.numbers > 0, self.correction.weights(graph), 0)

    def basis(self, graph: Graph) -> Properties:
        """Derivatives by the coefficients of charges, shape [N, P], and of the dipole, [3, P]."""
        groups, weights = self.totals.groups(graph), self._weights(graph)
        rows = energies_rows(condense(self.local), graph)
        rows = jax.vmap(lambda q: q - groups.shared(groups.sums(q), weights), 1, 1)(rows)
        return Properties(charges=rows, dipole=einsum("nx,np->xp", jnp.where((graph.numbers > 0)[:, None], graph.positions, 0), rows))

    def precision(self) -> Array:
        return self.local.precision()

    def with_coefficients(self, w: Array) -> "LocalCharges":
        return self.replace(local=self.local.with_coefficients(w))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return (*self.local.causes(graph), *self.correction.causes(graph), *self.totals.causes(graph))


@is_linear.register
def _linear_charges(model: LocalCharges) -> bool:
    return is_linear(model.local)


@constant_of.register
def _shares_of_the_total(charges: LocalCharges) -> LocalCharges:
    return charges.with_coefficients(jnp.zeros(charges.n_coefficients))
