"""Gradient-domain machine learning: the energy of one molecule from derivatives of a kernel, learned from forces."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.distances import InverseDistances, place_permutations
from jaxpot.graph import Graph, unstacked
from jaxpot.heads.references import REFERENCES, References
from jaxpot.leaves import Leaf, OptionalLeaf
from jaxpot.math.kernels import Stationary
from jaxpot.math.linalg import einsum
from jaxpot.math.permutations import is_group
from jaxpot.potentials.base import Potential
from jaxpot.potentials.linear import LinearModel, lacking, without_coefficients
from jaxpot.potentials.rows import generic_rows
from jaxpot.precision import note_precision, require_precision
from jaxpot.properties import Properties
from jaxpot.structures import diagnose
from jaxpot.trees import derived, positive, pytree, static

Array = jax.Array

_RANK = 1e-9  # of the largest singular value: directions of a reference in which no distance changes are left out


@pytree
class GradientDomain(Potential, LinearModel):
    r"""sGDML: a Gaussian process of the energy of one molecule, conditioned on forces.

    .. math:: E(R) = c - \sum_{ma} w_{ma}\, \sum_{\pi \in P} \delta^2\, g_{ma} \cdot \frac{\partial k(\pi x(R), x')}{\partial x'}\Big|_{x' = x_m},
       \qquad w \sim N(0, K^{-1})

    x are the inverse distances, x_m those of M reference structures, and g_ma = ∂x_m/∂R · u_ma how they change as reference m is displaced by
    u_ma. The u_ma of a reference are orthonormal and span all displacements that change distances: 3N − 6 for most molecules. (sGDML takes all
    3N displacements of single atoms; translations and rotations add nothing but zero eigenvalues.) A basis function is thus the covariance of
    the energy with the force along u_ma, K is the covariance of these forces (the "Hessian kernel"), and where the references are the data,
    the fit is w = (K + Σ)⁻¹ f, which `fit.linear(..., method="kernel")` solves directly. Forces are derivatives of the energy as everywhere.
    Their integral leaves the constant c open, which is the last coefficient.

    Args:
      descriptor: the inverse distances of the molecule.
      kernel: between them, twice differentiable: Matern(length) as in sGDML, or SquaredExponential. sGDML's σ is the length, in 1/Å.
      permutations: the group P of permutations of atoms that change no energy (see `recover_permutations`); None is the identity alone.
      delta: prior standard deviation of the energy, without the constant, in eV.
      offset: prior standard deviation of the constant, in eV.
      jitter: added to the diagonal of K, in (eV/Å)².
      references: their features x, shape [M, D], in 1/Å, and directions g, [M, A, D], in 1/Å²; made by `with_points`.
      coefficients: w, in Å/eV, and c in eV, shape [M A + 1]; None until fitted.

    Raises:
      TypeError: for another descriptor, or a kernel that is not one of the distance alone.
      ValueError: if the permutations are not a group, or exchange unlike atoms; if features, directions and coefficients do not fit each other.

    Example:
      >>> from jaxpot import from_atoms
      >>> from jaxpot.kernels import Matern
      >>> from ase.build import molecule
      >>> water = from_atoms(molecule("H2O"), cutoff=1.0)
      >>> model = GradientDomain(InverseDistances(("O", "H", "H")), Matern(10.0), ((0, 1, 2), (0, 2, 1))).with_points([water])
      >>> model.n_coefficients
      4

    References:
      Chmiela, Sauceda, Müller, Tkatchenko, "Towards exact molecular dynamics simulations with machine-learned force fields",
      Nat. Commun. 9, 3887 (2018).
    """

    descriptor: InverseDistances
    kernel: Stationary
    permutations: tuple[tuple[int, ...], ...] | None = static(default=None)
    delta: Leaf = positive(default=1.0)
    offset: Leaf = positive(default=1e8)
    jitter: Leaf = positive(default=1e-10)
    references: References = dataclasses.field(default_factory=References)
    coefficients: OptionalLeaf = None
    made_in: str | None = derived()

    def __post_init__(self):
        note_precision(self)
        for name, expected in (("descriptor", InverseDistances), ("kernel", Stationary)):
            if not isinstance(getattr(self, name), expected):
                raise TypeError(f"GradientDomain: expected a {name} of type {expected.__name__}, got {type(getattr(self, name)).__name__}")
        atoms = self.descriptor.atoms
        if self.permutations is None:
            object.__setattr__(self, "permutations", (tuple(range(len(atoms))),))
        if not is_group(self.permutations) or len(self.permutations[0]) != len(atoms):
            raise ValueError(f"GradientDomain: {self.permutations} is not a group of permutations of {len(atoms)} atoms; see recover_permutations")
        for p in self.permutations:
            if any(atoms[i] != atoms[k] for k, i in enumerate(p)):
                raise ValueError(f"GradientDomain: the permutation {p} exchanges different elements of {''.join(atoms)}")
        features, directions = self.references.features, self.references.directions
        if (features is None) != (directions is None):
            raise ValueError("GradientDomain: features and directions belong together; write model.with_points(graphs)")
        d, shapes = self.descriptor.n_features, (np.shape(features), np.shape(directions))
        if features is not None and (len(shapes[0]) != 2 or len(shapes[1]) != 3 or shapes[0] != (shapes[1][0], d) or shapes[1][2] != d):
            raise ValueError(f"GradientDomain: expected features [M, {d}] and directions [M, A, {d}], got {list(shapes[0])} and {list(shapes[1])}")
        if self.coefficients is not None and np.shape(self.coefficients) != (self.n_coefficients,):
            raise ValueError(f"GradientDomain: expected coefficients [{self.n_coefficients}], got {list(np.shape(self.coefficients))}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.descriptor.species

    @property
    def reach(self) -> Array:
        return self.descriptor.reach

    @property
    def n_coefficients(self) -> int:
        directions = self.references.directions
        return 0 if directions is None else directions.shape[0] * directions.shape[1] + 1

    def with_points(self, graphs: Sequence[Graph] | Graph) -> "GradientDomain":
        """The unfitted model with these M structures as its references, a sequence of Graphs or one stacked Graph.

        Raises:
          ValueError: for no structures, or one that is not the molecule (with `diagnose`'s reason).
        """
        graphs = unstacked(graphs)
        if not len(graphs):
            raise ValueError("with_points: no structures; expected at least one")
        features, directions = [], []
        for i, graph in enumerate(graphs):
            if causes := diagnose(self.descriptor, graph):
                raise ValueError(f"with_points: reference structure {i}: {'; '.join(causes)}")
            x, jacobian = geometry(np.asarray(graph.positions, float)[: len(self.descriptor.atoms)])
            _, size, displacements = np.linalg.svd(jacobian, full_matrices=False)
            features.append(x)
            directions.append((jacobian @ displacements[size > _RANK * size[0]].T).T)
        most = max(map(len, directions))  # a planar or linear reference has fewer
        filled = [np.pad(g, ((0, most - len(g)), (0, 0))) for g in directions]
        return self.replace(references=References(features=np.array(features), directions=np.array(filled)), coefficients=None)

    def _against_references(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """What the kernels of all images of x [D] with the references are made of: δ = (πx − x_m)/θ [P, M, D]; h'(δ²), h''(δ²) [P, M], in eV²; θ [D]."""
        require_precision(self, x.dtype)
        length = jnp.broadcast_to(jnp.asarray(self.kernel.length, x.dtype), x.shape)
        images = x[place_permutations(self.permutations)] / length[None, :]
        steps = images[:, None, :] - (jnp.asarray(self.references.features, x.dtype) / length[None, :])[None, :, :]
        scale = jnp.asarray(self.delta, x.dtype) ** 2
        return steps, *(scale * h for h in self.kernel.slopes(jnp.sum(steps * steps, axis=-1))), length

    def _slopes(self, x: Array) -> Array:
        """Derivatives by the features of every reference of the sum of the kernels of all images of x [D], shape [M, D], in eV² Å."""
        steps, first, _, length = self._against_references(x)
        return -2 * einsum("pm,pmd->md", first, steps) / length[None, :]

    def _scaled_directions(self, length: Array) -> Array:
        return jnp.asarray(self.references.directions, length.dtype) / length[None, None, :]

    def basis(self, graph: Graph) -> Properties:
        return generic_rows(self.energy_row, graph)

    def energy_row(self, graph: Graph) -> Array:
        """Derivatives of the energy by the coefficients, shape [P]."""
        self._require_points()
        x = self.descriptor.features(graph)
        there = jnp.any(graph.numbers > 0).astype(x.dtype)
        covariances = -einsum("mad,md->ma", jnp.asarray(self.references.directions, x.dtype), self._slopes(x))
        return jnp.concatenate([there * covariances.reshape(-1), there[None]])

    def energies(self, graph: Graph) -> Array:
        if self.coefficients is None:
            raise ValueError("GradientDomain has no coefficients yet; write model = jaxpot.fit.linear(model.with_points(graphs), data)")
        energy = self.energy_of(self.descriptor.features(graph))
        n_atoms = jnp.maximum(jnp.sum(graph.numbers > 0), 1)
        return jnp.broadcast_to(energy / n_atoms.astype(energy.dtype), graph.numbers.shape)

    def energy_of(self, x: Array) -> Array:
        """The energy at inverse distances [D], shape [], in eV."""
        w = jnp.asarray(self.coefficients, x.dtype)
        pushed = einsum("ma,mad->md", w[:-1].reshape(self.references.directions.shape[:2]), jnp.asarray(self.references.directions, x.dtype))
        return w[-1] - jnp.sum(pushed * self._slopes(x))

    def force_covariances(self, x: Array, directions: Array) -> Array:
        """Of the forces at inverse distances x [D], which change by `directions` [A', D], with those of all references, shape [A', M A], in (eV/Å)²."""
        steps, first, second, length = self._against_references(x)
        own = directions[:, place_permutations(self.permutations)] / length[None, None, :]  # [A', P, D], the images
        others = self._scaled_directions(length)
        along = einsum("pmd,apd->pma", steps, own)
        beside = einsum("pmd,mbd->pmb", steps, others)
        straight = einsum("amd,mbd->amb", einsum("pm,apd->amd", first, own), others)
        bent = einsum("pma,pmb->amb", second[:, :, None] * along, beside)
        return -(2 * straight + 4 * bent).reshape(len(directions), -1)

    def force_covariance(self) -> Array:
        """K, between the forces of all references along their displacements, without jitter; shape [M A, M A], in (eV/Å)²."""
        self._require_points()
        of_one = jax.checkpoint(lambda reference: self.force_covariances(*reference))
        rows = jax.lax.map(of_one, (jnp.asarray(self.references.features), jnp.asarray(self.references.directions)))
        return rows.reshape(self.n_coefficients - 1, self.n_coefficients - 1)

    def precision(self) -> Array:
        k = self.force_covariance()
        jitter, offset = jnp.asarray(self.jitter, k.dtype), jnp.asarray(self.offset, k.dtype)
        return jax.scipy.linalg.block_diag(k + jitter * jnp.eye(len(k), dtype=k.dtype), 1 / offset**2)

    def with_coefficients(self, w: Array) -> "GradientDomain":
        return self.replace(coefficients=w)

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return self.descriptor.causes(graph)

    def _require_points(self) -> None:
        if self.references.features is None:
            raise ValueError("GradientDomain has no references; write model.with_points([jaxpot.from_atoms(a, cutoff) for a in frames])")


@lacking.register
def _of_references(model: GradientDomain) -> str:
    return without_coefficients((model,), REFERENCES)


def geometry(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse distances [D] of atoms [N, 3], and their derivatives [D, 3N]; on the host."""
    rows, columns = np.tril_indices(len(positions), -1)
    vectors = positions[rows] - positions[columns]
    x = 1 / np.linalg.norm(vectors, axis=1)
    jacobian, pairs = np.zeros((len(x), *positions.shape)), np.arange(len(x))
    jacobian[pairs, rows] = -vectors * x[:, None] ** 3
    jacobian[pairs, columns] = -jacobian[pairs, rows]
    return x, jacobian.reshape(len(x), -1)
