"""Radial bases: one that is written here, closed forms, the size of tables, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from catalog import quick_jit
from scipy.special import ive

from jaxpot import GTO, CosineCutoff, Density
from jaxpot.interface import Interface, missing
from jaxpot.passes import condense
from jaxpot.radial import Agnesi, Bessel, ChebExpCos, EquispacedGaussians, InnerCutoff, RadialTable, SBessel, SolidGTO
from jaxpot.radial.base import Radial, RadialBasis, from_table, is_rough, nodes_needed, sharp, smeared, tabulate
from jaxpot.radial.pace import of_pairs
from jaxpot.trees import class_table, pytree, static

RADIUS, SIGMA = 4.0, 0.45


@pytree
class Sines(Radial):
    n_max: int = static()

    def __call__(self, r, radius):
        return jnp.stack([jnp.sinc((n + 1) * r / radius) for n in range(self.n_max)], axis=-1)


@pytree
class Kinks(Radial):
    n_max: int = static(1)

    def __call__(self, r, radius):
        return jnp.abs(r - radius / 2)[..., None]


def density(radial, sigma=SIGMA, **changes):
    return Density(("Si",), CosineCutoff(RADIUS), radial, 2, sigma=sigma, **changes)


def test_a_new_basis_is_smeared_and_tabulated():
    """Four lines; against an integral over all of it."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r, s = np.array([0.0, 0.4, 2.0, 3.9]), RADIUS * (nodes + 1) / 2
    x = s * r[:, None] / SIGMA**2
    bessel = np.stack([np.where(x > 0, np.sqrt(np.pi / (2 * np.where(x > 0, x, 1))) * ive(l + 0.5, x), l == 0) for l in range(3)])
    weight = 4 * np.pi * RADIUS / 2 * weights * s**2 * np.exp(-((s - r[:, None]) ** 2) / (2 * SIGMA**2))
    expected = np.einsum("qs,lqs,sn->qln", weight, bessel, np.sinc(np.arange(1, 4) * s[:, None] / RADIUS))
    made = density(Sines(3))
    got, rough = quick_jit(lambda density, r: (from_table(condense(density).table, r, density.reach), is_rough(density.table()[0])))(made, jnp.asarray(r))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.max(expected))
    assert made.nodes < 50 and not rough
    plain = density(Sines(3), sigma=None, center_weight=0.0)
    assert sharp(plain.radial, jnp.asarray(r), 2, RADIUS).shape == (4, 1, 3)


def test_closed_form_is_the_integral():
    basis, r = SolidGTO(3), jnp.linspace(0.0, RADIUS, 7)
    by_quadrature = smeared.dispatch(RadialBasis)
    closed, integral = quick_jit(lambda r: (smeared(basis, r, 3, RADIUS, SIGMA), by_quadrature(basis, r, 3, RADIUS, SIGMA)))(r)
    np.testing.assert_allclose(closed, integral, rtol=0, atol=1e-12 * np.max(np.abs(closed)))


@pytest.mark.parametrize("basis", [GTO(4), Bessel(4), EquispacedGaussians(4)], ids=lambda basis: type(basis).__name__)
def test_nodes(basis):
    """As many as are needed render the functions to 1e-12, and a good part of them would not."""
    ratio, r = 20.0, jnp.linspace(0.0, RADIUS, 101)
    needed = int(np.ceil(nodes_needed(basis, ratio)))

    @quick_jit
    def values():
        tables = [tabulate(basis, 1, radius=jnp.asarray(RADIUS), sigma=RADIUS / ratio, reach=jnp.asarray(RADIUS), nodes=n) for n in (needed, needed * 2 // 3)]
        exact = smeared(basis, r, 1, jnp.asarray(RADIUS), RADIUS / ratio)
        return [jnp.max(jnp.abs(from_table(table, r, RADIUS) - exact)) / jnp.max(jnp.abs(exact)) for table in tables]

    enough, fewer = values()
    assert enough < 1e-12 and fewer > 1e-11


def test_functions_with_kinks_are_not_tabulated():
    unresolved, table = quick_jit(lambda made: (made.unresolved(), condense(made).table))(density(Kinks()))
    assert unresolved and np.all(np.isnan(table))


def test_forms_that_do_not_exist():
    with pytest.raises(ValueError, match="EquispacedGaussians takes its width from the density: give Density a sigma"):
        density(EquispacedGaussians(2), sigma=None, center_weight=0.0)
    for basis in (Agnesi(2, nearest=1.8), SBessel(2)):
        with pytest.raises(ValueError, match="is for a sharp density: write Density.*sigma=None"):
            density(basis)


def test_numbers_of_pairs():
    """What may differ between pairs is picked, within a basis too; a table of functions is none of it."""
    lam, at = np.array([[3.0, 4.0], [5.0, 6.0]]), (jnp.array([0, 1]), jnp.array([1, 1]))
    picked = of_pairs(InnerCutoff(ChebExpCos(3, lam=lam), 0.5, lam / 9), lambda leaf: jnp.asarray(leaf)[at] if np.ndim(leaf) else leaf)
    values = quick_jit(lambda basis, r, radius: basis(r, radius))
    alone = [values(InnerCutoff(ChebExpCos(3, lam=value), 0.5, value / 9), jnp.array([1.0, 2.0]), jnp.asarray(RADIUS)) for value in (4.0, 6.0)]
    np.testing.assert_allclose(values(picked, jnp.array([1.0, 2.0]), jnp.full(2, RADIUS)), [alone[0][0], alone[1][1]], rtol=1e-14)
    table = RadialTable(np.ones((2, 2)), np.zeros((2, 2)))
    assert of_pairs(table, lambda leaf: 0 * leaf) == table


def test_interfaces_and_final_classes():
    """Nothing inherits from a class that can be made, every such class is complete, and no interface asks for more than five members."""
    for cls in class_table().values():
        if cls.__module__.startswith(("jaxpot.radial", "jaxpot.math")):
            assert not [base for base in cls.__mro__[1:] if "__dataclass_fields__" in vars(base)] and not missing(cls), cls
            assert max((len(missing(base)) for base in cls.__mro__ if issubclass(base, Interface)), default=0) <= 5, cls
