"""Means over states that were sampled with one potential, for another: derivatives of ensemble means without those of trajectories."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.graph import Graph
from jaxpot.leaves import Leaf, Tree
from jaxpot.passes import prepare
from jaxpot.potentials.base import Potential
from jaxpot.trees import leaf, pytree
from jaxpot.units import BOLTZMANN

Array = jax.Array


@pytree
class Sample(Tree):
    """States of an ensemble, and the energies of the potential that sampled them; made by `sample`.

    Args:
      graphs: one Graph whose leaves have a first axis of M states.
      energies: shape [M], in eV.
      temperature: at which they were sampled, in K.
    """

    graphs: Graph
    energies: Leaf = leaf(shape="[M]")
    temperature: Leaf

    @property
    def kT(self) -> Array:
        """In eV."""
        return BOLTZMANN * jnp.asarray(self.temperature)


class Reweighted(NamedTuple):
    """An ensemble mean, and how far it can be trusted.

    Args:
      mean: of the observable, as it gives it; NaN where fewer states count than asked for.
      effective: which share of the states counts, exp(−Σ w ln w)/M, shape [], from 1/M to 1.
      weights: shape [M], summing to one.
    """

    mean: Any
    effective: Array
    weights: Array


def sample(graphs: Sequence[Graph] | Graph, potential: Potential, temperature: float) -> Sample:
    """States of an ensemble with the potential that sampled them, to be reweighted for others.

    Args:
      graphs: M states that do not depend on one another, such as `[system.graph(state) for state in states]`, or these stacked.
      potential: with which they were sampled.
      temperature: at which, in K.

    Raises:
      ValueError: for structures that do not stack, or whose energies are not finite.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> pairs = [from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [r, 0, 0]]), 6.0) for r in (3.6, 3.8, 4.0)]
      >>> sample(pairs, argon, temperature=85.0).energies.shape
      (3,)
    """
    if not isinstance(graphs, Graph):
        shapes = {tuple(np.shape(leaf) for leaf in jax.tree_util.tree_leaves(graph)) for graph in graphs}
        if len(shapes) != 1:
            raise ValueError(
                f"sample: expected states of one shape, got {len(shapes)} shapes of {len(graphs)} graphs; write pad(graph, max_neighbors=K) with one K"
            )
        graphs = jax.tree_util.tree_map(lambda *leaves: jnp.asarray(np.stack(leaves)), *graphs)  # on the host: jnp.stack of M arrays compiles for long
    energies = jax.jit(energies_of)(potential, graphs)
    if not np.all(np.isfinite(energies)):
        bad = np.flatnonzero(~np.isfinite(energies))
        raise ValueError(f"sample: the energies of {len(bad)} of {len(energies)} states are not finite, first state {bad[0]}; ask jaxpot.diagnose why")
    return Sample(graphs, energies, temperature)


def energies_of(potential: Potential, graphs: Graph) -> Array:
    """Energies of stacked structures, one after the other, shape [M], in eV."""
    ready = prepare(potential)
    return jax.lax.map(jax.checkpoint(lambda graph: ready(graph)), graphs)


def reweighted(
    sample: Sample, observable: Callable[[Graph], Any], potential: Potential, *, temperature: float | Array | None = None, least: float = 0.5
) -> Reweighted:
    r"""The mean of an observable in the ensemble of a potential, from states of the ensemble of another; the core of DiffTRe.

    .. math:: \langle O \rangle_\theta = \sum_i w_i O_i, \qquad w_i \propto e^{-\beta (U_\theta(i) - U(i))}

    .. math:: \partial \langle O \rangle = \langle \partial O \rangle
       - \beta \left( \langle O\, \partial U \rangle - \langle O \rangle \langle \partial U \rangle \right)

    The derivative is that of the weights, so memory is that of one state and nothing grows with the length of a trajectory.

    Args:
      sample: states with the energies of the potential that sampled them.
      observable: Graph -> any arrays; it may depend on what is differentiated.
      potential: whose mean is asked for.
      temperature: of that mean, in K; None takes that of the sample.
      least: the share of the states that must count, or the mean is NaN: then sample anew, with this potential.

    Returns:
      Mean, effective share and weights.

    Example:
      >>> from ase import Atoms
      >>> from jaxpot import from_atoms
      >>> from jaxpot.cutoffs import PolynomialCutoff
      >>> from jaxpot.empirical import LennardJones
      >>> argon = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
      >>> pairs = [from_atoms(Atoms("Ar2", positions=[[0, 0, 0], [r, 0, 0]]), 6.0) for r in (3.6, 3.8, 4.0)]
      >>> states = sample(pairs, argon, temperature=85.0)
      >>> def mean_distance(potential):
      ...     return reweighted(states, lambda graph: graph.positions[1, 0], potential).mean
      >>> bool(abs(mean_distance(argon) - 3.8) < 1e-12), bool(jax.grad(mean_distance)(argon).sigma > 0)
      (True, True)

    References:
      Thaler, Zavadlav, "Learning neural network potentials from experimental data via differentiable trajectory reweighting",
      Nat. Commun. 12, 6884 (2021).
    """
    exponents = _exponents(sample, potential, temperature)
    logarithms = jax.nn.log_softmax(exponents)
    weights = jnp.exp(logarithms)
    effective = jnp.exp(-jnp.sum(weights * logarithms)) / len(weights)
    values = jax.lax.map(jax.checkpoint(observable), sample.graphs)
    trusted = jnp.where(effective < least, jnp.nan, 1)
    mean = jax.tree_util.tree_map(lambda x: trusted * jnp.tensordot(weights, x, 1), values)
    return Reweighted(mean, effective, weights)


def free_energy_difference(sample: Sample, potential: Potential, *, temperature: float | Array | None = None) -> Array:
    r"""By how much the free energy of a potential exceeds that of the one that sampled, by perturbation, shape [], in eV.

    .. math:: A_\theta - A = -kT \ln \left\langle e^{-\beta (U_\theta - U)} \right\rangle

    At another temperature it is the difference of :math:`A/kT`, times the new kT, without the kinetic part. Its derivative is the mean of
    :math:`\partial U_\theta`. Where the two ensembles hardly overlap it is biased: see the effective share of `reweighted`.

    Args:
      sample, potential, temperature: as of `reweighted`.

    References:
      Zwanzig, "High-temperature equation of state by a perturbation method. I. Nonpolar gases", J. Chem. Phys. 22, 1420 (1954).
    """
    exponents = _exponents(sample, potential, temperature)
    kT = sample.kT if temperature is None else BOLTZMANN * jnp.asarray(temperature)
    return -kT * (jax.nn.logsumexp(exponents) - jnp.log(len(exponents)))


def relative_entropy(sample: Sample, target: Graph, potential: Potential) -> Array:
    r"""How far the ensemble of a potential is from one that is known by states alone, up to a constant, shape []; to be minimised.

    .. math:: S = \beta \langle U_\theta \rangle_\text{target} - \beta A_\theta + \text{const}, \qquad
       \partial S = \beta \left( \langle \partial U_\theta \rangle_\text{target} - \langle \partial U_\theta \rangle_\theta \right)

    Args:
      sample: states of this or a near potential, at the temperature of the target.
      target: states to be reproduced, such as coarse-grained ones of a finer model, stacked.
      potential: what is fitted.

    References:
      Shell, "The relative entropy is fundamental to multiscale and inverse thermodynamic problems", J. Chem. Phys. 129, 144108 (2008).
    """
    return (jnp.mean(energies_of(potential, target)) - free_energy_difference(sample, potential)) / sample.kT


def _exponents(sample: Sample, potential: Potential, temperature: float | Array | None) -> Array:
    """Logarithms of the weights, up to a constant, shape [M]."""
    new = sample.kT if temperature is None else BOLTZMANN * jnp.asarray(temperature)
    return sample.energies / sample.kT - energies_of(potential, sample.graphs) / new
