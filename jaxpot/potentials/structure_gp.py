"""Gaussian processes on whole structures."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison
from jaxpot.descriptors.base import Descriptor
from jaxpot.descriptors.global_soap import StructureDescriptor
from jaxpot.graph import Graph, environments, stack, unstacked
from jaxpot.heads.references import REFERENCES, References
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.kernels import Kernel
from jaxpot.math.linalg import einsum
from jaxpot.math.matching import Matching
from jaxpot.passes import condense, condensing, freezing
from jaxpot.potentials.base import Potential
from jaxpot.potentials.linear import LinearModel, lacking, without_coefficients
from jaxpot.potentials.rows import generic_rows
from jaxpot.precision import note_precision, require_precision
from jaxpot.properties import Properties
from jaxpot.structures import diagnose
from jaxpot.trees import derived, positive, pytree, set_fields, static

Array = jax.Array


@pytree
class StructureGP(Potential, LinearModel):
    r"""The energy of a structure from kernels with M reference structures.

    .. math:: E(A) = N_A \sum_m w_m\, \delta^2 \tilde k(A, A_m), \qquad
       \tilde k(A, B) = \frac{k(A, B)}{\sqrt{k(A, A)\, k(B, B)}}, \qquad w \sim N(0, (K_{MM} + \text{jitter})^{-1})

    k(A, B) is the `matching` of the similarities C_ij = kernel(x_i, x_j) between the N_A atoms of A and the N_B atoms of B.
    **Atoms of different elements have C_ij = 0**, as in `SparseGP`. A descriptor of whole structures (`GlobalSOAP`) counts as one
    atom, of the same element in every structure.

    Matchings compare structures of any size and do not grow with them, so by default k models the energy per atom and the energy
    is N_A times that: n copies of a cell have n times its energy. With `extensive=False` the energy is the sum over m alone, for a
    property of the structure as such. Energies of single atoms have no meaning here; the energy is shared among them evenly.

    While hyper-parameters move, the features of the references are recomputed from their graphs; a finished model has the features. The
    kernels of `BestMatch` and `REMatch` are not positive definite in general: if a fit says that the prior is not, raise the jitter.

    Args:
      descriptor: features of every atom, or a descriptor of whole structures.
      kernel: between the features of two atoms, dimensionless.
      matching: how the atoms of two structures are compared; Average, BestMatch or REMatch.
      delta: prior standard deviation of the energy per atom (of the energy, if not extensive), in eV.
      jitter: added to the diagonal of K_MM, in eV².
      normalize: divide by √(k(A, A) k(B, B)).
      extensive: whether the energy is N_A times the sum over m.
      references: the M structures, with features [M, N, F] and kinds [M, N] of their atoms; made by `with_points`.
      coefficients: w, shape [M], in 1/eV; None until fitted.
      self_kernels: k(A_m, A_m), shape [M], made by `condense` from the leaves above; leave it out.

    Raises:
      TypeError: if descriptor, kernel or matching are something else.
      ValueError: if references and coefficients do not fit each other or the descriptor.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, PolynomialKernel, SOAP, from_atoms
      >>> from jaxpot.math.matching import Average
      >>> from ase.build import bulk
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=2), l_max=1, sigma=0.5))
      >>> graphs = [from_atoms(bulk("Si", a=a), cutoff=4.0) for a in (5.3, 5.5)]
      >>> model = StructureGP(soap, PolynomialKernel(2.0), Average()).with_points(graphs)
      >>> jax.jit(lambda graph: model.basis(graph).energy)(graphs[0]).shape
      (2,)

    References:
      De, Bartók, Csányi, Ceriotti, "Comparing molecules and solids across structural and alchemical space",
      Phys. Chem. Chem. Phys. 18, 13754 (2016).
    """

    descriptor: Descriptor | StructureDescriptor
    kernel: Kernel
    matching: Matching
    delta: Leaf = positive(default=1.0)
    jitter: Leaf = positive(default=1e-8)
    normalize: bool = static(default=True)
    extensive: bool = static(default=True)
    references: References = dataclasses.field(default_factory=References)
    coefficients: OptionalLeaf = None
    self_kernels: OptionalLeaf = None
    made_in: str | None = derived()

    def __post_init__(self):
        note_precision(self)
        for name, expected in (("descriptor", (Descriptor, StructureDescriptor)), ("kernel", Kernel), ("matching", Matching)):
            value = getattr(self, name)
            if not isinstance(value, expected):
                hint = "; write Average(), BestMatch() or REMatch(gamma)" if name == "matching" else ""
                raise TypeError(f"StructureGP: expected a {name}, got {type(value).__name__}{hint}")
        features, kinds = self.references.features, self.references.kinds
        if features is not None:
            shape = np.shape(features)
            if len(shape) != 3 or shape[2] != self.descriptor.n_features or np.shape(kinds) != shape[:2]:
                raise ValueError(
                    f"StructureGP: expected features [M, N, {self.descriptor.n_features}] and kinds [M, N], got {shape} and {np.shape(kinds)}"
                )
        if self.coefficients is not None and np.shape(self.coefficients) != (self.n_coefficients,):
            raise ValueError(f"StructureGP: {self.n_coefficients} reference structures, but coefficients has shape {np.shape(self.coefficients)}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.descriptor.species

    @property
    def reach(self) -> Array:
        return self.descriptor.reach

    @property
    def n_coefficients(self) -> int:
        return self.references.count

    def with_points(self, graphs: Sequence[Graph] | Graph) -> "StructureGP":
        """The unfitted model with these M structures as its references.

        Args:
          graphs: the structures, a sequence of Graphs or one stacked Graph; of any size, padding does not count. Make them with
            the upper bound of the cutoffs that will be searched.

        Raises:
          ValueError: for no structures, or one that has no atoms or for which the descriptor gives NaN (with `diagnose`'s reason).
        """
        graphs = unstacked(graphs)
        for i, graph in enumerate(graphs):
            causes = diagnose(self.descriptor, graph) if np.any(np.asarray(graph.numbers) > 0) else ("no atoms",)
            if causes:
                raise ValueError(f"with_points: reference structure {i}: {'; '.join(causes)}")
        return self.replace(references=References(stack(graphs)), coefficients=None, self_kernels=None)

    def described(self) -> "StructureGP":
        """The same model with the features of its references, and their kernels with themselves, which follow the leaves."""
        known = self.references
        if not known.count:
            raise ValueError(f"StructureGP has no {REFERENCES}")
        if known.features is None:
            features, kinds = jax.lax.map(jax.checkpoint(self._atoms_of), known.points)
            known = set_fields(known, features=features, kinds=kinds)
        out = set_fields(self, references=known)
        if self.normalize and self.self_kernels is None:
            own = jax.lax.map(jax.checkpoint(lambda a: out._similarity(a, a)), (known.features, known.kinds))
            out = set_fields(out, self_kernels=own)
        return out

    def _atoms_of(self, graph: Graph) -> tuple[Array, Array]:
        """Features [N, F] and centre species [N], −1 for padding."""
        real = graph.numbers > 0
        if isinstance(self.descriptor, StructureDescriptor):
            return self.descriptor.features(graph)[None], jnp.where(jnp.any(real), 0, -1)[None]
        features = self.descriptor(graph)
        if features.ndim != 2:
            raise TypeError(f"StructureGP needs invariant features [N, F], {type(self.descriptor).__name__} gives {list(features.shape)}")
        return features, jnp.where(real, environments(graph, 0.0, self.species).center, -1)

    def _similarity(self, a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
        """k of two structures, before normalisation, shape []."""
        (x, species), (y, others) = a, b
        same = species[:, None] == others[None, :]
        value = self.matching(jnp.where(same, self.kernel(x, y), 0), species >= 0, others >= 0)
        # atoms that the gate poisoned may have no partner of their element, and their NaN no way into the sum
        lost = jnp.any(jnp.isnan(x) & (species >= 0)[:, None]) | jnp.any(jnp.isnan(y) & (others >= 0)[:, None])
        return poison(value, lost)

    def _row(self, a: tuple[Array, Array], own: Array | None) -> Array:
        """Kernels of one structure with all references, shape [M]; own: its kernel with itself."""
        features = self.references.features.astype(a[0].dtype)
        k = jax.vmap(lambda x, species: self._similarity(a, (x, species)))(features, self.references.kinds)
        if not self.normalize:
            return k
        square = own * self.self_kernels.astype(k.dtype)
        is_zero = square == 0
        return jnp.where(is_zero, 0, k / jnp.sqrt(jnp.where(is_zero, 1, square)))

    def _scale(self, dtype) -> Array:
        return jnp.asarray(self.delta, dtype) ** 2

    def _size(self, graph: Graph, dtype) -> Array:
        """What the sum over the references is multiplied by, shape []."""
        return jnp.sum(graph.numbers > 0).astype(dtype) if self.extensive else jnp.ones((), dtype)

    def basis(self, graph: Graph) -> Properties:
        return generic_rows(condense(self).energy_row, graph)

    def energy_row(self, graph: Graph) -> Array:
        """Derivatives of the energy by the coefficients, shape [P]."""
        ready = condense(self)
        a = ready._atoms_of(graph)
        require_precision(self, a[0].dtype)
        row = ready._row(a, ready._similarity(a, a) if self.normalize else None)
        return self._size(graph, row.dtype) * self._scale(row.dtype) * row

    def energies(self, graph: Graph) -> Array:
        if self.coefficients is None:
            raise ValueError("StructureGP has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
        energy = einsum("p,p->", self.energy_row(graph), self.coefficients)
        n_atoms = jnp.maximum(jnp.sum(graph.numbers > 0), 1)
        return jnp.broadcast_to(energy / n_atoms.astype(energy.dtype), graph.numbers.shape)

    def _covariance_of_points(self) -> Array:
        """K_MM of a condensed model, row by row: all M² plans are never held together."""
        known = self.references
        own = self.self_kernels if self.normalize else jnp.zeros(known.count, known.features.dtype)
        k = jax.lax.map(jax.checkpoint(lambda a: self._row(a[:2], a[2])), (known.features, known.kinds, own))
        return self._scale(k.dtype) * k

    def precision(self) -> Array:
        k = condense(self)._covariance_of_points()
        return k + jnp.asarray(self.jitter, k.dtype) * jnp.eye(self.n_coefficients, dtype=k.dtype)

    def with_coefficients(self, w: Array) -> "StructureGP":
        return self.replace(coefficients=w)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        known = self.references
        if not known.count:
            return ()
        for i in range(0 if known.features is not None else known.count):
            found = diagnose(self.descriptor, jax.tree_util.tree_map(lambda x, i=i: np.asarray(x)[i], known.points))
            if found:
                return (f"reference structure {i}: {'; '.join(found)}",)
        if not bool(_sound(self, graph)):  # the gate's reasons are known already
            return self.descriptor.causes(graph)
        bad = np.flatnonzero(~np.isfinite(_basis(self, graph)))
        if not len(bad):
            return ()
        return (
            f"{self.matching} or the kernel of a structure with itself gives NaN for {len(bad)} of {self.n_coefficients} reference "
            f"structures, first {bad[0]}; a plan of REMatch that does not converge needs a larger gamma",
        )

    def prior_covariance(self, one: Graph, other: Graph) -> Array:
        """Prior covariance of the energies of two structures, shape [], in eV²."""
        a, b = (self._atoms_of(graph) for graph in (one, other))
        k = self._similarity(a, b)
        if self.normalize:
            square = self._similarity(a, a) * self._similarity(b, b)
            is_zero = square == 0
            k = jnp.where(is_zero, 0, k / jnp.sqrt(jnp.where(is_zero, 1, square)))
        return self._size(one, k.dtype) * self._size(other, k.dtype) * self._scale(k.dtype) * k


@lacking.register
def _of_references(model: StructureGP) -> str:
    return without_coefficients((model,), REFERENCES)


@jax.jit
def _sound(model: StructureGP, graph: Graph) -> Array:
    """Whether the features of all real atoms are finite, shape []."""
    features, centers = model._atoms_of(graph)
    return jnp.all(jnp.isfinite(features) | (centers < 0)[:, None])


_basis = jax.jit(StructureGP.energy_row)


condensing.rule(StructureGP)(StructureGP.described)


@freezing.rule(StructureGP)
def _frozen(model: StructureGP) -> StructureGP:
    if model.references.features is not None:
        return model.replace(references=model.references.replace(points=None))
    return model.replace(references=jax.jit(condense)(model).references.replace(points=None))
