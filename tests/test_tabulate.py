"""Tabulated models: as accurate as asked, as smooth as promised, and the same in every other respect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import ALCHEMICAL, POWER, SPECIES, _fitted, _points, evaluate, features, graph, quick_jit

from jaxpot import (
    ACE,
    GTO,
    SOAP,
    AtomicPotential,
    CosineCutoff,
    Density,
    IsolatedAtoms,
    LambdaSOAP,
    Linear,
    PolynomialKernel,
    SparseGP,
    TotalDegree,
    cast,
    environments,
    freeze,
    tabulate,
)
from jaxpot.cutoffs import Step
from jaxpot.descriptors.slopes import with_slopes
from jaxpot.heads import Quadratic
from jaxpot.potentials.atomic import _collapsed
from jaxpot.radial import Agnesi, Bessel, Chebyshev, EquispacedGaussians, SolidGTO
from jaxpot.radial.tabulated import Tabulated, tabulated

COSINE = CosineCutoff(3.0, width=0.8)
SHARP = {"sigma": None, "center_weight": 0.0}
DENSITIES = {
    "gto": Density(SPECIES, COSINE, GTO(4), 3, sigma=0.5),
    "solid-gto": Density(SPECIES, Step(1.5), SolidGTO(2), 3, sigma=0.5),
    "equispaced, centre in all channels": Density(SPECIES, COSINE, EquispacedGaussians(3), 2, sigma=0.5, center_channels="all"),
    "alchemical bessel": Density(SPECIES, COSINE, Bessel(3), 2, sigma=0.4, channels=ALCHEMICAL),
    "mixing per degree": Density(SPECIES, COSINE, GTO(3), 2, sigma=0.5, mixing=np.random.default_rng(0).normal(size=(2, 3, 3, 2))),
    "sharp agnesi": Density(SPECIES, POWER, Agnesi(5, nearest=1.6), 2, **SHARP),
    "sharp chebyshev, mixing": Density(SPECIES, POWER, Chebyshev(4), 2, mixing=np.random.default_rng(1).normal(size=(2, 4, 3)), **SHARP),
    "sharp bessel": Density(SPECIES, POWER, Bessel(3), 2, **SHARP),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_features_are_as_accurate_as_asked(name):
    soap = SOAP(DENSITIES[name], normalize=False)
    exact = features(soap, graph("molecule"))
    for accuracy in (1e-5, 1e-11):
        table = tabulate(soap, accuracy=accuracy)
        assert 0 < table.expansion.radial.error <= accuracy
        deviation = np.max(np.abs(features(table, graph("molecule")) - exact)) / np.max(np.abs(exact))
        assert deviation < 20 * accuracy
        assert table.n_features == soap.n_features and table.labels() == soap.labels() and np.isclose(table.reach, soap.reach, rtol=1e-15)


@pytest.mark.parametrize(("accuracy", "order"), [(1e-6, 2), (1e-12, 3)])
def test_derivatives_are_continuous_where_polynomials_meet(accuracy, order):
    radial = tabulate(DENSITIES["gto"], accuracy=accuracy).radial
    knots = float(radial.reach) * np.arange(1, len(radial.table)) / len(radial.table)

    def derivatives(r):
        f, out = radial.primitives, []
        for _ in range(order + 1):
            out.append(f(r))
            f = lambda r, f=f: jax.jvp(f, (r,), (jnp.ones_like(r),))[1]  # noqa: E731
        return out

    sides = [derivatives(jnp.asarray(knots + d)) for d in (-1e-9, 1e-9)]
    for low, high in zip(*sides, strict=True):
        assert np.max(np.abs(low - high)) < 1e-6 * np.max(np.abs(low))


def test_everything_in_a_model_is_tabulated():
    gap = AtomicPotential(SOAP(DENSITIES["gto"]), SparseGP(PolynomialKernel(4.0), delta=0.7).with_points(_points()))
    ace = AtomicPotential(ACE(DENSITIES["sharp agnesi"], TotalDegree((3, 3))), Linear())
    model = _fitted(gap) + _fitted(ace) + IsolatedAtoms({"C": -1.0, "Si": 2.0})
    table = tabulate(model, accuracy=1e-10)
    assert [type(t.descriptor.expansion.radial) for t in table.terms[:2]] == [Tabulated, Tabulated] and table.terms[0].head.references.points is None
    exact, found = evaluate(model, graph("slab")), evaluate(table, graph("slab"))
    assert abs(exact.energy - found.energy) < 1e-8 and np.max(np.abs(exact.forces - found.forces)) < 1e-7
    assert tabulate(table, accuracy=1e-10) == table
    tensor = tabulate(LambdaSOAP(DENSITIES["gto"], 2), accuracy=1e-9)
    exact = features(LambdaSOAP(DENSITIES["gto"], 2), graph("molecule"))
    assert np.max(np.abs(features(tensor, graph("molecule")) - exact)) < 1e-8


def test_rows_and_jacobians_are_those_of_the_table():
    """A tabulated descriptor can be fitted: its product rules hold for tables."""
    soap = tabulate(SOAP(DENSITIES["equispaced, centre in all channels"]), accuracy=1e-8)
    env = jax.tree_util.tree_map(lambda x: x[0], environments(graph("molecule"), soap.reach, SPECIES))
    value, jacobian = quick_jit(lambda e: with_slopes(soap, e))(env)
    exact = quick_jit(jax.jacfwd(lambda v: soap.environment(env.replace(vectors=v))))(env.vectors)
    np.testing.assert_allclose(value, soap.environment(env), atol=1e-13)
    np.testing.assert_allclose(jacobian, exact, atol=1e-11)


@pytest.mark.parametrize(("zeta", "head"), [(1.0, Linear), (2.0, Quadratic)])
def test_low_powers_collapse(zeta, head):
    gap = _fitted(AtomicPotential(SOAP(DENSITIES["gto"]), SparseGP(PolynomialKernel(zeta), delta=0.7).with_points(_points())))
    collapsed = _collapsed(freeze(gap), 1e-9)  # without tables
    assert type(collapsed.head) is head
    exact, found = evaluate(gap, graph("slab")), evaluate(collapsed, graph("slab"))
    np.testing.assert_allclose(found.energy, exact.energy, rtol=1e-12)
    np.testing.assert_allclose(found.forces, exact.forces, atol=1e-11)
    assert type(tabulate(gap).head) is head


@pytest.mark.parametrize("kernel", [PolynomialKernel(3.0), PolynomialKernel(2.0, offset=0.1)])
def test_what_does_not_collapse_stays(kernel):
    gap = freeze(_fitted(AtomicPotential(SOAP(DENSITIES["gto"]), SparseGP(kernel).with_points(_points()))))
    assert tabulate(gap).head == gap.head


def test_single_precision():
    soap = tabulate(SOAP(DENSITIES["gto"]), accuracy=1e-8)
    single = features(cast(soap, jnp.float32), cast(graph("molecule"), jnp.float32))
    assert single.dtype == jnp.float32
    assert np.max(np.abs(single - features(soap, graph("molecule")))) < 3e-6


def test_refusals():
    step = np.polynomial.chebyshev.chebinterpolate(np.sign, 400)[:, None, None]
    with pytest.raises(ValueError, match="512 intervals render the radial functions to"):
        tabulated(step, 5.0, 1e-6)
    with pytest.raises(ValueError, match="Agnesi is not smooth enough for a table of accuracy"):
        tabulate(Density(SPECIES, POWER, Agnesi(5, nearest=0.02), 2, **SHARP), accuracy=1e-12)
