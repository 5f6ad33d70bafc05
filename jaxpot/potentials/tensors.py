r"""Dipoles, polarizabilities and tensors of any rank, from descriptors that turn with the structure.

A tensor is a sum of parts, each a descriptor of some degree λ with a linear head, so that rotations and inversion act on it as they
must, whatever the coefficients. Spherical components become Cartesian ones by orthogonal maps: the Frobenius norm is the norm of the
components, and a fit with isotropic noise does not depend on how the structures lie in space.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.descriptors.base import Descriptor
from jaxpot.descriptors.blocks import atoms_at_once
from jaxpot.graph import Environment, Graph, environments
from jaxpot.heads.linear import Linear
from jaxpot.heads.references import references_of, with_points
from jaxpot.heads.tensor import degree
from jaxpot.math.coupling import count_couplings
from jaxpot.passes import condense, prepare
from jaxpot.potentials.base import Model
from jaxpot.potentials.linear import SPARSE_POINTS, LinearModel, lacking, without_coefficients
from jaxpot.potentials.tensor_parts import ChargePart, Heads, TensorPart, head_of, parts_of
from jaxpot.precision import promoted_pair
from jaxpot.properties import Properties
from jaxpot.structures import takes_atoms
from jaxpot.trees import pytree, static

Array = jax.Array


class TensorModel(Model, LinearModel):
    """Interface: a Graph in, a Cartesian tensor out, linear in coefficients with a Gaussian prior.

    Attributes:
      parts: what is added up.
      groups: one label per index of the tensor; indices with equal labels may be exchanged.
      per_atom: whether each atom has a tensor, instead of their sum.
      chunk: atoms per checkpointed block; None takes 128 on CPU and 65 536 elsewhere.
      field: where in Properties the tensor stands.
    """

    parts: tuple[TensorPart | ChargePart, ...]
    groups: tuple[int, ...]
    per_atom: bool
    chunk: int | None
    field: str

    def _check(self) -> None:
        name, rank = type(self).__name__, self.rank
        if not (isinstance(self.groups, tuple) and rank and all(isinstance(g, int) for g in self.groups)):
            raise ValueError(f"{name}: groups must be one integer per index, such as (0, 0) for a symmetric matrix, got {self.groups!r}")
        if not self.parts:
            raise ValueError(f"{name}: no descriptors; expected at least one, for example LambdaSOAP(density, lam={rank})")
        if self.chunk is not None and not self.chunk > 0:
            raise ValueError(f"{name}: chunk must be a positive number of atoms, got {self.chunk}")
        copies = {lam: count_couplings((1,) * rank, lam, self.groups) for lam in range(rank + 1)}
        for part in self.parts:
            if part.descriptor.species != self.species:
                raise ValueError(f"{name}: descriptors know {self.species} and {part.descriptor.species}; give all the same species, in one order")
            if isinstance(part, ChargePart):
                if rank != 1 or self.per_atom:
                    raise ValueError(f"{name}: charges make a dipole of the whole molecule, not a tensor of rank {rank} or of each atom")
                continue
            lam, pseudo = degree(part.descriptor)
            if not part.copy < copies.get(lam, 0) or pseudo != (rank + lam) % 2:
                has = [f"lam={k}" + (", pseudo=True" if (rank + k) % 2 else "") for k, n in copies.items() if n]
                raise ValueError(
                    f"{name}: {'pseudotensors' if pseudo else 'tensors'} of degree {lam} (copy {part.copy}) have no place in a tensor of rank "
                    f"{rank} with groups {self.groups}, which holds {'; '.join(has)}"
                )

    @property
    def rank(self) -> int:
        """The number of indices."""
        return len(self.groups)

    @property
    def species(self) -> tuple[str, ...]:
        return self.parts[0].descriptor.species

    @property
    def reach(self) -> Array:
        return functools.reduce(jnp.maximum, [jnp.asarray(part.descriptor.reach) for part in self.parts])

    @property
    def n_coefficients(self) -> int:
        return sum(part.n_coefficients for part in self.parts)

    def with_points(self, points: Environment) -> "TensorModel":
        """The same model, unfitted, with these M environments as sparse points of every head that has them.

        Raises:
          TypeError: if no head has sparse points.
        """
        if not any(references_of(part.head) for part in self.parts):
            names = sorted({type(part.head).__name__ for part in self.parts})
            raise TypeError(f"heads {names} have no sparse points; use head=LambdaGP(LambdaKernel(zeta=2.0))")
        return self.replace(parts=tuple(p.replace(head=with_points(p.head, points)) if references_of(p.head) else p for p in self.parts))

    def __add__(self, other: "TensorModel") -> "TensorModel":
        """The sum of two models of one kind: the parts of both."""
        if type(other) is not type(self):
            return NotImplemented
        if (self.groups, self.per_atom) != (other.groups, other.per_atom):
            raise ValueError(
                f"cannot add tensors with groups {self.groups}, per_atom={self.per_atom} and groups {other.groups}, per_atom={other.per_atom}"
            )
        return self.replace(parts=self.parts + other.parts)

    @takes_atoms
    def __call__(self, graph: Graph) -> Array:
        """The tensor, shape [3, …, 3], or of every atom, [N, 3, …, 3]; rows of padding atoms are zero."""
        own, graph = promoted_pair(self, graph)
        return own._assembled(graph, as_basis=False)

    def properties(self, graph: Graph) -> Properties:
        return Properties(**{self.field: self(graph)})

    def basis(self, graph: Graph) -> Properties:
        """Derivatives of the tensor by the coefficients, shape [3, …, 3, P] or [N, 3, …, 3, P]."""
        return Properties(**{self.field: self._assembled(graph, as_basis=True)})

    def _assembled(self, graph: Graph, as_basis: bool) -> Array:
        model, n = prepare(self), graph.numbers.shape[0]
        real = graph.numbers > 0
        center = jnp.sum(jnp.where(real[:, None], graph.positions, 0), axis=0) / jnp.maximum(jnp.sum(real), 1).astype(graph.positions.dtype)
        arms = jnp.where(real[:, None], graph.positions - center[None], 0)

        @jax.checkpoint
        def one_block(block):
            envs, real, arms = block
            tensors = []
            for part in model.parts:
                values = part.values(envs, as_basis)
                values = jnp.where(real.reshape(-1, *(1,) * (values.ndim - 1)), values, 0)
                tensors.append(part.cartesian(values, self.groups, arms, self.per_atom))
            return jnp.concatenate(tensors, axis=-1) if as_basis else functools.reduce(jnp.add, tensors)

        stack = environments(graph, self.reach, self.species), real, arms
        block = self.chunk or atoms_at_once()
        if n <= block:
            tensor = one_block(stack)
        else:
            n_blocks = -(-n // block)
            block = -(-n // n_blocks)
            fill = n_blocks * block - n  # repeated atoms count as padding
            stack = jax.tree_util.tree_map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], fill, axis=0)]) if fill else x, stack)
            stack = stack[0], stack[1] & (jnp.arange(n_blocks * block) < n), stack[2]
            tensor = jax.lax.map(one_block, jax.tree_util.tree_map(lambda x: x.reshape(n_blocks, block, *x.shape[1:]), stack))
            tensor = tensor.reshape(-1, *tensor.shape[2:])[:n] if self.per_atom else jnp.sum(tensor, axis=0)
        tail = tensor.shape[1 + self.per_atom :]
        tensor = tensor.reshape(*((n,) if self.per_atom else ()), *(3,) * self.rank, *tail)
        return poison(tensor, jnp.any(graph.pbc)) if self._has_charges() else tensor

    def _has_charges(self) -> bool:
        return any(isinstance(part, ChargePart) for part in self.parts)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        if self._has_charges() and np.any(np.asarray(graph.pbc)):
            return ("the dipole of charges in a periodic cell depends on the choice of the cell; set atoms.pbc = False, or leave out charges",)
        return ()

    def precision(self) -> Array:
        """The prior w ~ Normal(0, precision⁻¹), shape [P, P]."""
        return jax.scipy.linalg.block_diag(*(part.head.precision() for part in condense(self).parts))

    def with_coefficients(self, w: Array) -> "TensorModel":
        """The same model with these coefficients [P].

        Raises:
          ValueError: for another number of coefficients.
        """
        if np.shape(w) != (self.n_coefficients,):
            raise ValueError(f"{type(self).__name__}: expected coefficients [{self.n_coefficients}], got {np.shape(w)}")
        parts, start = [], 0
        for part in self.parts:
            parts.append(part.replace(head=part.head.replace(coefficients=w[start : start + part.n_coefficients])))
            start += part.n_coefficients
        return self.replace(parts=tuple(parts))


@lacking.register
def _of_any_part(model: TensorModel) -> str:
    return without_coefficients([part.head for part in model.parts], SPARSE_POINTS.replace("potential", "model"))


@pytree
class Tensor(TensorModel):
    r"""A Cartesian tensor of any rank, of a structure or of each atom.

    .. math:: T = \sum_i \sum_{\lambda r \mu} U^{(r)}_{\lambda\mu}\, t^{(r)}_{i,\lambda\mu}, \qquad
       t^{(r)}_{i,\lambda\mu} = h^{(r)}_\lambda(\mathbf p_i^{\lambda\mu}, z_i)

    A tensor of rank ν holds degree λ as a true tensor where ν + λ is even and as a pseudotensor where it is odd; degrees without a
    descriptor are zero.

    Args:
      descriptors: one or more, each of some degree λ; all of the same species.
      groups: one label per index; indices with equal labels may be exchanged: (0,) a vector, (0, 0) a symmetric and (0, 1) a general
        matrix, (0, 0, 0) a first and (0, 0, 0, 0) a second hyperpolarizability. Where the symmetry leaves several independent
        sets of one degree, each has its own coefficients.
      head: Linear, which has one coefficient per feature and centre species, or LambdaGP, the sparse kernel model; or a mapping from
        the degree to a head.
      per_atom: True for a tensor of each atom, False for their sum.
      chunk: atoms per checkpointed block; None takes 128 on CPU and 65 536 elsewhere.

    Raises:
      TypeError: for descriptors that are not local, or a head that is not linear in its coefficients.
      ValueError: for a degree or parity that the tensor does not hold, or different species.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, SOAP
      >>> from jaxpot.descriptors.soap import LambdaSOAP
      >>> density = Density(("H", "O"), CosineCutoff(4.0, width=1.0), GTO(n_max=2), l_max=2, sigma=0.5)
      >>> hyper = Tensor((SOAP(density), LambdaSOAP(density, 2), LambdaSOAP(density, 4)), groups=(0, 0, 0, 0))
      >>> [part.n_coefficients for part in hyper.parts]
      [60, 72, 20]

    References:
      Grisafi, Wilkins, Csányi, Ceriotti, "Symmetry-adapted machine learning for tensorial properties of atomistic systems",
      Phys. Rev. Lett. 120, 036002 (2018).
    """

    parts: tuple[TensorPart, ...]
    groups: tuple[int, ...] = static()
    per_atom: bool = static(default=False)
    chunk: int | None = static(default=None)
    field = "tensor"

    def __init__(
        self,
        descriptors: tuple[Descriptor, ...],
        groups: tuple[int, ...],
        *,
        head: Heads = Linear(),
        per_atom: bool = False,
        chunk: int | None = None,
    ):
        if isinstance(descriptors, Descriptor):
            descriptors = (descriptors,)
        parts = parts_of("Tensor", descriptors, tuple(groups), head)
        for name, value in {"parts": parts, "groups": tuple(groups), "per_atom": per_atom, "chunk": chunk}.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self):
        self._check()


@pytree
class Dipole(TensorModel):
    r"""The dipole of a molecule: atomic dipoles, atomic charges, or both.

    .. math:: \boldsymbol\mu = \sum_i \boldsymbol\mu_i + \sum_i (q_i - \bar q)\, \mathbf r_i

    Charges are made neutral, so the dipole does not depend on the origin. In a periodic cell it would depend on the choice of the
    cell: then it is NaN, and `diagnose` says so. Atomic dipoles alone have no such limit.

    Args:
      tensor: a descriptor of degree 1, for example `LambdaSOAP(density, lam=1)`.
      charges: invariants for charges, for example `SOAP(density)`.
      head: as for `Tensor`; in a mapping, 0 is the head of the charges.
      chunk: as for `Tensor`.

    Raises:
      TypeError, ValueError: as `Tensor`; and for neither tensor nor charges.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, SOAP
      >>> from jaxpot.descriptors.soap import LambdaSOAP
      >>> density = Density(("H", "O"), CosineCutoff(4.0, width=1.0), GTO(n_max=2), l_max=1, sigma=0.5)
      >>> Dipole(tensor=LambdaSOAP(density, lam=1), charges=SOAP(density)).n_coefficients
      72

    References:
      Veit, Wilkins, Yang, DiStasio, Ceriotti, "Predicting molecular dipole moments by combining atomic partial charges and atomic
      dipoles", J. Chem. Phys. 153, 024113 (2020).
    """

    parts: tuple[TensorPart | ChargePart, ...]
    groups: tuple[int, ...] = static(default=(0,))
    per_atom: bool = static(default=False)
    chunk: int | None = static(default=None)
    field = "dipole"

    def __init__(
        self,
        *,
        tensor: Descriptor | None = None,
        charges: Descriptor | None = None,
        head: Heads = Linear(),
        chunk: int | None = None,
    ):
        parts = parts_of("Dipole", [d for d in (tensor,) if d is not None], (0,), head)
        if charges is not None:
            parts = (*parts, ChargePart(charges, head_of("Dipole", head, 0)))
        for name, value in {"parts": parts, "groups": (0,), "per_atom": False, "chunk": chunk}.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self):
        self._check()


@pytree
class Polarizability(TensorModel):
    r"""The polarizability: a scalar part (λ = 0), an anisotropic part (λ = 2), and an antisymmetric one if asked for.

    Args:
      scalar: invariants, for example `SOAP(density)`.
      tensor: a descriptor of degree 2, for example `LambdaSOAP(density, lam=2)`.
      antisymmetric: pseudovectors, `LambdaSOAP(density, lam=1, pseudo=True)`; None keeps the matrix symmetric.
      head: as for `Tensor`.
      chunk: as for `Tensor`.

    Raises:
      TypeError, ValueError: as `Tensor`.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, SOAP
      >>> from jaxpot.descriptors.soap import LambdaSOAP
      >>> density = Density(("H", "O"), CosineCutoff(4.0, width=1.0), GTO(n_max=2), l_max=1, sigma=0.5)
      >>> Polarizability(scalar=SOAP(density), tensor=LambdaSOAP(density, lam=2)).n_coefficients
      60
    """

    parts: tuple[TensorPart, ...]
    groups: tuple[int, ...] = static(default=(0, 0))
    per_atom: bool = static(default=False)
    chunk: int | None = static(default=None)
    field = "polarizability"

    def __init__(
        self,
        *,
        scalar: Descriptor | None = None,
        tensor: Descriptor | None = None,
        antisymmetric: Descriptor | None = None,
        head: Heads = Linear(),
        chunk: int | None = None,
    ):
        groups = (0, 0) if antisymmetric is None else (0, 1)
        parts = parts_of("Polarizability", [d for d in (scalar, tensor, antisymmetric) if d is not None], groups, head)
        for name, value in {"parts": parts, "groups": groups, "per_atom": False, "chunk": chunk}.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self):
        self._check()
