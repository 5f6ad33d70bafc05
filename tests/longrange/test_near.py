"""The near part: derivatives that atoms fetch from their neighbours against those that neighbours are sent, in all modes and orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

from jaxpot import from_atoms
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.graph import pad
from jaxpot.longrange import Coulomb, GaussianCoulomb, InversePower, near

CUTOFF = PolynomialCutoff(4.0, width=1.5)


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    """Of eight atoms, the last of which overlap."""
    monkeypatch.setattr(near, "_BLOCK", 8)


def ions(n=11, slots=2):
    """Ions in a skewed cell that is smaller than the cutoff, with padding and empty slots; and weights that are no charges."""
    random = np.random.default_rng(0)
    cell = np.array([[5.5, 0.0, 0.0], [1.0, 5.0, 0.0], [-0.8, 0.5, 6.0]])
    atoms = Atoms(random.choice([11, 17], n), positions=random.random((n, 3)) @ cell, cell=cell, pbc=True)
    graph = from_atoms(atoms, 4.5)
    graph = pad(graph, max_atoms=n + 2, max_neighbors=graph.neighbors.shape[1] + slots)
    q, g = np.pad(random.normal(size=(2, n)), ((0, 0), (0, 2)))
    return graph, jnp.asarray(q), jnp.asarray(g)


def weighted(potential, interaction, graph, g):
    """Σ g_i Φ_i, as a function of all that it may be differentiated by."""
    lists = graph.numbers, graph.neighbors, graph.shifts

    def total(at, kind):
        return jnp.sum(g * potential((interaction, CUTOFF, kind["width"], kind["own"]), lists, at["positions"], at["cell"], at["q"]))

    return total


def arguments(interaction, graph, q):
    kind = {"width": jnp.asarray(0.9), "own": interaction.sources(graph.numbers)}
    return {"positions": jnp.asarray(graph.positions), "cell": jnp.asarray(graph.cell), "q": q}, kind


def close(found, expected, tolerance):
    for one, two in zip(jax.tree_util.tree_leaves(found), jax.tree_util.tree_leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * max(1, np.max(np.abs(two), initial=0)))


def test_whole_numbers_are_charges():
    """Their derivatives are no whole numbers."""
    graph, q, _ = ions()
    q = jnp.sign(q)

    def total(cell, q):
        found = near.near_potential(Coulomb(), CUTOFF, jnp.asarray(0.9), graph.replace(cell=cell), q, Coulomb().sources(graph.numbers))
        return jnp.sum(q * found)

    slope = quick_jit(jax.grad(total))
    np.testing.assert_array_equal(slope(graph.cell, q.astype(int)), slope(graph.cell, q))
    assert np.max(np.abs(slope(graph.cell, q) % 1)) > 1e-3


@pytest.mark.parametrize("interaction", [Coulomb(), GaussianCoulomb(("Na", "Cl"), sigma=[0.4, 0.7]), InversePower(5)])
def test_fetched_is_sent(interaction):
    graph, q, g = ions()
    where = arguments(interaction, graph, q)
    found, expected = (quick_jit(jax.value_and_grad(weighted(of, interaction, graph, g), (0, 1)))(*where) for of in (near._potential, near._sent))
    close(found, expected, 1e-13)
    assert np.max(np.abs(expected[1][0]["cell"])) > 0.1 and np.max(np.abs(expected[1][1]["width"])) > 0.1
    only = quick_jit(jax.grad(lambda q: weighted(near._potential, interaction, graph, g)(where[0] | {"q": q}, where[1])))(q)
    close(only, expected[1][0]["q"], 1e-13)


def test_second_derivatives():
    """Forwards over backwards, backwards over backwards and backwards over forwards, along a direction, and of a batch."""
    graph, q, g = ions()
    interaction = GaussianCoulomb(("Na", "Cl"), sigma=[0.4, 0.7])
    where = arguments(interaction, graph, q)
    random = np.random.default_rng(1)
    along = jax.tree_util.tree_map(lambda x: jnp.asarray(random.normal(size=x.shape)), where)

    def forward_over_reverse(total, along):
        return jax.jvp(jax.grad(total, (0, 1)), where, along)[1]

    def reverse_over_reverse(total, along):
        return jax.vjp(jax.grad(total, (0, 1)), *where)[1](along)

    def reverse_over_forward(total, along):
        return jax.grad(lambda *where: jax.jvp(total, where, along)[1], (0, 1))(*where)

    expected = quick_jit(lambda: forward_over_reverse(weighted(near._sent, interaction, graph, g), along))()
    fetched = weighted(near._potential, interaction, graph, g)
    for mode in (forward_over_reverse, reverse_over_reverse, reverse_over_forward):
        close(quick_jit(lambda mode=mode: mode(fetched, along))(), expected, 1e-12)
    both = quick_jit(jax.vmap(lambda g: forward_over_reverse(weighted(near._potential, interaction, graph, g), along)))(jnp.stack([g, 2 * g]))
    close(jax.tree_util.tree_map(lambda x: x[1], both), jax.tree_util.tree_map(lambda x: 2 * x, expected), 1e-12)


def test_through_a_relaxation():
    """A derivative of a loop of steps along forces, of which only some that go in have one."""
    graph, q, g = ions()
    where, kind = arguments(Coulomb(), graph, q)

    def relaxed(potential, q):
        total = weighted(potential, Coulomb(), graph, q)

        def step(positions, _):
            return positions - 1e-3 * jax.grad(lambda x: total(where | {"positions": x, "q": q}, kind))(positions), None

        return jnp.sum(jax.lax.scan(step, where["positions"], None, 2)[0] * g[:, None])

    found, expected = (quick_jit(jax.grad(lambda q, of=of: relaxed(of, q)))(q) for of in (near._potential, near._sent))
    close(found, expected, 1e-12)
