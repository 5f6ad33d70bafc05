"""Feed-forward networks, one per element."""

import dataclasses
import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import Descriptor
from jaxpot.heads.base import Head
from jaxpot.leaves import OptionalLeaf
from jaxpot.math.activations import Activation, Tanh
from jaxpot.math.linalg import einsum
from jaxpot.trees import leaf, positive, pytree, static

Array = jax.Array


@pytree
class MLP(Head):
    r"""A feed-forward network per element of the centre: the head of a high-dimensional neural network potential.

    .. math:: x^0 = (x - \mu) / s, \qquad x^{k+1} = f(W_k\, x^k + b_k), \qquad \epsilon = W_{last}\, x^{last} + b_{last}

    Joined with a descriptor in an AtomicPotential it draws its weights from Normal(0, 1 / inputs), with biases of zero. Features should be
    of order one: `fit.standardise(model, data)` sets μ and s.

    Args:
      hidden: nodes of every hidden layer; () is a linear model.
      activation: f, of all hidden layers, or a tuple with one for each.
      seed: of the initial weights.
      shift: μ, shape [S, F], in the unit of the features; None is zero.
      scale: s, shape [S, F], likewise; None is one.
      weights: W of every layer, shape [S, inputs, outputs]; None until joined with a descriptor. The last gives eV.
      biases: b of every layer, shape [S, outputs].

    Raises:
      ValueError: for layers without nodes, another number of activations, or, when joined with a descriptor, arrays of other shapes than
        its species and features need.

    Example:
      >>> from jaxpot import AtomicPotential, CosineCutoff, Density, GTO, SOAP
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5))
      >>> [w.shape for w in AtomicPotential(soap, MLP((16, 8))).head.weights]
      [(1, 40, 16), (1, 16, 8), (1, 8, 1)]

    References:
      Behler, Parrinello, "Generalized neural-network representation of high-dimensional potential-energy surfaces",
      Phys. Rev. Lett. 98, 146401 (2007).
    """

    hidden: tuple[int, ...] = static(default=(16, 16), most=10_000)
    activation: Activation | tuple[Activation, ...] = dataclasses.field(default_factory=Tanh)
    seed: int = static(default=0)
    shift: OptionalLeaf = leaf(default=None, shape="[S, F]")
    scale: OptionalLeaf = positive(default=None, shape="[S, F]", low=1e-300)  # of functions that are nearly zero everywhere
    weights: tuple[Array, ...] | None = None
    biases: tuple[Array, ...] | None = None
    trained: ClassVar[tuple[str, ...]] = ("weights.*", "biases.*")

    def __post_init__(self):
        if not (isinstance(self.hidden, tuple) and all(isinstance(n, int) and n > 0 for n in self.hidden)):
            raise ValueError(f"MLP: hidden must be a tuple of numbers of nodes such as (16, 16), got {self.hidden!r}")
        if isinstance(self.activation, tuple | list) and len(self.activation) != len(self.hidden):
            raise ValueError(f"MLP: expected one activation, or one for each of {len(self.hidden)} hidden layers, got {len(self.activation)}")
        if (self.weights is None) != (self.biases is None):
            raise ValueError("MLP: give weights and biases together, or neither")

    def sized(self, descriptor: Descriptor) -> "MLP":
        n_species, n_features = len(descriptor.species), descriptor.n_features
        sizes = (n_features, *self.hidden, 1)
        head = self
        if self.weights is None:
            rng = np.random.default_rng(self.seed)
            weights = tuple(rng.normal(0, a**-0.5, (n_species, a, b)) for a, b in itertools.pairwise(sizes))
            head = self.replace(weights=weights, biases=tuple(np.zeros((n_species, b)) for b in sizes[1:]))
        expected = {
            "weights": [(n_species, a, b) for a, b in itertools.pairwise(sizes)],
            "biases": [(n_species, b) for b in sizes[1:]],
        }
        for name, shapes in expected.items():
            if (given := [np.shape(x) for x in getattr(head, name)]) != shapes:
                raise ValueError(f"MLP: expected {name} of shapes {shapes} for this descriptor, got {given}")
        for name in ("shift", "scale"):
            if (given := getattr(head, name)) is not None and np.shape(given) != (n_species, n_features):
                raise ValueError(f"MLP: expected {name} [{n_species}, {n_features}] for this descriptor, got {list(np.shape(given))}")
        return head

    def last_hidden(self, features: Array, species: Array) -> Array:
        """What the last layer is applied to, shape [N, nodes]: the last hidden layer, or the scaled features where there is none."""

        def of_center(table):
            return einsum("ns,sf->nf", jax.nn.one_hot(species, table.shape[0], dtype=features.dtype), jnp.asarray(table))

        x = features if self.shift is None else features - of_center(self.shift)
        x = x if self.scale is None else x / of_center(self.scale)
        n = len(self.hidden)
        activations = self.activation if isinstance(self.activation, tuple | list) else (self.activation,) * n
        for weight, bias, activation in zip(self.weights[:n], self.biases[:n], activations, strict=True):
            own = jax.nn.one_hot(species, bias.shape[0], dtype=features.dtype)
            x = activation(einsum("ns,nf,sfo->no", own, x, jnp.asarray(weight)) + of_center(bias))
        return x

    def __call__(self, features: Array, species: Array) -> Array:
        own = jax.nn.one_hot(species, self.biases[-1].shape[0], dtype=features.dtype)
        x = self.last_hidden(features, species)
        return einsum("ns,nf,sf->n", own, x, jnp.asarray(self.weights[-1])[..., 0]) + einsum("ns,s->n", own, jnp.asarray(self.biases[-1])[:, 0])
