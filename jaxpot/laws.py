"""Laws of single objects, for `jaxpot.testing`: what every tree keeps, and what cutoff functions, radial functions, kernels and heads keep.

Each function returns nothing or raises an AssertionError of one line: the class, the law, and by how much it is broken.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.heads.base import Head, LinearHead
from jaxpot.io.save import load, save
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.kernels import Kernel
from jaxpot.precision import cast
from jaxpot.radial.base import RadialBasis, sharp, smeared
from jaxpot.trees import free, walk

Array = jax.Array

_STEPS = (1e-4, 1e-5)  # Å, strain, or relative, of central differences of fourth order; the second where the first meets the end of a cutoff
_ROUND_OFF = 1e-10
_RADIUS, _L_MAX, _SIGMA = 5.0, 2, 0.5  # of the density in which radial functions are looked at


def require(holds: Any, thing: Any, what: str) -> None:
    """Raises with the class of the thing unless something holds; NaN does not."""
    if not holds:
        raise AssertionError(f"{type(thing).__name__}: {what}")


def require_same(thing: Any, law: str, found: Any, expected: Any, tolerance: float = _ROUND_OFF, what: str = "result", size: float = 0.0) -> None:
    """Raises unless two arrays are the same; tolerance: of the size, or of the largest entry expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    require(found.shape == expected.shape, thing, f"{law} gives the {what} the shape {list(found.shape)}, expected {list(expected.shape)}")
    worst = np.max(np.abs(found - expected), initial=0) / (size or max(np.max(np.abs(expected), initial=0), 1e-12))
    require(worst <= tolerance, thing, f"{law} changes the {what} by {worst:.2g} of the largest, expected at most {tolerance:.2g}")


def leaves(thing: Any) -> tuple[dict[str, Array], Callable[[Mapping[str, Array]], Any]]:
    """The floating leaves of a thing, and what makes it of others."""
    has_leaves = any(np.issubdtype(np.asarray(leaf).dtype, np.floating) for _, leaf, _ in walk(thing))
    return free(thing, "*") if has_leaves else ({}, lambda _: thing)


def leaf_steps(params: Mapping[str, Array], random: np.random.Generator) -> dict[str, np.ndarray]:
    """A random direction of every leaf, in proportion to it."""
    return {f"leaf {path}": random.normal(size=np.shape(value)) * np.maximum(np.abs(value), 1.0) for path, value in params.items()}


def slopes(value: Callable[[Mapping[str, Array]], Array], names: list[str]) -> tuple[float, dict[str, float], dict[str, float]]:
    """A value, and its slopes along every name: by JAX, and by that of the finite differences which is nearer."""
    still = dict.fromkeys(names, 0.0)
    both = jax.jit(jax.value_and_grad(value))
    size, by_jax = both(still)
    found = {name: float(slope) for name, slope in by_jax.items()}

    def odd(name: str, step: float) -> float:
        return (float(both(still | {name: step})[0]) - float(both(still | {name: -step})[0])) / (2 * step)

    numeric = {name: min(((4 * odd(name, h) - odd(name, 2 * h)) / 3 for h in _STEPS), key=lambda slope: abs(slope - found[name])) for name in still}
    return float(size), found, numeric


def require_slopes(thing: Any, size: float, found: Mapping[str, float], numeric: Mapping[str, float], tolerance: float) -> None:
    """Raises unless slopes are those of finite differences; tolerance: of the slope, or of the value where that is larger."""
    for name, slope in found.items():
        holds = abs(slope - numeric[name]) <= tolerance * max(abs(numeric[name]), abs(size), 1e-12)
        require(holds, thing, f"along a random direction the derivative by {name} is {slope:.8g}, by finite differences {numeric[name]:.8g}")


def check_tree(thing: Any, compute: Callable[[Any], Any]) -> None:
    """A tree of JAX in which nothing is lost, compiled or not, saved and loaded."""
    expected = compute(thing)
    parts, structure = jax.tree_util.tree_flatten(thing)
    again = jax.tree_util.tree_unflatten(structure, parts)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(save(Path(folder) / "thing.npz", thing), like=thing)
    for law, other in (("flattening", again), ("saving and loading", loaded)):
        require(other == thing, thing, f"{law} makes another object of it: {other!r}, expected {thing!r}")
        require_same(thing, law, compute(other), expected, 0.0)
    require_same(thing, "jit", jax.jit(compute)(thing), expected)


def _check_function(thing: Any, function: Callable[[Any, Array], Array], x: np.ndarray, by: str, seed: int, tolerance: float) -> None:
    """Of an array [n, ...]: each entry alone, derivatives by it and by all leaves, and single precision."""
    random, values = np.random.default_rng(seed), function(thing, jnp.asarray(x))
    require(np.all(np.isfinite(values)), thing, f"the result is not finite at {by} {x[np.argmax(~np.isfinite(values).reshape(len(x), -1).all(axis=1))]}")
    require_same(thing, f"leaving out other {by}", jnp.concatenate([function(thing, jnp.asarray(x[i : i + 1])) for i in range(len(x))]), values)
    (params, build), weights = leaves(thing), random.normal(size=values.shape)
    steps = {by: random.normal(size=x.shape)} | leaf_steps(params, random)

    def value(along: Mapping[str, Array]) -> Array:
        changed = build({path: leaf + along[f"leaf {path}"] * steps[f"leaf {path}"] for path, leaf in params.items()})
        return jnp.sum(weights * function(changed, jnp.asarray(x) + along[by] * steps[by]))

    require_slopes(thing, *slopes(value, list(steps)), tolerance)
    check_tree(thing, lambda thing: function(thing, jnp.asarray(x)))


def _check_single(thing: Any, function: Callable[[Any, Array], Array], x: np.ndarray) -> None:
    """In single precision it computes in single precision."""
    found, expected = function(cast(thing, "float32"), jnp.asarray(x, jnp.float32)), function(thing, jnp.asarray(x))
    require(found.dtype == jnp.float32, thing, f"of float32 it makes {found.dtype}; write constants as numbers of Python")
    require_same(thing, "single precision", found, expected, 1e-3)


def check_cutoff(cutoff: Cutoff, seed: int, tolerance: float) -> None:
    """A function of each distance alone, with right derivatives, finite at 0, which ends at its radius with its slope."""
    radius = float(cutoff.radius)
    r = radius * np.random.default_rng(seed).uniform(0.05, 0.95, 12)
    _check_function(cutoff, lambda own, r: own(r), r, "distances", seed, tolerance)
    _check_single(cutoff, lambda own, r: own(r), r)
    require_same(cutoff, "an array of two axes", cutoff(jnp.asarray(r.reshape(3, 4))).reshape(-1), cutoff(jnp.asarray(r)))
    value, slope = (jax.jit(jax.vmap(function)) for function in (cutoff, jax.grad(lambda r: cutoff(r))))
    for name, function, ends in (("value", value, [1.0, 1 + 1e-6, 1.5]), ("slope", slope, [1 + 1e-6, 1.5])):
        beyond = np.asarray(function(radius * jnp.array(ends)))
        require(np.all(beyond == 0), cutoff, f"its {name} is {beyond[np.argmax(beyond != 0)]:.3g} from the radius {radius:.6g} Å on, expected 0")
        far, near = np.abs(function(radius * jnp.array([1 - 1e-4, 1 - 1e-5])))
        require(near <= 0.5 * far + 1e-12, cutoff, f"its {name} jumps at the radius {radius:.6g} Å: it is {near:.3g} at {radius * 1e-5:.1g} Å before it")
        require(np.isfinite(function(jnp.zeros(1))[0]), cutoff, f"its {name} is {function(jnp.zeros(1))[0]} at 0")
    require(np.isnan(cutoff(jnp.array(jnp.nan))), cutoff, f"of NaN it makes {float(cutoff(jnp.array(jnp.nan))):.3g}; expected NaN")


def check_radial(radial: RadialBasis, seed: int, tolerance: float) -> None:
    """Functions of each distance alone, with right derivatives, finite from 0 to the radius, none of which is a sum of others."""
    is_sharp = sharp.dispatch(type(radial)) is not sharp.dispatch(object)

    def function(own: RadialBasis, r: Array) -> Array:
        radius = jnp.asarray(_RADIUS, r.dtype)
        return sharp(own, r, _L_MAX, radius) if is_sharp else smeared(own, r, _L_MAX, radius, jnp.asarray(_SIGMA, r.dtype))

    r = _RADIUS * np.random.default_rng(seed).uniform(0.05, 0.95, 12)
    shape = function(radial, jnp.asarray(r)).shape
    require(len(shape) == 3 and shape[0] == 12 and shape[2] == radial.n_max, radial, f"of 12 distances it makes {list(shape)}, with n_max = {radial.n_max}")
    _check_function(radial, function, r, "distances", seed, tolerance)
    _check_single(radial, function, r)
    ends = jnp.array([0.0, _RADIUS])
    for name, value in zip(("values", "slopes"), jax.jvp(lambda r: function(radial, r), (ends,), (jnp.ones(2),)), strict=True):
        require(np.all(np.isfinite(value)), radial, f"its {name} at 0 and at the radius are not finite: {np.asarray(value).tolist()}")
    table = np.asarray(function(radial, jnp.linspace(0, _RADIUS, 200)[:-1]))
    for l in range(table.shape[1]):
        sizes = np.linalg.svd(table[:, l], compute_uv=False)
        require(sizes[-1] > 1e-13 * sizes[0], radial, f"its functions of degree {l} are linearly dependent, to {sizes[-1] / sizes[0]:.1g}")


def check_kernel(kernel: Kernel, features: np.ndarray, seed: int, tolerance: float) -> None:
    """Of each pair of vectors alone, symmetric, positive semidefinite, with right derivatives that are finite where both are the same."""
    x, y = jnp.asarray(features), jnp.asarray(features[: max(2, len(features) - 2)])
    require_same(kernel, "its shape, [N, M],", kernel(x, y).shape, (len(x), len(y)))
    _check_function(kernel, lambda own, x: own(x, y), np.asarray(0.95 * x), "vectors", seed, tolerance)
    _check_single(kernel, lambda own, x: own(x, y.astype(x.dtype)), features)
    gram = np.asarray(kernel(x, x))
    require_same(kernel, "exchanging its arguments", gram.T, gram)
    require_same(kernel, "`diagonal`", kernel.diagonal(x), np.diag(gram))
    require_same(kernel, "an axis in front", kernel(jnp.stack([x, x]), y)[1], kernel(x, y))
    sizes = np.linalg.eigvalsh(gram)
    require(sizes[0] >= -_ROUND_OFF * sizes[-1], kernel, f"it is not positive semidefinite: eigenvalues from {sizes[0]:.3g} to {sizes[-1]:.3g}")
    slope = jax.grad(lambda x: jnp.sum(kernel(x, y)))(x)
    require(np.all(np.isfinite(slope)), kernel, "its derivative where two vectors are the same is not finite; write jaxpot.math.linalg.safe_norm")


def check_head(head: Head, features: np.ndarray, species: np.ndarray, seed: int, tolerance: float) -> None:
    """One energy for each atom, of its own features alone, with right derivatives; of linear heads the basis and the prior too."""
    x, z = jnp.asarray(features), jnp.asarray(species)
    require_same(head, "its shape, [N],", head(x, z).shape, (len(x),))
    alone = jnp.concatenate([head(x[i : i + 1], z[i : i + 1]) for i in range(len(x))])
    require_same(head, "leaving out the other atoms", alone, head(x, z), what="energy of an atom")
    order = np.random.default_rng(seed).permutation(len(x))
    require_same(head, "the order of the atoms", head(x[order], z[order]), head(x, z)[order], what="energy of an atom")
    own = np.full(len(x), z[0])
    _check_function(head, lambda head, x: head(x, jnp.asarray(own[: len(x)])), features, "features", seed, tolerance)
    if isinstance(head, LinearHead):
        require_same(head, "basis times coefficients", head.basis(x, z) @ jnp.asarray(head.coefficients), head(x, z))
        prior = np.asarray(head.precision())
        require_same(head, "the transpose of its precision, which is symmetric,", prior.T, prior)
        low, *_, high = np.linalg.eigvalsh(np.pad(prior, (0, 1)))  # of one coefficient too
        require(low >= -_ROUND_OFF * high, head, f"its precision is not positive semidefinite: eigenvalues from {low:.3g} to {high:.3g}")
