"""Every function of one number once: radial functions, cutoffs, kernels, transforms, activations, cores and powers, each as (model, call).

A new one is one line here, and laws/test_small_objects.py holds it to what potentials are held to, at a hundredth of the cost. Next to a
radial basis stands what its methods are given besides distances.
"""

import jax.numpy as jnp
import numpy as np
from catalog import _KNOTS

from jaxpot.descriptors.mbtr import AngleInDegrees, CosineOfAngle
from jaxpot.heads.linear import ShiftedPower, SmoothedPower
from jaxpot.math.activations import CELU, Cosine, Exponential, Gaussian, Harmonic, Identity, Logistic, ReLU, SiLU, Softplus, Tanh
from jaxpot.math.compact import AsymmetricCore, BumpCore, PolynomialCore
from jaxpot.math.cutoffs import (
    BumpCutoff,
    CosineCutoff,
    GammaCutoff,
    PolynomialCutoff,
    PowerCutoff,
    Step,
    TanhCutoff,
    TwoSided,
)
from jaxpot.math.decays import InversePowerDecay, LogisticDecay, Willatt
from jaxpot.math.endings import ForceShifted, Shifted
from jaxpot.math.kernels import Laplacian, Matern, PolynomialKernel, SquaredExponential, Symmetrised
from jaxpot.math.splines import CubicSpline
from jaxpot.math.transforms import IdentityTransform, InverseTransform, MorseTransform, PowerTransform
from jaxpot.radial import base
from jaxpot.radial.bessel import Bessel
from jaxpot.radial.equispaced import EquispacedGaussians
from jaxpot.radial.gto import GTO, SolidGTO
from jaxpot.radial.pace import ChebExpCos, ChebLinear, ChebPow, InnerCutoff, RadialTable, SBessel
from jaxpot.radial.polynomial import Agnesi, Chebyshev
from jaxpot.radial.shifted import Monomials, ShiftedMonomials
from jaxpot.radial.tabulated import Tabulated

REACH, L_MAX = 3.2, 2
R = np.array([0.43, 0.81, 1.27, 1.44, 1.83, 2.21, 2.57, 2.89])  # Å; nothing below has a kink there
X = R - 1.75
_POINTS = np.array([[0.7, 1.3], [1.9, 0.2], [0.35, 2.6]])
_random = np.random.default_rng(5).normal


def called(model, x):
    return model(x)


def ended(model, r):
    return model.ended(lambda r: 1 / r, r)


def sharp(model, r):
    basis, given = model
    return base.sharp(basis, r, L_MAX, given["radius"])


def smeared(model, r):
    basis, given = model
    return base.smeared(basis, r, L_MAX, given["radius"], given["sigma"])


def similarity(model, x):
    return model(jnp.stack([x, x * x / 2], axis=-1), jnp.asarray(_POINTS, x.dtype))


def of_angle(model, x):
    return model(jnp.cos(x), jnp.sin(x))


def to_the_power(model, x):
    return model(x, jnp.asarray(0.7, x.dtype))


_COSINE = CosineCutoff(REACH, width=0.9)
CUTOFFS = {
    "cosine": _COSINE,
    **{f"polynomial {n}": PolynomialCutoff(REACH, width=2.0, smoothness=n, power=1 + n % 2) for n in (1, 2, 3, 4)},
    "power": PowerCutoff(REACH),
    "tanh": TanhCutoff(REACH),
    "bump": BumpCutoff(REACH, width=2.0),
    "gamma": GammaCutoff(REACH, 3.5),
    "step": Step(REACH),
    "shifted": Shifted(REACH),
    "force-shifted": ForceShifted(REACH),
    "willatt": Willatt(_COSINE, rate=1.2, scale=2.0, exponent=3.0),
    "logistic": LogisticDecay(_COSINE, rate=0.5, scale=1.5),
    "inverse power": InversePowerDecay(_COSINE, power=2.5, scale=1.3),
    "two-sided": TwoSided(_COSINE, CosineCutoff(1.2, width=0.5)),
}
SMEARED = {
    "gto": GTO(3),
    "gto with a radius": GTO(2, radius=3.5),
    "solid gto": SolidGTO(2),
    "bessel": Bessel(3),
    "chebyshev": Chebyshev(3),
    "shifted monomials": ShiftedMonomials(3),
    "monomials": Monomials(2),
}
ENDING = {
    "cheb-exp-cos": ChebExpCos(3, lam=2.2, width=0.6),
    "cheb-pow": ChebPow(3, lam=3.0),
    "cheb-linear": ChebLinear(3),
    "sbessel": SBessel(3),
    "radial table": RadialTable((REACH - np.linspace(0, REACH, 9)[:, None]) ** 2, -2 * (REACH - np.linspace(0, REACH, 9)[:, None])),
    "inner cutoff": InnerCutoff(SBessel(2), radius=1.6, width=0.5),
}
SHARP = SMEARED | ENDING | {"agnesi": Agnesi(3, nearest=1.6), "tabulated": Tabulated(2, REACH, _random(size=(5, 6, 3)), _random(size=(L_MAX + 1, 3, 2)))}
KERNELS = {
    "polynomial": PolynomialKernel(2.0, offset=0.3),
    "polynomial, not whole": PolynomialKernel(2.5),
    "squared exponential": SquaredExponential([1.1, 1.9]),
    "matern 3/2": Matern(1.1, nu=1.5),
    "matern 5/2": Matern([1.1, 1.9], nu=2.5),
    "laplacian": Laplacian([1.1, 1.9]),
    "symmetrised": Symmetrised(SquaredExponential(1.3), ((0, 1), (1, 0))),
}
_GIVEN = {"radius": np.asarray(REACH), "sigma": np.asarray(0.5)}

OF_DISTANCE = {
    **{f"cutoff: {name}": (model, ended) for name, model in CUTOFFS.items()},
    **{f"radial, sharp: {name}": ((model, _GIVEN), sharp) for name, model in SHARP.items()},
    **{f"radial, smeared: {name}": ((model, _GIVEN), smeared) for name, model in (SMEARED | {"equispaced": EquispacedGaussians(3)}).items()},
    **{f"transform: {type(model).__name__}": (model, called) for model in (MorseTransform(1.6, decay=1.3), PowerTransform(1.6, power=1.5), InverseTransform(), IdentityTransform())},
    **{f"kernel: {name}": (model, similarity) for name, model in KERNELS.items()},
    **{f"angle: {type(model).__name__}": (model, of_angle) for model in (CosineOfAngle(), AngleInDegrees())},
    "spline": (CubicSpline(_KNOTS, [9.0, 2.0, 0.5, 0.0], -20.0, 0.0), called),
}
_ACTIVATIONS = (Identity(), Tanh(), Softplus(), SiLU(), Logistic(), Gaussian(), Cosine(), Exponential(), Harmonic(), ReLU(), CELU(0.7))
OF_ANY_NUMBER = {
    **{f"activation: {type(model).__name__}": (model, called) for model in _ACTIVATIONS},
    **{f"power: {type(model).__name__}": (model, to_the_power) for model in (ShiftedPower(), SmoothedPower(1.5))},
    **{f"core: {n}": (PolynomialCore(n), called) for n in (1, 2, 3, 4)},
    "core: bump": (BumpCore(), called),
    "core: asymmetric": (AsymmetricCore(PolynomialCore(2)), called),
}
ALL = OF_DISTANCE | OF_ANY_NUMBER


def points(name):
    """Where the function is looked at; cores are called on squares, which are positive."""
    return R / 2.9 if name.startswith("core") else R if name in OF_DISTANCE else X
