"""Every descriptor, head and potential once, small, with fixed random coefficients, and the structures the laws run on.

A new descriptor is one line in `DESCRIPTORS`, a new head one in `HEADS`, a new potential one in `POTENTIALS`, or in `MOLECULAR` if it is one
molecule's, in `CRYSTALLINE` if it is one crystal's; the laws then hold it to everything in tests/laws. All know the elements C and Si and look at most 3.2 Å far, so that the neighbour lists (LIST Å) leave
room for finite differences of cutoffs, and all structures share one padded shape, so that a potential is compiled once per law.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from flax import linen, nnx

import jaxpot
from jaxpot import ACE, GTO, MLP, SOAP, AtomicPotential, CosineCutoff, Density, IsolatedAtoms, Linear, PolynomialKernel, SparseGP, TotalDegree
from jaxpot.cutoffs import BumpCutoff, ForceShifted, GammaCutoff, InversePowerDecay, PolynomialCutoff, PowerCutoff, TwoSided, Willatt
from jaxpot.descriptors import (
    ACSF,
    AEV,
    FCHL19,
    G2,
    G3,
    G4,
    G5,
    MBTR,
    MTP,
    SLATM,
    AsymmetricCore,
    BagOfBonds,
    Bispectrum,
    BondDensity,
    BumpCore,
    CarriedDensity,
    CarriedFunctions,
    ChargePowers,
    ClusterPIP,
    CompactNarrow,
    CompactRadial,
    CompactTriangles,
    CompactWide,
    CompressedSOAP,
    CoulombMatrix,
    CoulombSpectrum,
    DeepPotSE,
    EwaldSumMatrix,
    EwaldSumSpectrum,
    GlobalSOAP,
    Histogram,
    Instances,
    InverseDistances,
    Joined,
    JoinedExpansions,
    Listed,
    LocalMBTR,
    LocalSLATM,
    MultiScale,
    OwnCharge,
    PerAtom,
    PerOrder,
    PolynomialCore,
    PurifiedACE,
    SineMatrix,
    SineSpectrum,
    StarPIP,
    ThreeBody,
    Triangles,
    TurboDensity,
    TwoBody,
    UnitLength,
    ValleOganov,
)
from jaxpot.empirical import (
    EAM,
    EDIP,
    ZBL,
    Buckingham,
    ByCoreEnergy,
    ByDistance,
    CoreRepulsion,
    CubicSpline,
    CutCoulomb,
    LennardJones,
    ModifiedStillingerWeber,
    ModifiedTersoff,
    Morse,
    PairSpline,
    ScreenedCore,
    StillingerWeber,
    Switched,
    Tersoff,
    TersoffZBL,
    Vashishta,
)
from jaxpot.heads import Embedding, HiddenLayer, LinenHead, NNXHead, Quadratic, SharedLinear
from jaxpot.kernels import Average, BestMatch, Matern, REMatch, SquaredExponential, Symmetrised
from jaxpot.longrange import (
    D3,
    LODE,
    AllPairs,
    AxilrodTeller,
    BeckeJohnson,
    Carried,
    ChargedAtoms,
    ChargedPotential,
    ChargeEquilibration,
    ChargeModel,
    ConjugateGradients,
    Coulomb,
    D3Tables,
    Dense,
    Direct,
    Dispersion,
    Electrostatics,
    Ewald,
    FixedCharges,
    Fragments,
    GaussianCoulomb,
    InversePower,
    LocalCharges,
    OverlapWeighted,
    PairsOfCharges,
    Polarizable,
    QEq,
    RationalDamping,
    Screening,
    SelfConsistent,
    TangToennies,
    Thole,
    Uniform,
    Waves,
    Weighted,
    ZeroDamping,
)
from jaxpot.molecules import PIP, Angles, Bonds, Dihedrals, GradientDomain, exchanges
from jaxpot.potentials import Committee, StructureGP
from jaxpot.precision import in_float32
from jaxpot.radial import Agnesi, Bessel, ChebExpCos, ChebPow, Chebyshev, InnerCutoff, MorseTransform, Poly3, Poly3Gauss, PowerTransform, SolidGTO

SPECIES = ("C", "Si")
LIST = 3.6
MAX_ATOMS, MAX_NEIGHBORS = 6, 24

COSINE = CosineCutoff(3.0, width=0.8)
POLYNOMIAL = PolynomialCutoff(3.1, width=1.5)
POWER = PowerCutoff(3.2)
WILLATT = Willatt(COSINE, rate=1.2, scale=2.0, exponent=3.0)
_KNOTS = np.array([1.0, 1.6, 2.3, 2.8])
ALCHEMICAL = np.array([[0.8, -0.3], [0.5, 0.9]])

# unoptimised code compiles five times faster than default code, and laws run it once
QUICK, OPTIMISED = {"xla_backend_optimization_level": 0, "xla_cpu_parallel_codegen_split_count": 1}, {"xla_backend_optimization_level": 3}
if jax.__version_info__ < (0, 11):  # later releases have no such option
    QUICK["xla_cpu_use_fusion_emitters"], OPTIMISED["xla_cpu_use_fusion_emitters"] = False, True
QUICK_FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())  # for processes of their own
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


# differ from others of the catalogue by what has tests of its own, so their laws are marked slow
VARIANTS = {
    "ace-alchemical", "ace-smeared", "acsf-narrow", "bispectrum-by-element", "by-distance", "charges", "charges-crystal", "chunked", "committee",
    "d3-zero", "dispersion-direct", "edip", "embedding", "ewald-sum-matrix", "ewald-sum-spectrum", "finnis-sinclair", "fourth-generation",
    "gp-float32", "gp-frozen", "gp-matern-3/2", "gp-matern-5/2", "gp-polynomial-offset", "gp-squared-exponential", "hidden-layer", "inverse-power", "linen",
    "local-mbtr", "lode-ace", "lode-exterior", "lode-joined", "multi-scale", "nnx", "pace", "polarizable-crystal", "quadratic", "self-consistent",
    "self-consistent-crystal", "sine-matrix", "sine-spectrum", "slatm-molecule", "soap-alchemical", "soap-compressed", "soap-no-center",
    "soap-solid-gto", "soap-turbo", "star-pip", "stillinger-weber-modified", "structure-best-match", "structure-global-soap", "structure-mbtr",
    "structure-rematch", "tabulated", "tersoff-modified", "tersoff-zbl", "three-body", "three-body-frozen", "triangles", "valle-oganov", "vashishta",
}


def variants_slow(names):
    return [pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name for name in names]


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def _sharp(radial, l_max, **changes):
    return Density(SPECIES, POWER, radial, l_max, sigma=None, center_weight=0.0, **changes)


DESCRIPTORS = {
    "soap-gto": lambda: SOAP(Density(SPECIES, COSINE, GTO(3), 2, sigma=0.5)),
    "soap-no-center": lambda: SOAP(Density(SPECIES, POLYNOMIAL, GTO(2), 2, sigma=0.4, center_weight=0.0)),
    "soap-alchemical": lambda: SOAP(Density(SPECIES, POLYNOMIAL, GTO(2), 2, sigma=0.4, channels=ALCHEMICAL)),
    "soap-solid-gto": lambda: SOAP(Density(SPECIES, WILLATT, SolidGTO(2), 3, sigma=0.5, center_channels="all"), normalize=False),
    "soap-sharp": lambda: SOAP(Density(SPECIES, POLYNOMIAL, Chebyshev(2), 3, sigma=None, center_weight=0.0), normalize=False),
    "soap-compressed": lambda: CompressedSOAP(
        Density(SPECIES, COSINE, GTO(2), 2, sigma=0.5), _random(4, 3), _random(4, 2, seed=1), ((0, 0), (2, 1), (1, 0)), transformation=_random(5, 9, seed=2), normalize=False,
    ),
    "hidden-layer": lambda: HiddenLayer(_HEAD_DESCRIPTOR(), HEADS["mlp"]()),
    "soap-turbo": lambda: SOAP(
        TurboDensity(
            SPECIES, 3.1, (Poly3(2), Poly3Gauss(3)), 1, sigma=[0.5, 0.4], sigma_angular=[0.45, 0.5], width=0.6, growth=[0.05, 0.1], growth_angular=0.04,
            exponent=[1.3, 2.0], enhancement=1, center_weight=[0.8, 1.2],
        )
    ),
    "ace": lambda: ACE(_sharp(Agnesi(3, nearest=1.6), 2), TotalDegree((2, 2, 2))),
    "ace-alchemical": lambda: ACE(_sharp(Bessel(2), 2, channels=ALCHEMICAL[:, :1]), PerOrder((2, 2, 1, 1, 1), (0, 2, 2, 1, 1))),
    "ace-tensor-reduced": lambda: ACE(_sharp(Chebyshev(3), 2, mixing=_random(2, 3, 3)), TotalDegree((3, 4, 4, 4)), tensor_reduced=True),
    "ace-smeared": lambda: ACE(Density(SPECIES, COSINE, GTO(2), 2, sigma=0.5, mixing=_random(2, 3, 2, 2)), TotalDegree((2, 2, 2))),
    "mtp": lambda: MTP(SPECIES, 8, 1.2, 3.2, radial_basis_size=3, radial=_random(2, 2, 2, 3)),
    "bispectrum": lambda: Bispectrum(SPECIES, 3.1, 2, radii=(0.5, 0.45), weights=(1.0, 0.7), rmin0=0.1, inner=(0.9, 1.0), inner_width=0.3),
    "bispectrum-by-element": lambda: Bispectrum(SPECIES, 3.1, 1, radii=(0.5, 0.45), by_element=True, normalize=True),
    "acsf": lambda: ACSF(
        SPECIES,
        (
            G2(BumpCutoff(3.1), eta=[0.5, 1.0], r_s=[0.0, 1.5]),
            G3(COSINE, kappa=1.3),
            G4(CosineCutoff(3.2), eta=[0.1, 0.3], r_s=[0.0, 1.0], lam=[-1, 0.9], zeta=[1, 2.5]),
            G5(POLYNOMIAL, eta=0.2, lam=1, zeta=[2, 4], mixing=_random(2, 1)),
            CompactRadial(BumpCore(), low=[-3.2, 1.0], high=3.2),
            CompactWide(AsymmetricCore(PolynomialCore(2)), PolynomialCore(2), low=-3.2, high=3.2, left=[-60.0, 40.0], right=[60.0, 160.0]),
        ),
        kept=((0, 3, 4, 6, 9, 14, 21, 30, 32, 35, 36, 41), (1, 2, 3, 5, 8, 12, 21, 29, 31, 33, 34, 37, 40)),
    ),
    "acsf-narrow": lambda: ACSF(SPECIES, (CompactNarrow(PolynomialCore(3), PolynomialCore(3), low=-3.2, high=3.2, left=-170.0, right=170.0),)),
    "aev": lambda: AEV(SPECIES, COSINE, 4.0, [0.8, 1.6], CosineCutoff(2.8), 2.0, [1.0, 1.8], 8.0, [0.4, 1.8]),
    "deep-pot": lambda: DeepPotSE(SPECIES, PolynomialCutoff(3.2, width=2.6), hidden=(3, 6), n_axis=2, n_neighbors=3.0, per_center=True),
    "fchl19": lambda: FCHL19(SPECIES, COSINE, POLYNOMIAL, eta2=0.5, zeta=1.0, n_r2=4, n_r3=3, n_fourier=2),
    "slatm": lambda: LocalSLATM(SPECIES, POLYNOMIAL, sigma_r=0.25, sigma_theta=0.5, n_r=6, n_theta=5),
    "local-mbtr": lambda: LocalMBTR(
        SPECIES, InversePowerDecay(POLYNOMIAL), Histogram(0.2, 1.2, sigma=0.2, n=3), Histogram(-1.0, 1.0, sigma=0.4, n=2), angle_cutoff=GammaCutoff(3.0, 3.0), perimeter=CosineCutoff(7.0)
    ),
    "star-pip": lambda: StarPIP(SPECIES, POWER, MorseTransform(1.6, decay=1.3), order=3, degree=2),
    "ace-purified": lambda: PurifiedACE(_sharp(Agnesi(2, nearest=1.6), 1), TotalDegree((1, 2, 2))),
}


def _fitted(potential):
    """The potential with fixed random coefficients."""
    return potential.with_coefficients(0.3 * _random(potential.n_coefficients, seed=1))


def _points():
    """Sparse points of both elements, away from the environments of all other structures."""
    envs = jaxpot.environments(to_graph(SPARSE), _HEAD_DESCRIPTOR().reach, SPECIES)
    return jax.tree_util.tree_map(lambda x: np.asarray(x)[: len(SPARSE)], envs)


def _sparse(kernel, **changes):
    return lambda: SparseGP(kernel, delta=0.7, **changes).with_points(_points())


class Network(nnx.Module):
    """A module that looks at features and at the element of the centre."""

    def __init__(self, n_features, rngs):
        self.inner, self.outer = (nnx.Linear(*sizes, param_dtype=float, rngs=rngs) for sizes in ((n_features, 5), (7, 1)))

    def __call__(self, features, species):
        return self.outer(jnp.concatenate([jnp.tanh(self.inner(3 * features)), jax.nn.one_hot(species, 2, dtype=features.dtype)], axis=1))


_HEAD_DESCRIPTOR = lambda: SOAP(Density(SPECIES, COSINE, GTO(2), 2, sigma=0.5))  # noqa: E731

HEADS = {
    "linear": lambda: Linear(scale=2.0),
    "quadratic": lambda: Quadratic(scale=2.0, quadratic_scale=0.5),
    "gp-polynomial": _sparse(PolynomialKernel(2.0)),
    "gp-polynomial-offset": _sparse(PolynomialKernel(2.5, offset=0.1), jitter=1e-6),
    "gp-squared-exponential": _sparse(SquaredExponential(0.4)),
    "gp-matern-3/2": _sparse(Matern(0.5, nu=1.5)),
    "gp-matern-5/2": _sparse(Matern(0.5, nu=2.5)),
    "embedding": lambda: Embedding(
        0.3 * _random(2, 2 * _HEAD_DESCRIPTOR().n_features, seed=2), exponents=np.array([1.0, 0.5]), weights=np.array([1.0, 0.7])
    ),
    "mlp": lambda: MLP((5, 4), shift=_random(2, _HEAD_DESCRIPTOR().n_features, seed=3), scale=np.full((2, _HEAD_DESCRIPTOR().n_features), 0.3)),
    "nnx": lambda: NNXHead(Network(_HEAD_DESCRIPTOR().n_features, nnx.Rngs(3))),
    "linen": lambda: LinenHead(linen.Sequential((linen.Dense(4, param_dtype=float), linen.tanh, linen.Dense(1, param_dtype=float)))),
    "gp-frozen": lambda: jaxpot.freeze(_fitted(AtomicPotential(_HEAD_DESCRIPTOR(), _sparse(PolynomialKernel(2.0))()))).head,
}



def _structure(descriptor, matching, **changes):
    references = [to_graph(SPARSE), to_graph(Atoms("CSi", positions=[[0, 0, 0], [1.1, 1.0, 0.9]]))]
    return _fitted(StructureGP(descriptor, PolynomialKernel(2.0), matching, delta=0.7, **changes).with_points(references))


def _clusters(descriptor, kernel, m=24):
    """A GP on clusters; its sparse points are near some clusters of all structures."""
    x, kind = [], []
    for structure in STRUCTURES.values():
        found, weight = jax.vmap(descriptor.instances)(jaxpot.environments(to_graph(structure), descriptor.reach, SPECIES))
        counted = np.asarray(weight) > 1e-3
        x.append(np.asarray(found.coordinates)[counted])
        kind.append(np.asarray(found.kind)[counted])
    every = np.random.default_rng(0).permutation(sum(map(len, kind)))[:m]
    points = Instances(np.concatenate(x)[every] + 0.05, np.concatenate(kind)[every])
    return _fitted(AtomicPotential(descriptor, SparseGP(kernel, delta=0.7)).with_points(points))


def _for_float32(potential):
    """With its Gaussian process in the form that `cast` gives it, in float64."""
    frozen = jaxpot.freeze(potential)
    return frozen.replace(head=in_float32(frozen.head))


def _triplets(first, second, third):
    """A table of the apex and two neighbours, equal when these are exchanged."""
    return np.array([[[first, second], [second, third]], [[third, first], [first, second]]])


def _eam(sites, cutoff):
    """Tables of cubics, which the interpolation renders exactly: finite differences across a knot stay accurate."""
    r, rho = 0.25 * np.arange(17), 0.5 * np.arange(60)
    density = np.array([1.0, 1.3])[:, None, None] * (np.array([1.0, 0.8])[:sites, None] - 0.15 * r - 0.01 * r**2 + 0.002 * r**3)
    pair = np.array([[2.0, 2.5], [2.5, 3.0]])[:, :, None] * (1 - r / 4) ** 3
    embedding = np.array([[-0.9, 0.04, -0.0004], [-0.7, 0.03, -0.0003]]) @ np.stack([rho, rho**2, rho**3])
    return EAM(SPECIES, embedding, density, pair, density_step=0.5, step=0.25, cutoff=cutoff)


def _pace():
    """Radial functions, cutoffs and repulsions of every pair of elements, and energies of cores where the many-body part is half off."""
    radial = (ChebExpCos(3, lam=[[2.0, 2.2], [2.2, 2.5]], width=0.6), InnerCutoff(ChebPow(3, lam=3.0), radius=1.6, width=0.5))
    radius = np.array([[2.8, 3.1], [3.1, 3.2]])
    ace = ACE(BondDensity(SPECIES, radius, radial, 2, kinds=((0, 1), (1, 0)), mixing=_random(2, 2, 3, 3, 2)), TotalDegree((4, 2, 2)))
    head = Embedding(0.1 * _random(2, 2 * ace.n_features), exponents=[[1.0, 0.5], [1.0, 0.7]], weights=[[1.0, 0.7], [0.9, 0.5]])
    core = CoreRepulsion(SPECIES, [[30.0, 40.0], [35.0, 50.0]], 0.7, radius)
    return Switched(AtomicPotential(ace, head), core, ByCoreEnergy([12.0, 25.0], [9.0, 24.0]))


def _shared(descriptor):
    return _fitted(AtomicPotential(descriptor, SharedLinear()))


def _triangles(descriptor):
    return _clusters(descriptor, Symmetrised(SquaredExponential(1.1), descriptor.permutations), 5)


POTENTIALS = {
    **{name: lambda make=make: _fitted(AtomicPotential(make(), Linear())) for name, make in DESCRIPTORS.items()},
    **{
        name: lambda make=make: _fitted(AtomicPotential(_HEAD_DESCRIPTOR(), make()))
        for name, make in HEADS.items()
        if name not in ("linear", "embedding", "mlp", "nnx", "linen")
    },
    "embedding": lambda: AtomicPotential(_HEAD_DESCRIPTOR(), HEADS["embedding"]()),
    "mlp": lambda: AtomicPotential(_HEAD_DESCRIPTOR(), HEADS["mlp"]()),
    "pace": _pace,
    "by-distance": lambda: Switched(
        _fitted(AtomicPotential(ACE(_sharp(Bessel(2), 1), Listed((((0, 0),), ((1, 1), (2, 1)), ((1, 0), (0, 1), (3, 1))))), Linear())),
        ScreenedCore(SPECIES, radius=[[2.7, 2.8], [2.8, 3.0]], width=1.9, scale=0.9),
        ByDistance(radius=[[2.6, 2.7], [2.7, 2.8]], width=[[1.7, 1.6], [1.6, 1.8]]),
    ),
    "committee": lambda: Committee((POTENTIALS["lennard-jones"](), POTENTIALS["eam"]())),
    "nnx": lambda: AtomicPotential(_HEAD_DESCRIPTOR(), HEADS["nnx"]()),
    "linen": lambda: AtomicPotential(_HEAD_DESCRIPTOR(), HEADS["linen"]()),
    "chunked": lambda: _fitted(AtomicPotential(_HEAD_DESCRIPTOR(), Linear(), chunk=4)),
    "tabulated": lambda: jaxpot.tabulate(
        _fitted(AtomicPotential(SOAP(Density(SPECIES, COSINE, GTO(3), 2, sigma=0.5, channels=ALCHEMICAL[:, :1])), Linear()))
        + _fitted(AtomicPotential(ACE(_sharp(Agnesi(2, nearest=1.6), 1, mixing=_random(2, 2, 3)), TotalDegree((2, 2))), Linear())),
        accuracy=1e-6,
    ),
    "two-body": lambda: _clusters(TwoBody(SPECIES, COSINE), SquaredExponential(0.8)),
    "gp-float32": lambda: (
        _for_float32(_fitted(AtomicPotential(_HEAD_DESCRIPTOR(), _sparse(PolynomialKernel(3.0))())))
        + _for_float32(_clusters(TwoBody(SPECIES, COSINE), SquaredExponential(0.8)))
    ),
    "three-body": lambda: _clusters(ThreeBody(SPECIES, COSINE), SquaredExponential([1.5, 1.0, 1.2])),
    "three-body-frozen": lambda: jaxpot.freeze(_clusters(ThreeBody(SPECIES, POLYNOMIAL, (("Si", "Si", "Si"), ("Si", "C", "Si"), ("C", "Si", "Si"))), Matern(1.1))),
    "triangles": lambda: _triangles(CompactTriangles(SPECIES, POLYNOMIAL)) + _triangles(Triangles(SPECIES, COSINE, (("C", "Si", "Si"), ("Si", "C", "C")))),
    "cluster-pip": lambda: _shared(ClusterPIP(SPECIES, TwoSided(COSINE, CosineCutoff(1.2, width=0.5)), PowerTransform(1.6, power=1.5), order=3, degree=2)),
    "pair-spline": lambda: PairSpline(
        SPECIES, (("Si", "Si"), ("Si", "C")), (CubicSpline(_KNOTS, [9.0, 2.0, 0.5, 0.0], last=0.0), CubicSpline(_KNOTS, [6.0, 1.0, 0.2, 0.0], -20.0, 0.0))
    ),
    "isolated-atoms": lambda: IsolatedAtoms({"C": -1.5, "Si": -0.7}),
    "lennard-jones": lambda: LennardJones(
        SPECIES, epsilon=np.array([[0.3, 0.2], [0.2, 0.4]]), sigma=np.array([[1.2, 1.4], [1.4, 1.6]]), cutoff=POLYNOMIAL
    ),
    "zbl": lambda: ZBL(SPECIES, inner=1.5, outer=2.6),
    "morse": lambda: Morse(SPECIES, depth=[[0.3, 0.2], [0.2, 0.4]], alpha=1.3, minimum=[[1.6, 1.9], [1.9, 2.2]], cutoff=ForceShifted(3.1)),
    "buckingham-coulomb": lambda: (
        Buckingham(SPECIES, amplitude=[[50.0, 0.0], [0.0, 80.0]], rho=0.4, dispersion=[[1.0, 2.0], [2.0, 0.0]], cutoff=POLYNOMIAL)
        + CutCoulomb(SPECIES, charges=[0.3, -0.5], cutoff=COSINE)
    ),
    "stillinger-weber": lambda: StillingerWeber(
        SPECIES, epsilon=_triplets(1.3, 1.0, 0.8), sigma=[[1.4, 1.6], [1.6, 1.7]], a=1.8, lam=_triplets(2.0, 3.0, 2.5), gamma=[[1.2, 1.0], [1.1, 0.9]],
        cosine=_triplets(-0.3, -0.1, 0.2), A=[[6.0, 7.0], [7.0, 8.0]], B=0.6, p=[[4.0, 4.2], [4.2, 4.5]], q=0.5,
    ),
    "stillinger-weber-modified": lambda: ModifiedStillingerWeber(POTENTIALS["stillinger-weber"](), first=0.5, last=1.1),
    "tersoff": lambda: Tersoff(
        SPECIES, A=[[60.0, 70.0], [70.0, 90.0]], B=[[20.0, 25.0], [22.0, 30.0]], lambda1=2.0, lambda2=[[1.1, 1.2], [1.3, 1.2]], beta=0.3, n=[[1.2, 1.6], [1.4, 1.1]],
        c=_triplets(1.5, 1.2, 1.7), d=1.1, cosine=-0.3, lambda3=0.3, gamma=0.9, R=_triplets(2.5, 2.6, 2.55), D=0.5,
    ),
    "tersoff-modified": lambda: ModifiedTersoff(
        SPECIES, A=80.0, B=25.0, lambda1=2.0, lambda2=1.2, beta=0.8, n=0.9, eta=1.1, c1=0.2, c2=1.5, c3=2.0, c4=0.7, c5=1.0, cosine=-0.3, lambda3=0.3, R=2.6, D=0.5,
        chunk=4,
    ),
    "tersoff-zbl": lambda: TersoffZBL(
        SPECIES, A=[[60.0, 70.0], [70.0, 90.0]], B=20.0, lambda1=2.0, lambda2=1.2, beta=0.3, n=1.2, c=1.5, d=1.1, cosine=-0.3, lambda3=0.3, gamma=0.9, R=2.6, D=0.5,
        Zi=[[2.0, 2.0], [3.0, 3.0]], Zj=[[2.0, 3.0], [2.0, 3.0]], middle=1.4, steepness=9.0, m=1,
    ),
    "vashishta": lambda: Vashishta(
        SPECIES, H=[[20.0, 30.0], [30.0, 15.0]], eta=[[7.0, 9.0], [9.0, 7.5]], charges=[[0.3, -0.4], [-0.4, 0.6]], lambda1=2.0, D=[[0.0, 2.0], [2.0, 1.5]], lambda4=1.5,
        W=[[0.0, 3.0], [3.0, 1.0]], cutoff=[[3.0, 3.2], [3.2, 3.1]], gamma=[[0.8, 1.0], [0.9, 0.7]], r0=[[0.0, 2.8], [2.9, 2.6]], B=_triplets(2.0, 3.0, 2.5), C=4.0,
        cosine=_triplets(-0.3, -0.1, 0.2),
    ),
    "edip": lambda: EDIP(
        SPECIES, A=[[6.0, 7.0], [8.0, 5.0]], B=1.4, a=[[2.75, 3.2], [3.1, 2.8]], c=[[1.5, 1.7], [1.6, 1.65]], alpha=3.0, beta=0.02, eta=_triplets(0.3, 0.4, 0.5), gamma=1.1,
        lam=_triplets(1.5, 1.3, 1.8), mu=0.3, rho=1.3, sigma=0.5, Q0=20.0, u1=-0.17, u2=3.0, u3=0.3, u4=0.66,
    ),
    "eam": lambda: _eam(sites=1, cutoff=POLYNOMIAL),
    "finnis-sinclair": lambda: _eam(sites=2, cutoff=COSINE),
    "structure-average": lambda: _structure(_HEAD_DESCRIPTOR(), Average()),
    "structure-best-match": lambda: _structure(_HEAD_DESCRIPTOR(), BestMatch()),
    "structure-rematch": lambda: _structure(_HEAD_DESCRIPTOR(), REMatch(0.3), normalize=False),
    "structure-global-soap": lambda: jaxpot.freeze(_structure(GlobalSOAP(_HEAD_DESCRIPTOR().expansion), Average())),
    "structure-mbtr": lambda: _structure(
        MBTR(SPECIES, COSINE, Histogram(0.2, 1.2, sigma=0.2, n=5), Histogram(-1.0, 1.0, sigma=0.4, n=4)), Average()
    ),
    "sum": lambda: (
        _fitted(AtomicPotential(SOAP(Density(("Si",), COSINE, GTO(2), 2, sigma=0.5)), Linear()))
        + LennardJones(("C",), epsilon=0.3, sigma=1.2, cutoff=POLYNOMIAL)
        + IsolatedAtoms({"C": -1.5, "Si": -0.7})
    ),
}

descriptor = functools.cache(lambda name: DESCRIPTORS[name]())
potential = functools.cache(lambda name: POTENTIALS[name]())

# of one molecule, with atoms in this order
MOLECULE = Atoms("CSiCSiC", positions=[[0, 0, 0], [1.8, 0.2, 0.1], [0.3, 1.6, -0.4], [-1.3, -0.5, 1.2], [0.6, -1.1, -1.4]])
_SYMBOLS = tuple(MOLECULE.symbols)
CELL = np.array([[4.6, 0.2, -0.1], [0.7, 4.4, 0.3], [-0.4, 0.5, 4.8]])  # of crystals with these atoms


def rattled(seed, cell=None):
    return Atoms(_SYMBOLS, positions=MOLECULE.positions + 0.1 * _random(5, 3, seed=seed), cell=cell, pbc=cell is not None)


def _whole(descriptor, kernel, cell=None):
    references = [to_graph(rattled(seed, cell)) for seed in (1, 2)]
    return _fitted(StructureGP(descriptor, kernel, Average(), normalize=False, extensive=False).with_points(references))


def _crystal(descriptor, length):
    return _whole(descriptor, SquaredExponential(length), CELL)


def _bonded():
    bonds = Bonds(SPECIES, [[0, 1], [0, 2], [0, 3], [0, 4]], stiffness=[20.0, 24.0, 18.0, 22.0], length=1.5)
    angles = Angles(SPECIES, [[1, 0, 2], [3, 0, 4]], stiffness=3.0, angle=[1.9, 2.0])
    return bonds + angles + Dihedrals(SPECIES, [[1, 2, 0, 3], [4, 1, 0, 2]], amplitudes=[0.3, 0.2], phases=[0.0, np.pi], multiplicities=(3, 1))


def _charged():
    """Charges of surroundings, and charges that equilibrate; of fragments, with weights, in a molecule."""
    fragments = Fragments(((0, 2, 4), (1, 3)), charges=[0.4])
    weighted = Weighted(_fitted(AtomicPotential(_HEAD_DESCRIPTOR(), Linear())))
    local = LocalCharges(_HEAD_DESCRIPTOR(), Linear(), weighted, fragments)
    local = local.with_coefficients(0.3 * _random(local.n_coefficients, seed=4))
    chi = OverlapWeighted(SPECIES, _ELECTRONEGATIVITY() + _fitted(AtomicPotential(_HEAD_DESCRIPTOR(), Linear())), [0.8, 1.0], COSINE)
    return Electrostatics(local, Direct()) + ChargeEquilibration(QEq(SPECIES, chi, [16.1, 13.9], [0.7, 0.9], Direct()))


def _charged_crystal():
    ewald = Ewald(PolynomialCutoff(3.2, width=1.5), width=0.6, grid=(4, 4, 4), k_cutoff=5.0)
    local = LocalCharges(_HEAD_DESCRIPTOR(), Linear(), Uniform())
    local = local.with_coefficients(0.3 * _random(local.n_coefficients, seed=4))
    qeq = QEq(SPECIES, _ELECTRONEGATIVITY(), [16.1, 13.9], [0.7, 0.9], ewald, solver=ConjugateGradients(1e-14))
    return Electrostatics(local, ewald) + ChargeEquilibration(qeq)


_ELECTRONEGATIVITY = lambda: IsolatedAtoms({"C": 5.3, "Si": 4.2})  # noqa: E731


def _sgdml():
    model = GradientDomain(InverseDistances(_SYMBOLS), Matern(1.5), ((0, 1, 2, 3, 4), (0, 1, 4, 3, 2)), delta=0.7)
    return _fitted(model.with_points([to_graph(rattled(seed)) for seed in (1, 2)]))


@jaxpot.pytree
class Balanced(ChargeModel):
    """The charges of a model, less what they add up to, whatever its leaves are."""

    of: ChargeModel
    reach = jnp.zeros(())

    @property
    def species(self):
        return self.of.species

    def charges(self, graph):
        real = graph.numbers > 0
        q = self.of.charges(graph)
        return q - jnp.where(real, jnp.sum(q) / jnp.sum(real), 0)


def _electrostatics(sum, interaction=None):
    return Electrostatics(Balanced(FixedCharges(SPECIES, values=[0.8, -1.2])), sum, Coulomb() if interaction is None else interaction)


def _ewald():
    return Ewald(PolynomialCutoff(3.1, width=0.6), width=0.7, grid=(5, 5, 5), k_cutoff=5.0)


def _d3(damping, covalent):  # radii at which the counting function is not too steep for differences of 5e-4
    c6 = np.array([[[[25.0, 20.0], [20.0, 17.0]], [[45.0, 40.0], [38.0, 33.0]]], [[[45.0, 38.0], [40.0, 33.0]], [[90.0, 80.0], [80.0, 70.0]]]])
    radii = {"covalent": covalent, "root_q": [1.5, 2.0], "radii": [[2.9, 3.1], [3.1, 3.4]]}
    tables = D3Tables(SPECIES, c6=c6, cn=[[0.0, 2.0], [0.5, 3.0]], references=(2, 2), **radii)
    return D3(tables, damping, cutoff=POLYNOMIAL, counting=COSINE) + AxilrodTeller(tables, cutoff=POLYNOMIAL, counting=COSINE, s9=0.8)


def _lode(sum, **changes):
    return LODE(SPECIES, 2.0, GTO(2), 2, 0.7, sum, **changes)


def _multi_scale():
    far = _lode(AllPairs(), power=1, interior=POLYNOMIAL)
    return _fitted(AtomicPotential(MultiScale(Density(SPECIES, COSINE, Bessel(2), 1, sigma=0.5), far), Linear()))


def _polarizable(sum, solver):
    charges, alpha = Balanced(FixedCharges(SPECIES, values=[0.8, -1.2])), [0.5, 0.9]
    interactions = Thole(SPECIES, polarizability=[1.0, 2.0], a=0.9), Thole(SPECIES, polarizability=[1.2, 2.5], a=0.3, power=4)
    return Polarizable(charges, alpha, sum, *interactions, solver=solver)


def _dispersion(sum, damping):
    return Dispersion(SPECIES, c6=[25.0, 90.0], sum=sum, interaction=damping)


def _near_and_far():
    return JoinedExpansions((Density(SPECIES, COSINE, Bessel(1), 2, sigma=0.5, channels=[[1.0], [0.5]]), _lode(AllPairs(), channels=[[1.0], [-0.6]])))


MOLECULAR = {
    "dispersion-direct": lambda: _dispersion(Direct(), TangToennies(SPECIES, b=[2.2, 1.9])),
    "d3-zero": lambda: _d3(ZeroDamping(s8=0.7, r6=0.5, r8=0.6), [1.3, 1.6]),
    "multi-scale": _multi_scale,
    "lode-joined": lambda: _fitted(AtomicPotential(ACE(_near_and_far(), TotalDegree((2, 2, 2))), Linear())),
    "lode-ace": lambda: _fitted(AtomicPotential(ACE(_lode(AllPairs(), channels=[[1.0], [-0.6]]), TotalDegree((2, 2, 2))), Linear())),
    "electrostatics-direct": lambda: _electrostatics(Direct()),
    "polarizable": lambda: _polarizable(Direct(), Dense()),
    "pip": lambda: _fitted(PIP(SPECIES, [range(5)], MorseTransform(1.6, decay=1.3), degree=2, symmetry=exchanges(_SYMBOLS))),
    "sgdml": _sgdml,
    "bonded": _bonded,
    "charges": _charged,
    "coulomb-matrix": lambda: _whole(CoulombMatrix(SPECIES, 6), SquaredExponential(30.0)),
    "coulomb-spectrum": lambda: _whole(CoulombSpectrum(SPECIES, 6), SquaredExponential(30.0)),
    "bag-of-bonds": lambda: _whole(BagOfBonds(SPECIES, (3, 2)), SquaredExponential(30.0)),
    "slatm-molecule": lambda: _whole(SLATM(LocalSLATM(SPECIES, POLYNOMIAL, sigma_r=0.25, sigma_theta=0.5, n_r=6, n_theta=5)), SquaredExponential(3.0)),
}
CRYSTALLINE = {
    "dispersion": lambda: _dispersion(_ewald(), RationalDamping(SPECIES, radius=[1.3, 1.6])),
    "d3": lambda: _d3(BeckeJohnson(s8=0.8, a1=0.4, a2=1.2), [1.0, 1.5]),
    "lode": lambda: _fitted(AtomicPotential(SOAP(_lode(Waves(grid=(3, 3, 3), k_cutoff=4.5), center_weight=0.6)), Linear())),
    "lode-exterior": lambda: _fitted(AtomicPotential(SOAP(_lode(Waves(grid=(3, 3, 3), k_cutoff=4.5), power=5, interior=POLYNOMIAL), normalize=False), Linear())),
    "electrostatics": lambda: _electrostatics(_ewald(), GaussianCoulomb(SPECIES, sigma=[0.5, 0.7])),
    "inverse-power": lambda: _electrostatics(_ewald(), InversePower(6)),
    "polarizable-crystal": lambda: _polarizable(_ewald(), ConjugateGradients(1e-14)),
    "charges-crystal": _charged_crystal,
    "sine-matrix": lambda: _crystal(SineMatrix(SPECIES, 6), 30.0),
    "sine-spectrum": lambda: _crystal(PerAtom(SineSpectrum(SPECIES, 6)), 6.0),
    "ewald-sum-matrix": lambda: _crystal(EwaldSumMatrix(SPECIES, 6), 30.0),
    "ewald-sum-spectrum": lambda: _crystal(UnitLength(EwaldSumSpectrum(SPECIES, 6)), 0.3),
    "valle-oganov": lambda: _crystal(
        ValleOganov(SPECIES, COSINE, Histogram(0.5, 3.0, sigma=0.3, n=5), GammaCutoff(3.2), Histogram(20.0, 160.0, sigma=20.0, n=4)), 1.0
    ),
}
_CHARGED = ChargedAtoms(SPECIES, coefficients=[[0.9, 6.0, 0.3], [-0.8, 5.0, 0.1]])


def _seen(*functions):
    """Atomic energies that see their own charge and those of neighbours."""
    density = Density(SPECIES, POLYNOMIAL, Chebyshev(2), 1, sigma=None, center_weight=0.0)
    parts = (ACSF(SPECIES, functions), SOAP(CarriedDensity(density), normalize=False), OwnCharge(SPECIES))
    return Carried(_fitted(AtomicPotential(Joined(parts), Linear())))


def _self_consistent(sum):
    functions = G2(COSINE, eta=[0.5, 1.0]), CarriedFunctions(G4(COSINE, eta=0.2, zeta=1.5))
    return SelfConsistent((PairsOfCharges(SPECIES, sum, GaussianCoulomb(SPECIES, sigma=[0.7, 0.9])), Carried(_CHARGED), _seen(*functions)))


def _fourth_generation():
    qeq = QEq(SPECIES, IsolatedAtoms({"C": 1.5, "Si": -0.7}), hardness=[9.0, 7.0], sigma=[0.7, 0.9], sum=Direct())
    network = AtomicPotential(Joined((ACSF(SPECIES, (G2(POLYNOMIAL, eta=[0.5, 1.0]),)), OwnCharge(SPECIES))), MLP((3,)))
    powers = _fitted(AtomicPotential(ChargePowers(ACSF(SPECIES, (G2(COSINE, eta=[0.5, 1.0]),)), 2, origin=[0.2, -0.1]), Linear()))
    pairs = PairsOfCharges(SPECIES, qeq.sum, qeq.interaction)
    return ChargedPotential(qeq, (pairs, Carried(Screening(qeq.interaction, COSINE)), Carried(network), Carried(powers)))


MOLECULAR |= {"fourth-generation": _fourth_generation, "self-consistent": lambda: _self_consistent(Direct())}
CRYSTALLINE |= {
    "self-consistent-crystal": lambda: _self_consistent(Ewald(PolynomialCutoff(3.2, width=1.0), width=0.65, grid=(6, 6, 6), k_cutoff=6.0)),
}
# which atoms may be exchanged: all, only these, or none, where a list names them
EXCHANGED = {"charges": [2, 3, 4, 1, 0], "sgdml": [0, 1, 4, 3, 2], "bonded": range(5), "pip": [2, 3, 4, 1, 0]}
molecular = functools.cache(lambda name: (MOLECULAR | CRYSTALLINE)[name]())


TRICLINIC = [[3.0, 0.2, -0.1], [0.7, 2.8, 0.3], [-0.4, 0.5, 3.2]]
SLAB = [[2.9, 0, 0], [0.4, 3.1, 0], [0, 0, 9.0]]

SPARSE = Atoms("SiCSi", positions=[[0, 0, 0], [1.2, 1.3, 0.6], [-0.9, 0.8, 1.9]])
STRUCTURES = {
    "molecule": MOLECULE,
    "triclinic": Atoms("SiC", positions=[[0.1, 0.2, 0.3], [1.5, 1.4, 1.1]], cell=TRICLINIC, pbc=True),
    "small-cell": Atoms("Si", positions=[[0.4, -0.2, 5.0]], cell=[[2.2, 0.1, 0], [0.3, 2.3, 0.2], [0, -0.2, 2.4]], pbc=True),
    "slab": Atoms("SiCSi", positions=[[0, 0, 0], [1.3, 1.2, 0.9], [0.2, 0.1, 1.9]], cell=SLAB, pbc=(True, True, False)),
    "left-handed": Atoms("CSi", positions=[[0, 0, 0], [1.4, 1.3, 1.2]], cell=np.array(TRICLINIC)[[1, 0, 2]], pbc=True),
}


def to_graph(atoms, cutoff=LIST):
    return jaxpot.from_atoms(atoms, cutoff, max_atoms=MAX_ATOMS, max_neighbors=MAX_NEIGHBORS)


@functools.cache
def graph(name):
    return to_graph(STRUCTURES[name])


_programs = {}


def evaluate(model, graph):
    """`jaxpot.evaluate`, compiled once per potential for all modules of laws, between which conftest.py clears JAX's own cache."""
    leaves, structure = jax.tree_util.tree_flatten((model, graph))
    key = structure, tuple((np.shape(x), getattr(x, "dtype", type(x))) for x in leaves)
    if key not in _programs:
        _programs[key] = quick_jit(jaxpot.evaluate).lower(model, graph).compile()
    return _programs[key](model, graph)


features = quick_jit(lambda model, g: model(g))


def relative(got, reference):
    """max |got − reference| / max |reference|."""
    got, reference = np.asarray(got), np.asarray(reference)
    assert got.shape == reference.shape
    return np.max(np.abs(got - reference)) / max(np.max(np.abs(reference)), 1e-300)


def deviations(got, reference, n):
    """The largest deviation of energy, forces of the first n atoms, and virial, relative to the largest of them."""
    scale = max(abs(float(reference.energy)), *(float(np.max(np.abs(x))) for x in (reference.forces[:n], reference.virial)))
    pairs = {
        "energy": (got.energy, reference.energy),
        "forces": (got.forces[:n], reference.forces[:n]),
        "virial": (got.virial, reference.virial),
    }
    assert all(np.shape(a) == np.shape(b) for a, b in pairs.values())
    return {field: float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) / scale for field, (a, b) in pairs.items()}


def assert_below(errors, tolerance):
    """Every entry of a dict of figures is at most the tolerance; NaN is not."""
    bad = {key: f"{value:.2e}" for key, value in errors.items() if not value <= tolerance}
    assert not bad, f"above {tolerance:.0e}: {bad}"


def is_finite(tree):
    return all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree_util.tree_leaves(tree))
