"""The last hidden layer of a network as a descriptor: with a linear head it is the network, and all that is linear applies to it."""

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.graph import Environment
from jaxpot.heads.mlp import MLP
from jaxpot.math.linalg import einsum
from jaxpot.pytree import pytree, set_fields

Array = jax.Array


@pytree
class HiddenLayer(LocalDescriptor):
    r"""What the last layer of a network is applied to, and the 1 that its bias multiplies.

    .. math:: x = (x^{last}, 1), \qquad \epsilon = W_{last}\, x^{last} + b_{last}

    Args:
      descriptor: features of every atom.
      network: for these features; its last layer is dropped.

    Raises:
      TypeError: for a descriptor of clusters or whole structures, or a head that is no MLP.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, SOAP
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5))
      >>> HiddenLayer(soap, MLP((16, 8))).n_features
      9
    """

    descriptor: LocalDescriptor
    network: MLP

    def __post_init__(self):
        if not (isinstance(self.descriptor, LocalDescriptor) and isinstance(self.network, MLP)):
            given = f"{type(self.descriptor).__name__} and {type(self.network).__name__}"
            raise TypeError(f"HiddenLayer: expected a descriptor of one atom's surroundings and an MLP, got {given}")
        network, n_hidden = self.network, len(self.network.hidden)
        if network.weights is None or len(network.weights) > n_hidden:
            network = network.sized(self.descriptor)
            object.__setattr__(self, "network", network.replace(weights=network.weights[:n_hidden], biases=network.biases[:n_hidden]))

    @property
    def species(self) -> tuple[str, ...]:
        return self.descriptor.species

    @property
    def reach(self) -> Array:
        return self.descriptor.reach

    @property
    def n_features(self) -> int:
        return (self.network.hidden[-1] if self.network.hidden else self.descriptor.n_features) + 1

    def at(self) -> "HiddenLayer":
        return set_fields(self, descriptor=self.descriptor.at())

    def labels(self) -> tuple[int | str, ...]:
        """The number of every node, and "1"."""
        return (*range(self.n_features - 1), "1")

    def _hidden(self, features: Array, species: Array) -> Array:
        """[N, F] -> [N, nodes + 1]."""
        x = self.network.last_hidden(features, species)
        return jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)

    def environment(self, env: Environment) -> Array:
        return self._hidden(self.descriptor.environment(env)[None], env.center[None])[0]

    def stack(self, envs: Environment) -> Array:
        return self._hidden(self.descriptor.stack(envs), envs.center)

    def with_jacobian(self, env: Environment) -> tuple[Array, Array]:
        """As in the interface, by the chain rule at the features."""
        features, jacobian = self.descriptor.with_jacobian(env)
        value, pull = jax.vjp(lambda x: self._hidden(x[None], env.center[None])[0], features)
        (slopes,) = jax.vmap(pull)(jnp.eye(len(value), dtype=value.dtype))
        return value, einsum("hf,fkx->hkx", slopes, jacobian)
