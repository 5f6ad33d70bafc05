"""The parts of a tensor: each is a descriptor of some degree with a head that is linear in its coefficients."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import Descriptor, features
from jaxpot.descriptors.expansion import is_local
from jaxpot.graph import Environment
from jaxpot.heads.base import LinearHead
from jaxpot.heads.linear import Linear
from jaxpot.heads.references import with_features, without_points
from jaxpot.heads.tensor import LambdaGP, degree, tensor_features, tensor_references
from jaxpot.leaves import Tree
from jaxpot.math.cartesian import cartesian_map
from jaxpot.math.coupling import count_couplings
from jaxpot.math.linalg import einsum
from jaxpot.passes import condensing, freezing
from jaxpot.trees import pytree, static

Array = jax.Array
Heads = LinearHead | LambdaGP | Mapping[int, LinearHead | LambdaGP]


class _Part(Tree):
    """What parts of both kinds share: a local descriptor, a head linear in its coefficients, and the values of a stack of atoms."""

    descriptor: Descriptor
    head: LinearHead | LambdaGP

    def _check(self) -> None:
        name = type(self).__name__
        if not is_local(self.descriptor):
            raise TypeError(f"{name}: expected a local descriptor, got {type(self.descriptor).__name__}")
        if not isinstance(self.head, LinearHead | LambdaGP):
            raise TypeError(f"{name}: expected a linear head or LambdaGP, got {type(self.head).__name__}")
        if any(degree(self.descriptor)) and not isinstance(self.head, Linear | LambdaGP):
            raise TypeError(
                f"{name}: {type(self.head).__name__} is nonlinear in the features, which are tensors of degree {degree(self.descriptor)[0]}; "
                "use Linear or LambdaGP(LambdaKernel(zeta=2.0))"
            )
        object.__setattr__(self, "head", self.head.sized(self.descriptor))

    @property
    def n_coefficients(self) -> int:
        return self.head.n_coefficients

    def values(self, envs: Environment, as_basis: bool) -> Array:
        """Spherical components of n atoms, shape [n, 2λ + 1], or their derivatives by the coefficients, [n, 2λ + 1, P]."""
        function = self.head.basis if as_basis else self.head.__call__
        if isinstance(self.head, LambdaGP):
            return function(*tensor_features(self.descriptor, envs), envs.center)
        x = features(self.descriptor, envs)
        return jax.vmap(function, (2, None), 1)(x[:, :, None] if x.ndim == 2 else x, envs.center)


@pytree
class TensorPart(_Part):
    """One independent set of components of degree λ.

    Args:
      descriptor: of degree λ: `LambdaSOAP` or any descriptor with attributes `lam` and `pseudo`; any other gives invariants, λ = 0.
      head: Linear or LambdaGP; for λ = 0 any linear head.
      copy: which of several sets of the same degree, where the tensor has them.
    """

    descriptor: Descriptor
    head: LinearHead | LambdaGP
    copy: int = static(default=0)

    def __post_init__(self):
        self._check()

    def cartesian(self, values: Array, groups: tuple[int, ...], arms: Array, per_atom: bool) -> Array:
        """[n, 2λ + 1, ...] -> [3^rank, ...], the sum over atoms, or [n, 3^rank, ...]."""
        table = cartesian_map(groups, degree(self.descriptor)[0])[self.copy]
        table = jnp.asarray(table.reshape(table.shape[0], -1), values.dtype)
        return einsum("nm...,mc->nc...", values, table) if per_atom else einsum("m...,mc->c...", jnp.sum(values, axis=0), table)


@pytree
class ChargePart(_Part):
    r"""The dipole of atomic charges of a neutral molecule, :math:`\sum_i (q_i - \bar q)\, \mathbf r_i`.

    Args:
      descriptor: invariants of every atom.
      head: any linear head; gives q in e where dipoles are in e·Å.
    """

    descriptor: Descriptor
    head: LinearHead | LambdaGP

    def __post_init__(self):
        self._check()
        if any(degree(self.descriptor)):
            raise ValueError(f"ChargePart: charges are invariants, the descriptor has degree {degree(self.descriptor)[0]}; use SOAP")

    def cartesian(self, values: Array, groups: tuple[int, ...], arms: Array, per_atom: bool) -> Array:
        # Σ (q_i − q̄) r_i = Σ q_i (r_i − r̄)
        return einsum("na,n...->a...", arms, values[:, 0])


def parts_of(name: str, descriptors: Iterable[Descriptor], groups: tuple[int, ...], head: Heads) -> tuple[TensorPart, ...]:
    """One part per descriptor and independent set of components of its degree."""
    parts = []
    for descriptor in descriptors:
        if not is_local(descriptor):
            raise TypeError(f"{name}: expected a local descriptor, got {type(descriptor).__name__}")
        lam, _ = degree(descriptor)
        copies = max(1, count_couplings((1,) * len(groups), lam, groups))  # a degree that does not occur is refused by the model
        parts += [TensorPart(descriptor, head_of(name, head, lam), copy) for copy in range(copies)]
    return tuple(parts)


def head_of(name: str, head: Heads, lam: int) -> LinearHead | LambdaGP:
    if not isinstance(head, Mapping):
        return head
    if lam not in head:
        raise ValueError(f"{name}: no head for degree {lam} in {sorted(head)}; write head={{{lam}: Linear(scale=1.0), ...}}")
    return head[lam]


@condensing.rule(_Part, head=LambdaGP)
def _with_tensors(part: TensorPart | ChargePart) -> TensorPart | ChargePart:
    return with_features(part, tensor_references)


condensing.rule(_Part)(with_features)
freezing.rule(_Part)(without_points)
