"""Pairs of atoms: their distribution over distances, and how many neighbours atoms have."""

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jaxpot.checks import is_concrete
from jaxpot.graph import Environment, Graph, environments, only
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.observables.deformation import volume

Array = jax.Array

TAIL = 5.0  # widths; what a Gaussian has beyond is below 10⁻⁶


def pair_distribution(graph: Graph, species: tuple[str, ...], radii: jax.typing.ArrayLike, *, width: float | Array) -> Array:
    r"""The pair distribution function of every pair of elements, in bins broadened by a Gaussian, so that it is smooth in all positions.

    .. math:: g_{ab}(r) = \frac{V}{N_a N_b} \frac{\sum_{i \in a} \sum_{j \in b,\, n}' G(r - |R_j + n - R_i|)}{4\pi \int_0^\infty G(r - x)\, x^2\, dx}

    The bins are divided by their own exact volumes, so g is 1 of what has no structure, whatever the width and near r = 0 as well. An
    atom's own images count as well, and only with them g is 1 far away. In place of the number of pairs :math:`N_a (N_a - 1)` stands
    :math:`N_a^2`, which S(q) has too: of N atoms at random places g is 1 − 1/N below the shortest translation.

    Args:
      graph: one periodic structure, in a cell of any size; its lists reach 5 widths beyond the largest radius.
      species: chemical symbols; atoms of other elements do not count.
      radii: r, shape [R], in Å.
      width: standard deviation of G, in Å.

    Returns:
      g, shape [S, S, R], without unit. NaN for radii that the lists do not cover, and for elements that are not there.

    Raises:
      ValueError: for a structure that is not periodic in all directions, which has no density.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> argon = from_atoms(bulk("Ar", a=5.3), cutoff=5.0)
      >>> g = pair_distribution(argon, ("Ar",), jnp.linspace(0.05, 4.5, 90), width=0.05)[0, 0]
      >>> float(0.05 * (1 + jnp.argmax(g)))  # a/√2 is 3.75
      3.75
    """
    require_crystal(graph, "pair_distribution")
    radii = jnp.asarray(radii, graph.positions.dtype)
    envs, own, theirs = surroundings(graph, species)
    r = safe_norm(envs.vectors)

    @jax.checkpoint
    def count(radius):
        return einsum("na,nkb,nk->ab", own, theirs, norm.pdf(r, radius, width))

    counts = jnp.sum(own, axis=0)
    density = volume(graph.cell) / (counts[:, None] * counts[None, :])
    shells = 4 * jnp.pi * ((radii**2 + width**2) * norm.cdf(radii / width) + radii * width * norm.pdf(radii / width))
    g = density[:, :, None] * jnp.moveaxis(jax.lax.map(count, radii), 0, -1) / shells[None, None, :]
    return jnp.where(covered(graph, radii, width)[None, None, :] & _all_periodic(graph), g, jnp.nan)


def coordination(graph: Graph, species: tuple[str, ...], *, radius: float | Array, width: float | Array) -> Array:
    r"""How many neighbours of every element each atom has, smooth in all positions.

    .. math:: n_{ib} = \sum_{j \in b,\, n}' \tfrac12 \operatorname{erfc} \frac{|R_j + n - R_i| - r}{\sqrt2\, w}

    It is the integral of the Gaussian bins of `pair_distribution` up to the radius.

    Args:
      graph: one structure, periodic or not; its lists reach 5 widths beyond the radius.
      species: chemical symbols; atoms of other elements do not count and have no neighbours.
      radius: r, up to which an atom is a neighbour, in Å.
      width: w, over which it ceases to be one, in Å.

    Returns:
      Shape [N, S]; NaN where the lists do not cover the radius.

    Example:
      >>> from ase.build import bulk
      >>> from jaxpot import from_atoms
      >>> np.round(np.asarray(coordination(from_atoms(bulk("Si"), cutoff=3.2), ("Si",), radius=2.9, width=0.05)), 6).tolist()
      [[4.0], [4.0]]
    """
    envs, own, theirs = surroundings(graph, species)
    within = norm.cdf(-(safe_norm(envs.vectors) - radius) / width)
    counts = einsum("nk,nkb->nb", within, theirs) * jnp.sum(own, axis=1, keepdims=True)
    return jnp.where(covered(graph, radius, width), counts, jnp.nan)


def concentrations(graph: Graph, species: tuple[str, ...]) -> Array:
    """The share of every element among the atoms of these elements, shape [S].

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> water = from_atoms(Atoms("OHH", positions=[[0, 0, 0], [1, 0, 0], [0, 1, 0]]), 2.0)
      >>> np.round(np.asarray(concentrations(water, ("H", "O"))), 4).tolist()
      [0.6667, 0.3333]
    """
    counts = jnp.sum(surroundings(graph, species)[1], axis=0)
    return counts / jnp.sum(counts)


def require_crystal(graph: Graph, name: str) -> None:
    """Raises for a structure that is known not to be periodic in all directions; what only the device sees becomes NaN elsewhere."""
    if is_concrete(graph.pbc) and not bool(jnp.all(jnp.asarray(graph.pbc))):
        pbc = jnp.asarray(graph.pbc).tolist()
        raise ValueError(f"{name}: the structure is periodic in directions {pbc}, so it has no volume; set atoms.cell, and atoms.pbc = True")


def _all_periodic(graph: Graph) -> Array:
    return jnp.all(jnp.asarray(graph.pbc))


def covered(graph: Graph, radius: Array, width: Array) -> Array:
    """Whether the lists reach beyond the broadened radius; its last digit does not matter."""
    return radius + TAIL * width <= graph.cutoff * (1 + 1e-6)


def surroundings(graph: Graph, species: tuple[str, ...]) -> tuple[Environment, Array, Array]:
    """Surroundings by atoms of these elements alone, and which element each atom [N, S] and each neighbour [N, K, S] is."""
    known = only(graph, species)
    envs, dtype = environments(known, 0.0, species), graph.positions.dtype
    own = jax.nn.one_hot(envs.center, len(species), dtype=dtype) * (known.centers > 0)[:, None]
    return envs, own, jax.nn.one_hot(envs.species, len(species), dtype=dtype) * envs.mask[:, :, None]
