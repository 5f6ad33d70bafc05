"""The interfaces of potentials, their sum, and evaluation. There are no hand-written forces in the library."""

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jaxpot.checks import poison, species_tuple
from jaxpot.cores import cores, held_by_all
from jaxpot.descriptors.blocks import atoms_at_once, atoms_per_block, block_size, map_blocks
from jaxpot.graph import Environment, Graph, environments, only, strain, unusable
from jaxpot.interface import Interface
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.passes import Fast, prepare
from jaxpot.potentials.atoms_alone import isolated_energies
from jaxpot.potentials.linear import LinearModel, is_linear
from jaxpot.precision import promoted_pair
from jaxpot.properties import Properties, added
from jaxpot.structures import takes_atoms
from jaxpot.trees import change_by_leaves, fields, leaf, pytree, set_fields, static

Array = jax.Array


class Model(Interface):
    """Interface: a Graph in, Properties out. Potentials are models, and so are those of dipoles and other tensors.

    Attributes:
      species: the elements it knows, static.
      reach: what the neighbour lists must cover, shape [], in Å.
    """

    species: tuple[str, ...]
    reach: Array

    @abc.abstractmethod
    def properties(self, graph: Graph) -> Properties:
        """All that the model predicts of a structure; what `evaluate` returns."""

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why this model gives NaN for a structure with sound neighbour lists and elements, in words."""
        return ()


class Potential(Model):
    """Interface: a Graph in, atomic energies out. A new potential writes `energies` and nothing else."""

    @abc.abstractmethod
    def energies(self, graph: Graph) -> Array:
        """Atomic energies, shape [N], in eV; entries of padding atoms mean nothing."""

    @takes_atoms
    def __call__(self, graph: Graph) -> Array:
        """The energy of a structure, shape [], in eV; of a list of `ase.Atoms`, a list."""
        own, graph = promoted_pair(self, graph)
        return jnp.sum(jnp.where(graph.centers > 0, prepare(own).energies(graph), 0))

    def __add__(self, other: "Potential") -> "Sum":
        if not isinstance(other, Potential):
            return NotImplemented
        return Sum(terms_of(self) + terms_of(other))

    def __radd__(self, other: Any) -> "Potential":
        """`sum([...])` begins with 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def more(self, graph: Graph) -> Properties:
        """What it predicts beside energies and their derivatives, such as charges; a Sum adds up what its terms have."""
        return Properties()

    def properties(self, graph: Graph) -> Properties:
        """Energies, forces and virial in one reverse pass, and what there is more."""
        energies, by_position, by_strain, more = energies_with_gradient(self, graph)
        return poisoned(energies, -by_position, -by_strain, more)


class LocalPotential(Potential):
    """Interface: a potential whose atomic energies follow from each atom's own neighbours. A new one writes `of` and nothing else.

    Blocks of atoms, derivatives in a single pass and the evaluation of large structures in parts follow from it.

    Example:
      >>> from ase.build import molecule
      >>> from jaxpot.trees import positive
      >>> @pytree
      ... class Neighbours(LocalPotential):
      ...     species: tuple[str, ...] = static()
      ...     reach: Array = positive()
      ...     def of(self, envs):
      ...         return jnp.sum(envs.mask * 1.0, axis=1)
      >>> float(Neighbours(("H", "O"), 1.2)(molecule("H2O")))
      4.0
    """

    @abc.abstractmethod
    def of(self, envs: Environment) -> Array:
        """Energies of a stack of n atoms, shape [n], in eV."""

    def energies(self, graph: Graph) -> Array:
        return energies_carrying(self, graph)


class Chunked(LocalPotential):
    """Interface: a local potential whose users may say how many atoms are evaluated at once.

    Attributes:
      chunk: atoms per checkpointed block, which bounds memory by that of one block, static; None takes 128, or what fits the cache, on CPU
        and 512 times as many on accelerators.
    """

    chunk: int | None

    def _check_chunk(self) -> None:
        if self.chunk is not None and not self.chunk > 0:
            raise ValueError(f"{type(self).__name__}: chunk must be a positive number of atoms, got {self.chunk}")


@atoms_per_block.register
def _as_said(potential: Chunked, n_neighbors: int) -> int:
    return potential.chunk or atoms_at_once(block_size(potential, n_neighbors))


class FastPotential(LocalPotential, Fast):
    """Interface: the fast form of a local potential, or of a descriptor or expansion with a head.

    Attributes:
      plain: whose place it takes, or of what it is made: it knows the same elements and looks as far.
    """

    plain: Any

    @property
    def species(self) -> tuple[str, ...]:
        return self.plain.species

    @property
    def reach(self) -> Array:
        return self.plain.reach


def energies_carrying(potential: LocalPotential, graph: Graph, carried: Array | None = None) -> Array:
    """Atomic energies [N] of a local potential of atoms that carry [N, C]; None is nothing."""
    n = cores() if len(graph.neighbors) > atoms_per_block(potential, graph.neighbors.shape[1]) else 1
    graph = graph.replace(positions=held_by_all(graph.positions, n))
    energies = held_by_all(_energies(potential, environments(graph, potential.reach, potential.species, carried)), n)
    # what the gate poisoned must not be hidden by a mask
    return poison(energies, unusable(graph, potential.reach, potential.species))


@jax.custom_jvp
def _energies(potential: LocalPotential, stack: Environment) -> Array:
    """Atomic energies [N] of a stack of environments."""
    return in_blocks(potential, potential.of, stack)


def in_blocks(potential: LocalPotential, function: Callable, stack: Environment) -> Any:
    """A function over a stack of a structure's atoms, in checkpointed blocks."""
    return map_blocks(jax.checkpoint(function), stack, atoms_per_block(potential, stack.mask.shape[1]))


@functools.partial(_energies.defjvp, symbolic_zeros=True)
def _energies_jvp(primals, tangents):
    """An atom's energy depends on its own surroundings only, so each block is differentiated while it is at hand and nothing is computed twice."""
    (potential, stack), (potential_step, stack_step) = primals, tangents
    steps = {name: step for name, step, _ in fields(stack_step) if not isinstance(step, SymbolicZero)}
    if not steps:
        energies = _energies(potential, stack)
        change = jnp.zeros_like(energies)
    else:

        def one_block(envs):
            moving = {name: getattr(envs, name) for name in steps}
            energies, pull = jax.vjp(lambda moving: potential.of(envs.replace(**moving)), moving)
            return energies, pull(jnp.ones_like(energies))[0]

        energies, slopes = in_blocks(potential, one_block, stack)
        change = sum(einsum("nx,nx->n", *(x.reshape(len(energies), -1) for x in (slopes[name], step))) for name, step in steps.items())
    return energies, change + change_by_leaves(lambda potential: in_blocks(potential, potential.of, stack), potential, potential_step)


@functools.singledispatch
def energies_and_more(potential: Potential, graph: Graph) -> tuple[Array, Properties]:
    """`energies` and `more`; classes in which both follow from the same, such as charges, register it, so that this is computed once."""
    return potential.energies(graph), potential.more(graph)


@functools.singledispatch
def energies_with_gradient(potential: Potential, graph: Graph) -> tuple[Array, Array, Array, Properties]:
    """Atomic energies [N], zero for padding atoms, the derivatives of their sum by positions [N, 3] and strain [3, 3], and what there is more."""

    def energy(positions, epsilon):
        energies, more = energies_and_more(potential, strained(graph, positions, epsilon))
        energies = jnp.where(graph.centers > 0, energies, 0)
        return jnp.sum(energies), (energies, more)

    unstrained = jnp.zeros((3, 3), graph.positions.dtype)
    (_, (energies, more)), gradient = jax.value_and_grad(energy, argnums=(0, 1), has_aux=True)(graph.positions, unstrained)
    return energies, *gradient, more


def poisoned(energies: Array, forces: Array, virial: Array, more: Properties) -> Properties:
    """Properties in which nothing looks right where the energy is NaN."""
    energy = jnp.sum(energies)
    found = more.replace(energies=energies, forces=forces, virial=virial)
    return jax.tree_util.tree_map(lambda x: poison(x, jnp.isnan(energy)), found).replace(energy=energy)


@functools.singledispatch
def predicts_more(potential: Potential) -> bool:
    """Whether a potential predicts more than energies and their derivatives."""
    return type(potential).more is not Potential.more


def strained(graph: Graph, positions: Array, epsilon: Array) -> Graph:
    """The same structure at other positions, under the symmetric part of a strain."""
    return strain(graph.replace(positions=positions), 0.5 * (epsilon + epsilon.T))


@pytree
class Sum(Potential, LinearModel):
    """The sum of potentials, made by `+`; linear in the coefficients of its linear terms, in their order.

    An atom of an element that one term does not know has no energy from that term and is not seen by it; an element that no
    term knows makes every energy NaN.

    Example:
      >>> terms = IsolatedAtoms({"Si": -158.5}) + IsolatedAtoms({"Si": 0.5})
      >>> from ase.build import bulk
      >>> float(terms(bulk("Si")))
      -316.0
    """

    terms: tuple[Potential, ...]

    def __post_init__(self):
        for term in self.terms:
            if not isinstance(term, Potential):
                raise TypeError(f"Sum: expected potentials, got {type(term).__name__}")
        if not self.terms:
            raise ValueError("Sum: no terms; expected at least one potential")

    @property
    def species(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s for term in self.terms for s in term.species))

    @property
    def reach(self) -> Array:
        return functools.reduce(jnp.maximum, [jnp.asarray(term.reach) for term in self.terms])

    def energies(self, graph: Graph) -> Array:
        total = jnp.zeros(graph.centers.shape, graph.positions.dtype)
        for term in self.terms:
            own = only(graph, term.species)
            total = total + jnp.where(own.centers > 0, term.energies(own), 0)
        return jnp.where(self.lost(graph), jnp.nan, total)

    def more(self, graph: Graph) -> Properties:
        return added(term.more(only(graph, term.species)) for term in self.terms)

    def lost(self, graph: Graph) -> Array:
        """Whether there is an element that no term knows, shape []."""
        return jnp.any((graph.numbers > 0) & (only(graph, self.species).numbers == 0))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return tuple(cause for term in self.terms for cause in term.causes(only(graph, term.species)))

    @property
    def linear_terms(self) -> tuple[int, ...]:
        """Positions of the terms that are linear in coefficients of theirs."""
        return tuple(i for i, term in enumerate(self.terms) if is_linear(term))

    @property
    def n_coefficients(self) -> int:
        return sum(self.terms[i].n_coefficients for i in self.linear_terms)

    def basis(self, graph: Graph) -> Properties:
        parts = [self.terms[i].basis(only(graph, self.terms[i].species)) for i in self.linear_terms]
        rows = jax.tree_util.tree_map(lambda *x: jnp.concatenate(x, axis=-1), *parts)
        return jax.tree_util.tree_map(lambda x: jnp.where(self.lost(graph), jnp.nan, x), rows)

    def precision(self) -> Array:
        return jax.scipy.linalg.block_diag(*(self.terms[i].precision() for i in self.linear_terms))

    def with_coefficients(self, w: Array) -> "Sum":
        new, start = list(self.terms), 0
        for i in self.linear_terms:
            own = slice(start, start + self.terms[i].n_coefficients)
            new[i], start = self.terms[i].with_coefficients(w[own]), own.stop
        return self.replace(terms=tuple(new))


@energies_with_gradient.register
def _of_terms(potential: Sum, graph: Graph) -> tuple[Array, Array, Array, Properties]:
    """Term by term, since terms may have it at hand."""
    parts = [energies_with_gradient(term, only(graph, term.species)) for term in potential.terms]
    *derivatives, more = zip(*parts, strict=True)
    energies, by_position, by_strain = (sum(part[1:], start=part[0]) for part in derivatives)
    return jnp.where(potential.lost(graph) & (graph.centers > 0), jnp.nan, energies), by_position, by_strain, added(more)


@predicts_more.register
def _of_any_term(potential: Sum) -> bool:
    return any(map(predicts_more, potential.terms))


@is_linear.register
def _some_term(model: Sum) -> bool:
    return bool(model.linear_terms)


def terms_by_path(model: Any) -> dict[str, Any]:
    """The terms of a Sum by what the paths of their leaves begin with, or the model itself by nothing."""
    return {f"terms.{i}.": term for i, term in enumerate(model.terms)} if isinstance(model, Sum) else {"": model}


def terms_of(model: Any) -> tuple[Any, ...]:
    """The terms of a Sum, or the model itself."""
    return tuple(terms_by_path(model).values())


def with_terms(model: Any, terms: Sequence[Any]) -> Any:
    """The Sum with these terms in the places of its own, or, of a model that is no Sum, the one term."""
    return set_fields(model, terms=tuple(terms)) if isinstance(model, Sum) else terms[0]


@functools.singledispatch
def named(model: Any, *parts: str) -> str:
    """What messages call a model: its class, with those of these parts where it is a descriptor and a head."""
    return type(model).__name__


@pytree
class IsolatedAtoms(LocalPotential):
    """An energy per atom of each element.

    Args:
      energies_of: symbol -> energy in eV, for example {"Si": -158.54}.

    Example:
      >>> IsolatedAtoms({"Si": -1.0}).species
      ('Si',)
    """

    species: tuple[str, ...] = static()
    values: Leaf = leaf(shape="[S]")

    def __init__(self, energies_of: Mapping[str, float]):
        if not isinstance(energies_of, Mapping) or not energies_of:
            raise TypeError(f'IsolatedAtoms: energies_of is {energies_of!r}; expected a mapping such as {{"Si": -158.54}}')
        for symbol, energy in energies_of.items():
            if isinstance(energy, bool) or np.ndim(energy) or not np.issubdtype(np.asarray(energy).dtype, np.number):
                raise TypeError(f"IsolatedAtoms: energies_of {symbol} must be a number of eV, got {energy!r}")
        object.__setattr__(self, "species", tuple(energies_of))
        object.__setattr__(self, "values", np.array([float(e) for e in energies_of.values()]))
        self.__post_init__()

    def __post_init__(self):
        species_tuple(self.species, "IsolatedAtoms")

    @classmethod
    def from_data(cls, frames: Sequence[Any], how: str = "lstsq", *, keys: Mapping[str, str] | None = None) -> "IsolatedAtoms":
        """Those that labelled structures tell: "lstsq", "isolated" or "mean", as `potentials.isolated_energies`, which also says how well.

        Example:
          >>> from ase import Atoms
          >>> frames = [Atoms("H2", info={"energy": -6.0}), Atoms("HO", info={"energy": -8.0})]
          >>> [round(value, 9) for value in IsolatedAtoms.from_data(frames).values.tolist()]  # H, O
          [-3.0, -5.0]
        """
        return cls(isolated_energies(frames, how, keys).values)

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def of(self, envs: Environment) -> Array:
        dtype = envs.vectors.dtype
        return einsum("ns,s->n", jax.nn.one_hot(envs.center, len(self.species), dtype=dtype), jnp.asarray(self.values, dtype))


@takes_atoms
def evaluate(model: Model, graph: Graph) -> Properties:
    r"""What a model predicts: of a potential energy, forces and virial in one reverse pass, of any other model its property.

    .. math:: F = -\partial E/\partial R, \qquad W = -\partial E/\partial \epsilon

    Pure; write `jax.jit(evaluate)`, and `jax.jit(jax.vmap(evaluate, (None, 0)))` for a batch. It computes in the promoted floating type of
    model and graph.

    Args:
      model: a potential, or a model of dipoles, polarizabilities or other tensors.
      graph: one structure. Or `ase.Atoms`, whose lists of neighbours are searched, without a total charge and an outer field, which a Graph has; a list
        of them gives a list.

    Returns:
      Properties: for a potential energy [] (eV), forces [N, 3] (eV/Å) and virial [3, 3] (eV). All are NaN where the model must not
      be trusted; `diagnose` says why.

    Raises:
      ValueError: for `ase.Atoms` where the model must not be trusted, with the reason.

    Example:
      >>> from jaxpot import IsolatedAtoms
      >>> from ase.build import bulk
      >>> float(evaluate(IsolatedAtoms({"Si": -1.0}), bulk("Si")).energy)
      -2.0
    """
    model, graph = promoted_pair(model, graph)
    return prepare(model).properties(graph)
