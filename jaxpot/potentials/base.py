"""The interfaces of potentials, their sum, and evaluation. There are no hand-written forces in the library."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import poison, species_tuple
from jaxpot.graph import Graph, only, strain, to_atoms
from jaxpot.neighbors import neighbor_pairs
from jaxpot.precision import in_float64, promoted
from jaxpot.properties import Properties
from jaxpot.pytree import fields, is_pytree, leaf, pytree, rebuild, set_fields, static, walk
from jaxpot.units import SYMBOLS

Array = jax.Array


class Model:
    """Interface: a Graph in, Properties out. Potentials are models, and so are those of dipoles and other tensors.

    Attributes:
      species: the elements it knows, static.
      reach: what the neighbour lists must cover, shape [], in Å.
      is_local: whether the energy of an atom follows from its own neighbours, so that a structure can be evaluated in parts.
    """

    species: tuple[str, ...]
    reach: Array
    is_local = False

    def properties(self, graph: Graph) -> Properties:
        """All that the model predicts of a structure; what `evaluate` returns."""
        raise NotImplementedError(f"{type(self).__name__} must define properties(graph)")

    def at(self) -> "Model":
        """The same model with what depends on its leaves alone computed; done once per call, outside loops over atoms."""
        return self

    def frozen(self) -> "Model":
        """The same model, no longer following its hyper-parameters."""
        return self

    def collapsed(self) -> "Model":
        """A model that predicts the same in fewer operations, where there is one; of a frozen model, outside jit."""
        return self

    def causes(self, graph: Graph) -> tuple[str, ...]:
        """Why this model gives NaN for a structure with sound neighbour lists and elements, in words."""
        return ()


class Potential(Model):
    """Interface: a Graph in, atomic energies out. A new potential writes `energies` and nothing else."""

    def energies(self, graph: Graph) -> Array:
        """Atomic energies, shape [N], in eV; entries of padding atoms mean nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define energies(graph)")

    def __call__(self, graph: Graph) -> Array:
        """The energy of a structure, shape [], in eV."""
        graph = promoted(graph, self)
        return jnp.sum(jnp.where(graph.centers > 0, self.energies(graph), 0))

    def __add__(self, other: "Potential") -> "Sum":
        if not isinstance(other, Potential):
            return NotImplemented
        return Sum(terms_of(self) + terms_of(other))

    def with_gradient(self, graph: Graph) -> tuple[Array, Array, Array]:
        """Atomic energies [N], zero for padding atoms, and the derivatives of their sum by positions [N, 3] and strain [3, 3]."""

        def energy(positions, epsilon):
            energies = self.energies(strained(graph, positions, epsilon))
            energies = jnp.where(graph.centers > 0, energies, 0)
            return jnp.sum(energies), energies

        unstrained = jnp.zeros((3, 3), graph.positions.dtype)
        (_, energies), gradient = jax.value_and_grad(energy, argnums=(0, 1), has_aux=True)(graph.positions, unstrained)
        return energies, *gradient

    def properties(self, graph: Graph) -> Properties:
        """Energy, forces and virial in one reverse pass."""
        energies, by_position, by_strain = self.with_gradient(graph)
        return poisoned(jnp.sum(energies), -by_position, -by_strain, energies=energies)


def poisoned(energy: Array, forces: Array, virial: Array, **others: Array) -> Properties:
    """Properties in which nothing looks right where the energy is NaN."""
    lost = jnp.isnan(energy)
    others = others | {"forces": forces, "virial": virial}
    return Properties(energy=energy, **{name: poison(value, lost) for name, value in others.items()})


def strained(graph: Graph, positions: Array, epsilon: Array) -> Graph:
    """The same structure at other positions, under the symmetric part of a strain."""
    return strain(graph.replace(positions=positions), 0.5 * (epsilon + epsilon.T))


class LinearModel(Potential):
    """Interface: a potential whose energy is `basis(graph) @ coefficients`, with a Gaussian prior on the coefficients.

    Attributes:
      n_coefficients: P.
    """

    n_coefficients: int

    def basis(self, graph: Graph) -> Array:
        """Derivatives of the energy with respect to the coefficients, shape [P]."""
        raise NotImplementedError(f"{type(self).__name__} must define basis(graph)")

    def precision(self) -> Array:
        """The prior w ~ Normal(0, precision⁻¹), shape [P, P]."""
        raise NotImplementedError(f"{type(self).__name__} must define precision()")

    def with_coefficients(self, w: Array, covariance: Array | None = None) -> "LinearModel":
        """The same model with these coefficients [P] (and C [P, P'], with posterior covariance C Cᵀ)."""
        raise NotImplementedError(f"{type(self).__name__} must define with_coefficients(w)")


@pytree
class Sum(Potential):
    """The sum of potentials, made by `+`.

    An atom of an element that one term does not know has no energy from that term and is not seen by it; an element that no
    term knows makes every energy NaN.
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
    def is_local(self) -> bool:
        return all(term.is_local for term in self.terms)

    @property
    def reach(self) -> Array:
        reach = jnp.asarray(self.terms[0].reach)
        for term in self.terms[1:]:
            reach = jnp.maximum(reach, term.reach)
        return reach

    def energies(self, graph: Graph) -> Array:
        total = jnp.zeros(graph.centers.shape, graph.positions.dtype)
        for term in self.terms:
            own = only(graph, term.species)
            total = total + jnp.where(own.centers > 0, term.energies(own), 0)
        return jnp.where(self._lost(graph), jnp.nan, total)

    def with_gradient(self, graph: Graph) -> tuple[Array, Array, Array]:
        # term by term, since terms may have it at hand
        parts = [term.with_gradient(only(graph, term.species)) for term in self.terms]
        energies, by_position, by_strain = (sum(part[1:], start=part[0]) for part in zip(*parts, strict=True))
        return jnp.where(self._lost(graph) & (graph.centers > 0), jnp.nan, energies), by_position, by_strain

    def _lost(self, graph: Graph) -> Array:
        """Whether there is an element that no term knows, shape []."""
        return jnp.any((graph.numbers > 0) & (only(graph, self.species).numbers == 0))

    def at(self) -> "Sum":
        return set_fields(self, terms=tuple(term.at() for term in self.terms))

    def frozen(self) -> "Sum":
        return self.replace(terms=tuple(term.frozen() for term in self.terms))

    def causes(self, graph: Graph) -> tuple[str, ...]:
        return tuple(cause for term in self.terms for cause in term.causes(only(graph, term.species)))


def terms_of(potential: Potential) -> tuple[Potential, ...]:
    """The terms of a Sum, or the potential itself."""
    return potential.terms if isinstance(potential, Sum) else (potential,)


@pytree
class IsolatedAtoms(Potential):
    """An energy per atom of each element.

    Args:
      energies_of: symbol -> energy in eV, for example {"Si": -158.54}.

    Example:
      >>> IsolatedAtoms({"Si": -1.0}).species
      ('Si',)
    """

    species: tuple[str, ...] = static()
    values: Array = leaf(shape="[S]")
    is_local = True

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

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def energies(self, graph: Graph) -> Array:
        energies = jnp.zeros(graph.centers.shape, graph.positions.dtype)
        known = graph.centers <= 0
        for index, symbol in enumerate(self.species):
            is_element = graph.centers == SYMBOLS.index(symbol)
            energies = jnp.where(is_element, jnp.asarray(self.values)[index].astype(energies.dtype), energies)
            known = known | is_element
        return jnp.where(known, energies, jnp.nan)


def evaluate(model: Model, graph: Graph) -> Properties:
    r"""What a model predicts: of a potential energy, forces and virial in one reverse pass, of any other model its property.

    .. math:: F = -\partial E/\partial R, \qquad W = -\partial E/\partial \epsilon

    Pure; write `jax.jit(evaluate)`, and `jax.jit(jax.vmap(evaluate, (None, 0)))` for a batch. It computes in the promoted floating type of
    model and graph.

    Args:
      model: a potential, or a model of dipoles, polarizabilities or other tensors.
      graph: one structure.

    Returns:
      Properties: for a potential energy [] (eV), atomic energies [N] (eV, 0 for padding atoms), forces [N, 3] (eV/Å) and virial [3, 3]
      (eV). All are NaN where the model must not be trusted; `diagnose` says why.

    Example:
      >>> from jaxpot import IsolatedAtoms, from_atoms
      >>> from ase.build import bulk
      >>> float(evaluate(IsolatedAtoms({"Si": -1.0}), from_atoms(bulk("Si"), cutoff=3.0)).energy)
      -2.0
    """
    return model.properties(promoted(graph, model))


def freeze(model: Model) -> Model:
    """The model with its sparse points stored as features: faster, smaller, and no longer following hyper-parameters; made in float64."""
    return in_float64(lambda model: model.frozen(), model)


def tabulate(model: Any, *, accuracy: float = 1e-9) -> Any:
    """The model for molecular dynamics: frozen, with the radial functions of its densities in tables, several times faster.

    It no longer follows hyper-parameters of radial functions and sigma. Energies and forces deviate from those of the model by about
    the accuracy; energy is conserved, since forces are the derivatives of the energies of the tables, which are twice differentiable.
    Sparse GPs with polynomial kernels of ζ = 1 or 2 become linear or quadratic heads, exactly, and lose their variance. All of it is
    computed in float64, also in 32-bit mode; `cast` comes afterwards.

    Args:
      model: a potential, a model of tensors or a descriptor.
      accuracy: largest deviation of any radial function, relative to the largest value of all.

    Returns:
      A model of the same class; `Tabulated.error` in its densities is the deviation measured.

    Raises:
      ValueError: for functions that no table of moderate size renders so accurately.

    Example:
      >>> from jaxpot import GTO, SOAP, CosineCutoff, Density
      >>> soap = tabulate(SOAP(Density(("Si",), CosineCutoff(5.0, width=1.0), GTO(n_max=8), l_max=6, sigma=0.5)))
      >>> bool(soap.density.radial.error <= 1e-9)
      True
    """

    def visited(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(visited(child) for child in value)
        if not is_pytree(value):
            return value
        if hasattr(value, "tabulated"):
            return value.tabulated(accuracy)
        value = rebuild(type(value), {name: visited(child) for name, child, _ in fields(value)})
        return value.collapsed() if isinstance(value, Model) else value

    return in_float64(lambda model: visited(model.frozen() if isinstance(model, Model) else model), model)


def diagnose(model: Any, graph: Graph) -> tuple[str, ...]:
    """Says in words why a result is NaN; runs on the host, on one structure.

    Args:
      model: a potential, a model of tensors, or a descriptor.
      graph: one structure, not a batch.

    Returns:
      One sentence per cause found; empty if there is none.
    """
    if np.ndim(graph.numbers) != 1:
        raise ValueError(f"diagnose takes one structure, got a batch of shape {np.shape(graph.numbers)}; index it with jax.tree.map(lambda x: x[i], graph)")
    causes = []
    numbers = np.asarray(graph.numbers)
    real = numbers > 0
    bad = [i for i in np.flatnonzero(real) if not np.all(np.isfinite(np.asarray(graph.positions)[i]))]
    if bad:
        causes.append(f"positions of {len(bad)} atoms are not finite, first atom {bad[0]}")
    if not np.all(np.isfinite(np.asarray(graph.cell))):
        causes.append("the cell is not finite")
    if bool(graph.overflow):
        slots = graph.neighbors.shape[1]
        if causes:
            causes.append(f"neighbour list overflow (more than {slots} neighbours)")
        else:
            centers, *_ = neighbor_pairs(to_atoms(graph), float(graph.cutoff))
            needed = int(np.bincount(centers).max())
            causes.append(f"neighbour list overflow ({needed} neighbours, {slots} slots); rebuild with max_neighbors={needed}")
    reach = float(model.reach)
    if reach > float(graph.cutoff) * (1 + 1e-6):
        causes.append(f"the model looks {reach:.6g} Å far, the neighbour list {float(graph.cutoff):.6g} Å; rebuild with cutoff={reach:.6g}")
    unknown = sorted({SYMBOLS[n] for n in numbers[real]} - set(model.species))
    if unknown:
        causes.append(f"the model knows {', '.join(model.species)}, but the structure contains {', '.join(unknown)}")
    causes += [f"{path} is not finite" for path, leaf, _ in walk(model) if not np.all(np.isfinite(np.asarray(leaf, float)))]
    causes += _own_causes(model)
    if isinstance(model, Model):
        causes += model.causes(graph)
    return tuple(causes)


def _own_causes(value: Any) -> list[str]:
    """What parts of a model report of themselves, through a method `unresolved()`."""
    if isinstance(value, (tuple, list)):
        return [cause for child in value for cause in _own_causes(child)]
    if not is_pytree(value):
        return []
    found = []
    unresolved = getattr(value, "unresolved", None)
    if unresolved is not None and bool(unresolved()):
        found.append(f"{type(value).__name__}: its tables are too coarse for its leaves; construct it anew at the smallest sigma of the search")
    return found + [cause for _, child, _ in fields(value) for cause in _own_causes(child)]
