"""Rows: how energy, forces and virial of a structure depend on the coefficients of a linear model.

The derivative of all basis functions with respect to all positions is never formed as a dense Jacobian. For each atom the
features' derivatives with respect to its own neighbours (K of them, not N) are pushed through the head as one matrix product,
and blocks of atoms add into [N, 3, P].
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.base import Descriptor, features_of_stack
from jaxpot.descriptors.blocks import even_blocks
from jaxpot.descriptors.clusters import ClusterDescriptor
from jaxpot.descriptors.expansion import is_local
from jaxpot.descriptors.slopes import Waist, features_with_slopes, waist_of
from jaxpot.graph import Graph, environments, strain
from jaxpot.heads.linear import Linear
from jaxpot.math.linalg import einsum
from jaxpot.properties import Properties

Array = jax.Array

_BLOCK_BYTES = 24e6  # of neighbour derivatives held at once: near the size of a cache, and bounded whatever N and P


def rows_of(term: Any, graph: Graph, carried: Array | None = None) -> Properties:
    """The rows of a condensed potential of a descriptor and a linear head, of atoms that carry [N, C] wherever they are."""
    rows = _with_derivatives(term.descriptor, term, graph, carried)
    return rows.replace(energies=energies_rows(term, graph, carried))  # which costs nothing where nobody looks at it


@functools.singledispatch
def _with_derivatives(descriptor: Descriptor, term: Any, graph: Graph, carried: Array | None) -> Properties:
    if not is_local(descriptor):
        return generic_rows(lambda graph: energy_row(term, graph, carried), graph)
    waist, (n, k) = waist_of(descriptor), graph.neighbors.shape
    # beyond a few times K atoms most of the product's columns would be zeros
    short = waist is not None and isinstance(term.head, Linear) and n <= 3 * k
    return waist_rows(term, waist, graph, carried) if short else atomic_rows(term, graph, carried)


def energies_rows(term: Any, graph: Graph, carried: Array | None = None) -> Array:
    """The rows of atomic energies of atoms that carry [N, C], shape [N, P]; zero for padding atoms."""
    return jnp.where((graph.centers > 0)[:, None], _of_atoms(term.descriptor, term, graph, carried), 0)


@functools.singledispatch
def _of_atoms(descriptor: Descriptor, term: Any, graph: Graph, carried: Array | None) -> Array:
    if not is_local(descriptor):
        return term.head.basis(descriptor(graph), environments(graph, 0.0, term.species).center)
    stack = environments(graph, term.reach, term.species, carried)
    return term.head.basis(features_of_stack(descriptor, stack), stack.center)


@_of_atoms.register
def _of_all_instances(clusters: ClusterDescriptor, term: Any, graph: Graph, carried: Array | None) -> Array:
    coordinates, kind, weight = clusters.instances_of_stack(environments(graph, term.reach, term.species, carried))
    rows = term.head.basis(coordinates, kind)
    return einsum("ni,nip->np", weight, rows.reshape(*weight.shape, -1))


def energy_row(term: Any, graph: Graph, carried: Array | None = None) -> Array:
    """The row of the energy, shape [P]."""
    return jnp.sum(energies_rows(term, graph, carried), axis=0)


def generic_rows(energy_row: Callable[[Graph], Array], graph: Graph) -> Properties:
    """From the row of the energy, Graph -> [P], by forward-mode differentiation of the whole structure: for models without local environments."""

    def basis(positions, epsilon):
        return energy_row(strain(graph.replace(positions=positions), 0.5 * (epsilon + epsilon.T)))

    zero = jnp.zeros((3, 3), graph.positions.dtype)
    by_position, by_strain = jax.jacfwd(basis, argnums=(0, 1))(graph.positions, zero)
    row, real = energy_row(graph), graph.numbers > 0
    shared = row / jnp.maximum(jnp.sum(real), 1).astype(row.dtype)
    energies = jnp.where(real[:, None], shared[None], 0)
    return Properties(energy=row, energies=energies, forces=-jnp.moveaxis(by_position, 0, -1), virial=-jnp.moveaxis(by_strain, 0, -1))


def waist_rows(term: Any, waist: Waist, graph: Graph, carried: Array | None = None) -> Properties:
    """For a linear head on features of few coefficients: ∂B/∂A of a block of atoms times ∂A/∂(R, ε), summed over atoms in the product."""
    stack = environments(graph, term.reach, term.species, carried)
    n, n_species = graph.neighbors.shape[0], len(term.species)
    p, dtype, parts = term.descriptor.n_features, stack.vectors.dtype, waist.blocks

    def one_block(carry, block):
        energy, gradients = carry
        envs, center, real = block
        coefficients, slopes = waist.coefficients(envs)
        features, jacobian = waist.beyond(coefficients)
        own = jnp.where(real[None, :], jax.nn.one_hot(envs.center, n_species, dtype=dtype, axis=0), 0)
        # where a neighbour vector comes from: + one atom, − the centre, and its own length times the strain
        moved = jax.nn.one_hot(envs.index, n, dtype=dtype) - jax.nn.one_hot(center, n, dtype=dtype)[:, None, :]
        moved = jnp.where(envs.mask[:, :, None], jnp.concatenate([moved, envs.vectors], axis=-1), 0)
        by_all = einsum("vnak,nkj->vnja", slopes, moved)
        steps = [
            jnp.stack([einsum("rcn,cnja->rja", values * own[s][None, None], by_all[columns]) for s in range(n_species)])
            for (_, columns), values in zip(parts, jacobian, strict=True)
        ]
        return (energy + einsum("sn,fn->sf", own, features), tuple(g + step for g, step in zip(gradients, steps, strict=True))), None

    sizes = [(len(rows), len(columns)) for rows, columns in parts]
    width = max(sum(r * c for r, c in sizes), 3 * (n + 3) * sum(c for _, c in sizes))
    blocks = _blocks_of(stack, graph, max(1, min(n, int(_BLOCK_BYTES / (width * dtype.itemsize)))))
    start = jnp.zeros((n_species, p), dtype), tuple(jnp.zeros((n_species, r, n + 3, 3), dtype) for r, _ in sizes)
    (energy, gradients), _ = jax.lax.scan(jax.checkpoint(one_block), start, blocks)
    # a function stands in the block of each of its factors
    functions = np.concatenate([rows for rows, _ in parts])
    gradient = jax.ops.segment_sum(jnp.concatenate(gradients, axis=1).swapaxes(0, 1), functions, p).swapaxes(0, 1)
    gradient = jnp.moveaxis(gradient.reshape(n_species * p, n + 3, 3), 0, -1)
    rows = Properties(energy=energy.reshape(-1), forces=-gradient[:n], virial=-0.5 * (gradient[n:] + jnp.swapaxes(gradient[n:], 0, 1)))
    return jax.tree_util.tree_map(lambda x: jnp.where(jnp.any(jnp.isnan(stack.vectors)), jnp.nan, x), rows)


def _blocks_of(stack, graph: Graph, block: int):
    """(environments, centre, whether it counts) of even blocks of atoms; atoms that fill the last block do not count."""
    n = graph.numbers.shape[0]
    n_blocks, block = even_blocks(n, block)
    fill = n_blocks * block - n

    def split(x):
        x = jnp.concatenate([x, jnp.repeat(x[-1:], fill, axis=0)]) if fill else x
        return x.reshape(n_blocks, block, *x.shape[1:])

    envs, center, real = jax.tree_util.tree_map(split, (stack, jnp.arange(n), graph.numbers > 0))
    return envs, center, real & (jnp.arange(n_blocks * block).reshape(n_blocks, block) < n)


def atomic_rows(term: Any, graph: Graph, carried: Array | None = None) -> Properties:
    head = term.head
    stack = environments(graph, term.reach, term.species, carried)
    k, p = graph.neighbors.shape[1], head.n_coefficients

    def one_atom(features, jacobian, center):
        """Basis [P], and its derivatives with respect to the neighbour vectors, [K, 3, P]."""
        basis, push = jax.linearize(lambda x: head.basis(x[None], center[None])[0], features)
        directions = jnp.moveaxis(jacobian, 0, -1).reshape(-1, features.shape[0])
        return basis, jax.vmap(push)(directions).reshape(k, 3, p)

    def one_block(carry, block):
        energy, gradient, virial = carry
        envs, center, real = block
        basis, derivative = jax.vmap(one_atom)(*features_with_slopes(term.descriptor, envs), envs.center)
        derivative = jnp.where((envs.mask & real[:, None])[:, :, None, None], derivative, 0)
        energy = energy + jnp.sum(jnp.where(real[:, None], basis, 0), axis=0)
        virial = virial - einsum("nka,nkbp->abp", jnp.where(envs.mask[:, :, None], envs.vectors, 0), derivative)
        gradient = gradient.at[envs.index.reshape(-1)].add(derivative.reshape(-1, 3, p))
        gradient = gradient.at[center].add(-jnp.sum(derivative, axis=1))
        return (energy, gradient, virial), None

    return _summed(one_block, stack, graph, p, k * p)


@_with_derivatives.register
def cluster_rows(descriptor: ClusterDescriptor, term: Any, graph: Graph, carried: Array | None = None) -> Properties:
    """As `atomic_rows`, of which every instance takes the part of an atom: its few coordinates are differentiated, then they by its vectors."""
    head, stack = term.head, environments(graph, term.reach, term.species, carried)
    slots = descriptor.slots(graph.neighbors.shape[1])
    p = head.n_coefficients

    def one_instance(x, weight, kind, slopes, weight_slopes):
        """Basis [P] of one instance, and its derivatives by its vectors, [A, 3, P]."""
        basis, push = jax.linearize(lambda x: head.basis(x[None], kind[None])[0], x)
        by_x = jax.vmap(push)(jnp.eye(len(x), dtype=x.dtype))
        derivative = weight * einsum("fax,fp->axp", slopes, by_x) + einsum("ax,p->axp", weight_slopes, basis)
        return weight * basis, derivative

    def one_block(carry, block):
        energy, gradient, virial = carry
        envs, center, real = block
        vectors, count = envs.vectors[:, slots], descriptor.multiplicity * real[:, None]
        members = jax.vmap(descriptor.members)(envs)
        kind = jax.vmap(descriptor.kind)(members)
        count = jnp.where(kind >= 0, count, 0)
        x, weight = jax.vmap(jax.vmap(descriptor.instance))(vectors, members)
        slopes, weight_slopes = jax.vmap(jax.vmap(jax.jacrev(descriptor.instance)))(vectors, members)
        each = jax.vmap(jax.vmap(one_instance))
        basis, derivative = each(x, count * weight, kind, slopes, count[:, :, None, None] * weight_slopes)
        energy = energy + jnp.sum(basis, axis=(0, 1))
        virial = virial - einsum("niax,niayp->xyp", jnp.where(count[:, :, None, None] > 0, vectors, 0), derivative)
        gradient = gradient.at[envs.index[:, slots].reshape(-1)].add(derivative.reshape(-1, 3, p))
        gradient = gradient.at[center].add(-jnp.sum(derivative, axis=(1, 2)))
        return (energy, gradient, virial), None

    return _summed(one_block, stack, graph, p, slots.size * p)


def _summed(one_block, stack, graph: Graph, p: int, width: int) -> Properties:
    """Rows from the sum over blocks of atoms of (energy [P], gradient [N, 3, P], virial [3, 3, P]); width: vectors times P of an atom."""
    n, dtype = graph.numbers.shape[0], stack.vectors.dtype
    block = max(1, min(n, int(_BLOCK_BYTES / (3 * width * dtype.itemsize))))
    blocks = _blocks_of(stack, graph, block)
    start = (jnp.zeros(p, dtype), jnp.zeros((n, 3, p), dtype), jnp.zeros((3, 3, p), dtype))
    (energy, gradient, virial), _ = jax.lax.scan(jax.checkpoint(one_block), start, blocks)
    # what the gate poisoned must not be hidden by the masks above
    poisoned = jnp.any(jnp.isnan(stack.vectors))
    rows = Properties(energy=energy, forces=-gradient, virial=0.5 * (virial + jnp.swapaxes(virial, 0, 1)))
    return jax.tree_util.tree_map(lambda x: jnp.where(poisoned, jnp.nan, x), rows)
