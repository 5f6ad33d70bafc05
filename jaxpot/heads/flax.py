"""Flax modules as heads. Loaded on first use, so that the core knows nothing of Flax.

A module is code: it is structure of the model, and its arrays are leaves. Code is not data, so a file holds the arrays only.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import core, linen, nnx

from jaxpot.descriptors.base import Descriptor
from jaxpot.heads.base import Head
from jaxpot.trees import code, pytree, static

Array = jax.Array


@pytree
class NNXHead(Head):
    """A module of Flax NNX that maps features [N, F] to energies [N] or [N, 1].

    If its `__call__` has an argument named `species`, it also gets the index of every centre in the descriptor's species, shape [N].

    Args:
      module: an instance of `nnx.Module`; its parameters become leaves, `head.parameters.…`.

    Raises:
      TypeError: for what is no NNX module.
      ValueError: for a module that holds more than parameters (dropout, batch normalisation), or, when joined with a descriptor, one that
        does not map its features to one energy per atom.

    Example:
      >>> from flax import nnx
      >>> from jaxpot import AtomicPotential, CosineCutoff, Density, GTO, SOAP
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5))
      >>> rngs = nnx.Rngs(0)
      >>> module = nnx.Sequential(nnx.Linear(40, 16, rngs=rngs), nnx.tanh, nnx.Linear(16, 1, rngs=rngs))
      >>> AtomicPotential(soap, NNXHead(module)).head.parameters["layers"][0]["kernel"].shape
      (40, 16)
    """

    graphdef: Any = code()
    parameters: dict

    def __init__(self, module: nnx.Module):
        if not isinstance(module, nnx.Module):
            raise TypeError(f"NNXHead: expected an instance of nnx.Module, got {type(module).__name__}")
        graphdef, state, others = nnx.split(module, nnx.Param, ...)
        if names := sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(others)}):
            raise ValueError(f"NNXHead: the module holds {', '.join(names)}; energies may depend on features and parameters only")
        object.__setattr__(self, "graphdef", graphdef)
        object.__setattr__(self, "parameters", nnx.to_pure_dict(state))
        self.__post_init__()

    def sized(self, descriptor: Descriptor) -> "NNXHead":
        _check(self, descriptor)
        return self

    def __call__(self, features: Array, species: Array) -> Array:
        module = nnx.merge(self.graphdef, self.parameters)
        return _energies(self, module, type(module).__call__, features, species)


@pytree
class LinenHead(Head):
    """A module of Flax Linen that maps features [N, F] to energies [N] or [N, 1].

    If its `__call__` has an argument named `species`, it also gets the index of every centre in the descriptor's species, shape [N].

    Args:
      module: an instance of `linen.Module`; `linen.Sequential` takes a tuple here, since structure must be hashable.
      parameters: `module.init(key, features)["params"]`; None draws them when joined with a descriptor.
      seed: of the initial parameters.

    Raises:
      TypeError: for what is no Linen module, or one that is not hashable.
      ValueError: when joined with a descriptor, for a module that holds more than parameters (batch normalisation), or does not map the
        features to one energy per atom.

    Example:
      >>> from flax import linen
      >>> from jaxpot import AtomicPotential, CosineCutoff, Density, GTO, SOAP
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5))
      >>> module = linen.Sequential((linen.Dense(16), linen.tanh, linen.Dense(1)))
      >>> AtomicPotential(soap, LinenHead(module)).head.parameters["layers_0"]["kernel"].shape
      (40, 16)
    """

    module: Any = code()
    parameters: dict | None = None
    seed: int = static(default=0)

    def __post_init__(self):
        if not isinstance(self.module, linen.Module):
            raise TypeError(f"LinenHead: expected an instance of linen.Module, got {type(self.module).__name__}")
        if self.parameters is not None:
            object.__setattr__(self, "parameters", core.unfreeze(self.parameters))

    def sized(self, descriptor: Descriptor) -> "LinenHead":
        head = self
        if self.parameters is None:
            features, species = jnp.zeros((1, descriptor.n_features)), jnp.zeros(1, int)
            variables = self.module.init(jax.random.key(self.seed), features, **_with_species(type(self.module).__call__, species))
            if others := sorted(set(variables) - {"params"}):
                raise ValueError(f"LinenHead: the module holds {', '.join(others)}; energies may depend on features and parameters only")
            head = self.replace(parameters=core.unfreeze(variables).get("params", {}))
        _check(head, descriptor)
        return head

    def __call__(self, features: Array, species: Array) -> Array:
        def apply(features, **extra):
            return self.module.apply({"params": self.parameters}, features, **extra)

        return _energies(self, apply, type(self.module).__call__, features, species)


def _with_species(call: Callable, species: Array) -> dict[str, Array]:
    return {"species": species} if "species" in inspect.signature(call).parameters else {}


def _energies(head: Head, module: Callable, call: Callable, features: Array, species: Array) -> Array:
    with jax.default_matmul_precision("highest"):
        energies = module(features, **_with_species(call, species))
    n = features.shape[0]
    if energies.shape not in ((n,), (n, 1)):
        raise ValueError(f"{type(head).__name__}: expected energies [N] or [N, 1] of the module, got {list(energies.shape)} for N = {n}")
    return energies.reshape(n)


def _check(head: Head, descriptor: Descriptor) -> None:
    """Calls the module in thought, with the shapes that it will meet."""
    features, species = jax.ShapeDtypeStruct((2, descriptor.n_features), jnp.zeros(()).dtype), jax.ShapeDtypeStruct((2,), jnp.int32)
    try:
        jax.eval_shape(head, features, species)
    except Exception as error:  # whatever the module raises
        raise ValueError(f"{type(head).__name__}: the module cannot be called with features [N, {descriptor.n_features}]: {error}") from error
