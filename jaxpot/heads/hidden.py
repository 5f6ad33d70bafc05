"""The last hidden layer of a network as a descriptor: with a linear head it is the network, and all that is linear applies to it."""

import jax
import jax.numpy as jnp

from jaxpot.descriptors.base import BlockDescriptor, Descriptor, LocalDescriptor, features
from jaxpot.descriptors.expansion import is_local
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.graph import Environment
from jaxpot.heads.mlp import MLP
from jaxpot.math.linalg import einsum
from jaxpot.passes import fusing
from jaxpot.trees import pytree

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

    descriptor: Descriptor
    network: MLP

    def __post_init__(self):
        if not (is_local(self.descriptor) and isinstance(self.network, MLP)):
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

    def labels(self) -> tuple[int | str, ...]:
        """The number of every node, and "1"."""
        return (*range(self.n_features - 1), "1")

    def hidden(self, features: Array, species: Array) -> Array:
        """[N, F] -> [N, nodes + 1]."""
        x = self.network.last_hidden(features, species)
        return jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)

    def environment(self, env: Environment) -> Array:
        return self.hidden(self.descriptor.environment(env)[None], env.center[None])[0]


@pytree
class BlockHiddenLayer(BlockDescriptor):
    """The last hidden layer of a network for a block of atoms.

    Args:
      plain: the descriptor.
    """

    plain: HiddenLayer

    def of(self, envs: Environment) -> Array:
        return self.plain.hidden(features(self.plain.descriptor, envs), envs.center)


@fusing.rule(HiddenLayer)
def _block(layer: HiddenLayer) -> BlockHiddenLayer:
    return BlockHiddenLayer(layer)


@with_slopes.register
def _slopes(layer: HiddenLayer, env: Environment) -> tuple[Array, Array]:
    """By the chain rule at the features."""
    features, jacobian = with_slopes(layer.descriptor, env)
    value, pull = jax.vjp(lambda x: layer.hidden(x[None], env.center[None])[0], features)
    (slopes,) = jax.vmap(pull)(jnp.eye(len(value), dtype=value.dtype))
    return value, einsum("hf,fkx->hkx", slopes, jacobian)
