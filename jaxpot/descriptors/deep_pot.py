"""Descriptor of the deep potential, smooth edition: a density of neighbours in trainable channels."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.activations import Activation, Tanh
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class DeepPotSE(LocalDescriptor):
    r"""The two-body embedding of the deep potential, smooth edition.

    .. math:: R_j = s(r_j)\, (1,\ \mathbf r_j / r_j), \qquad s(r) = f_c(r)/r, \qquad
       D = \frac{1}{N^2} (G_1^T R)(R^T G_2), \qquad G_{j\cdot} = g_{z_j}(s(r_j))

    with an embedding network g for every element of the neighbours, of which G₁ is all M outputs and G₂ the first M₂. As in DeePMD-kit a layer
    as wide as the one before adds its input, one twice as wide adds it to both halves. The switch of the papers is
    `CosineCutoff(r_cut, width=r_cut - r_smth)`, that of DeePMD-kit `PolynomialCutoff(r_cut, width=r_cut - r_smth)`. The network's weights
    are leaves like all real numbers: `fit.train` fits them together with the head's.

    Args:
      species: chemical symbols of neighbours and centres.
      cutoff: f_c.
      hidden: nodes of every layer of the embedding network; M is the last.
      n_axis: M₂.
      n_neighbors: N, about the number of neighbours, so that features are of order one.
      per_center: a network for every pair of centre and neighbour, instead of one for every neighbour.
      activation: of all layers.
      seed: of the initial weights, drawn from Normal(0, 1 / inputs), and biases, from Normal(0, 1).
      weights: of every layer, shape [S, inputs, outputs], [S, S, inputs, outputs] with `per_center`, the centre first.
      biases: of every layer, shape [S, outputs] or [S, S, outputs].

    Raises:
      ValueError: for unknown species, layers without nodes, M₂ > M, or arrays of a wrong shape.

    Example:
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> DeepPotSE(("H", "O"), PolynomialCutoff(6.0, width=5.5), hidden=(8, 16), n_axis=4).n_features
      64

    References:
      Zhang, Han, Wang, Saidi, Car, E, "End-to-end symmetry preserving inter-atomic potential energy model for finite and extended systems",
      Adv. Neural Inf. Process. Syst. 31, 4436 (2018).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    hidden: tuple[int, ...] = static(default=(25, 50, 100), most=10_000)
    n_axis: int = static(default=16)
    n_neighbors: Leaf = positive(default=20.0)
    per_center: bool = static(default=False)
    activation: Activation = dataclasses.field(default_factory=Tanh)
    seed: int = static(default=0)
    weights: tuple[Array, ...] | None = None
    biases: tuple[Array, ...] | None = None

    def __post_init__(self):
        species_tuple(self.species, "DeepPotSE")
        if not (isinstance(self.hidden, tuple) and self.hidden and all(isinstance(n, int) and n > 0 for n in self.hidden)):
            raise ValueError(f"DeepPotSE: hidden must be a tuple of numbers of nodes such as (25, 50, 100), got {self.hidden!r}")
        if not (isinstance(self.n_axis, int) and 0 < self.n_axis <= self.hidden[-1]):
            raise ValueError(f"DeepPotSE: expected 0 < n_axis ≤ {self.hidden[-1]}, the last of hidden, got {self.n_axis!r}")
        if (self.weights is None) != (self.biases is None):
            raise ValueError("DeepPotSE: give weights and biases together, or neither")
        lead = (len(self.species),) * (1 + self.per_center)
        shapes = [(*lead, a, b) for a, b in itertools.pairwise((1, *self.hidden))]
        if self.weights is None:
            rng = np.random.default_rng(self.seed)
            object.__setattr__(self, "weights", tuple(rng.normal(0, shape[-2] ** -0.5, shape) for shape in shapes))
            # functions of one number, which without biases would all be odd ones of it
            object.__setattr__(self, "biases", tuple(rng.normal(0, 1, (*lead, b)) for b in self.hidden))
        for name, expected in (("weights", shapes), ("biases", [(*lead, b) for b in self.hidden])):
            if (given := [np.shape(x) for x in getattr(self, name)]) != expected:
                raise ValueError(f"DeepPotSE: expected {name} of shapes {expected}, got {given}")

    @property
    def reach(self) -> Array:
        return jnp.asarray(self.cutoff.radius)

    @property
    def n_features(self) -> int:
        return self.hidden[-1] * self.n_axis

    def labels(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of D."""
        return tuple(np.ndindex(self.hidden[-1], self.n_axis))

    def environment(self, env: Environment) -> Array:
        r = safe_norm(env.vectors)
        near = jnp.where(r == 0, 1, r)
        s = self.cutoff(r) / near
        rows = s[:, None] * jnp.concatenate([jnp.ones_like(s)[:, None], env.vectors / near[:, None]], axis=1)
        mixed = einsum("km,kx->mx", self._embedding(s, env), rows) / jnp.asarray(self.n_neighbors, s.dtype)
        return einsum("mx,ax->ma", mixed, mixed[: self.n_axis]).reshape(-1)

    def _embedding(self, s: Array, env: Environment) -> Array:
        """G, [K, M]."""
        own = jax.nn.one_hot(env.species, len(self.species), dtype=s.dtype)
        center = jax.nn.one_hot(env.center, len(self.species), dtype=s.dtype)
        x = s[:, None]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            weight, bias = (jnp.asarray(leaf, s.dtype) for leaf in (weight, bias))
            if self.per_center:
                weight, bias = einsum("c,csab->sab", center, weight), einsum("c,csb->sb", center, bias)
            out = self.activation(einsum("ks,ka,sab->kb", own, x, weight) + einsum("ks,sb->kb", own, bias))
            if out.shape[1] in (x.shape[1], 2 * x.shape[1]):
                out = out + jnp.tile(x, (1, out.shape[1] // x.shape[1]))
            x = out
        return x
