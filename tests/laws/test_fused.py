"""Every fast form equals the plain form whose place it takes: value, gradient, Hessian times a vector, and the derivative by every leaf."""

import catalog
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import ALCHEMICAL, COSINE, DESCRIPTORS, SPECIES, _fitted, assert_below, quick_jit

from jaxpot import GTO, MLP, SOAP, AtomicPotential, Density, Linear
from jaxpot.descriptors.slopes import features_with_slopes, with_slopes
from jaxpot.graph import environments
from jaxpot.heads import Quadratic
from jaxpot.passes import Fast, condense, prepare, tabulate
from jaxpot.trees import class_table, is_pytree, walk, with_leaves

# of the catalogue those that have a fast form of their own
NAMES = (
    "soap-gto", "soap-alchemical", "soap-turbo", "tabulated", "ace", "ace-tensor-reduced", "pace", "mtp", "bispectrum", "star-pip", "hidden-layer",
    "gp-polynomial", "eam",
)  # fmt: skip


def _primitives():
    density = Density(SPECIES, COSINE, GTO(3), 2, sigma=0.5, channels=ALCHEMICAL[:, :1])
    return tabulate(_fitted(AtomicPotential(SOAP(density, normalize=False), Linear())), accuracy=1e-6)


def _under(name, head):
    """A descriptor of the catalogue with a head that is not linear in its features, so that these are formed."""
    potential = AtomicPotential(DESCRIPTORS[name](), head)
    return _fitted(potential) if isinstance(head, Quadratic) else potential


MORE = {
    "one channel, tabulated": _primitives,
    "bispectrum, quadratic": lambda: _under("bispectrum", Quadratic()),
    "star-pip, network": lambda: _under("star-pip", MLP((3,))),
}


def potential(name):
    return MORE[name]() if name in MORE else catalog.potential(name)


IN_TABLES = {"soap-gto", "soap-alchemical", "soap-turbo", "hidden-layer", "gp-polynomial"}
SLOPES = ("soap-gto", "soap-turbo", "ace", "mtp", "bispectrum", "star-pip", "hidden-layer")


def energy(model, graph):
    return jnp.sum(jnp.where(graph.numbers > 0, model.energies(graph), 0))


def everything(model, graph, direction, prepared):
    """Energy, gradient, Hessian times a direction, and the derivative by every floating leaf of the model."""
    floating = {path: leaf for path, leaf, _ in walk(model) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)}

    def of(leaves, positions):
        own = with_leaves(model, leaves)
        return energy(prepare(own) if prepared else own, graph.replace(positions=positions))

    value, by_leaf = jax.value_and_grad(of)(floating, graph.positions)
    gradient, along = jax.jvp(lambda r: jax.grad(of, argnums=1)(floating, r), (graph.positions,), (direction,))
    return {"energy": value, "gradient": gradient, "Hessian": along} | {f"by {path}": d for path, d in by_leaf.items()}


compared = quick_jit(lambda model, graph, direction: (everything(model, graph, direction, True), everything(model, graph, direction, False)))


@pytest.mark.parametrize("name", (*NAMES, *MORE))
def test_fast_equals_plain(name):
    model, graph = potential(name), catalog.graph("triclinic")
    direction = jnp.asarray(np.random.default_rng(0).normal(size=graph.positions.shape))
    got, reference = compared(model, graph, direction)
    scale = {key: np.max(np.abs(np.asarray(x)), initial=0) for key, x in reference.items()}
    least = 1e-6 * max(scale[key] for key in scale if key.startswith("by "))  # leaves that hardly matter are compared with those that do
    errors = {key: np.max(np.abs(np.asarray(got[key]) - np.asarray(reference[key]))) / max(scale[key], least, 1e-300) for key in reference if np.size(got[key])}
    # exact forms to round-off; radial functions in Chebyshev tables, which are made for 1e-13 of the largest, to that of their second derivatives
    assert_below(errors, 1e-11 if name in IN_TABLES else 1e-12)


def parts(value):
    if isinstance(value, (tuple, list)):
        return {kind for child in value for kind in parts(child)}
    if not is_pytree(value):
        return set()
    return {type(value)} | {kind for name in value.__dataclass_fields__ for kind in parts(getattr(value, name))}


def test_every_fast_form_is_compared():
    """And no pass looks into what it has made: preparing twice is preparing once."""
    made = {kind for name in (*NAMES, *MORE) for kind in parts(prepare(potential(name)))}
    forms = {cls for cls in class_table().values() if issubclass(cls, Fast)}
    # a LODE has no other form: longrange/test_lode.py compares it with another code and with quadrature; a Nearby belongs to a structure: test_nearby.py
    assert {cls.__name__ for cls in forms - made} == {"TableLODE", "Nearby"}
    for name in (*NAMES, *MORE):
        once = prepare(potential(name))
        assert jax.tree_util.tree_structure(prepare(once)) == jax.tree_util.tree_structure(once)


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_equal_those_of_one_atom_after_the_other(name):
    """Derivatives of features by the shorter way that a class has registered, and by pushing unit vectors through `environment`."""
    descriptor, graph = DESCRIPTORS[name](), catalog.graph("slab")
    envs = jax.tree_util.tree_map(lambda x: x[:2], environments(graph, descriptor.reach, descriptor.species))
    envs = envs.replace(**{key: getattr(envs, key)[:, :8] for key in ("vectors", "species", "index", "mask")})
    plain = with_slopes.dispatch(object)

    @quick_jit
    def both(descriptor, envs):
        return features_with_slopes(condense(descriptor), envs), jax.vmap(lambda env: plain(condense(descriptor), env))(envs)

    (x, jacobian), (same, pushed) = both(descriptor, envs)
    errors = {"features": catalog.relative(x, same), "slopes": catalog.relative(jacobian, pushed)}
    assert_below(errors, 1e-12)
