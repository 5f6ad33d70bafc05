"""Gradient-domain machine learning: closed forms, the covariance of forces by differentiation, fits against dense algebra, and the laws.

It is not in the catalogue: a GradientDomain belongs to one molecule, and the catalogue's structures are several.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from catalog import assert_below, deviations, evaluate, is_finite, quick_jit, relative

import jaxpot as jp
from jaxpot.math.permutations import is_group
from jaxpot.potentials.gdml import geometry

SYMBOLS = ("O", "H", "H", "C")
DESCRIPTOR = jp.descriptors.InverseDistances(SYMBOLS)
SWAP = ((0, 1, 2, 3), (0, 2, 1, 3))
POSITIONS = np.array([[0.0, 0.1, 0.0], [0.9, 0.3, 0.1], [-0.3, 0.9, -0.2], [0.2, -0.4, 1.2]])
TRUTH = jp.empirical.Morse(("C", "H", "O"), depth=0.4, alpha=1.1, minimum=1.3, cutoff=jp.cutoffs.PolynomialCutoff(6.0))


@functools.cache
def frames(n=6):
    out, rng = [], np.random.default_rng(0)
    for _ in range(n):
        atoms = Atoms(SYMBOLS, positions=POSITIONS + 0.08 * rng.normal(size=(4, 3)))
        p = evaluate(TRUTH, jp.from_atoms(atoms, 6.0, max_neighbors=3))
        atoms.calc = SinglePointCalculator(atoms, energy=float(p.energy), forces=np.asarray(p.forces))
        out.append(atoms)
    return out


def to_graph(atoms, n=6):
    return jp.from_atoms(atoms, 1.0, max_atoms=n, max_neighbors=3)


def start(n=6, kernel=None, permutations=SWAP):
    model = jp.molecules.GradientDomain(DESCRIPTOR, kernel or jp.kernels.Matern(1.5), permutations, delta=0.7)
    return model.with_points([to_graph(a) for a in frames()[:n]])


def level(forces=1e-2, energy=1.0):
    return jp.Properties(energy=energy, forces=forces)


@functools.cache
def fitted():
    return jp.fit.linear(start(), jp.Dataset.from_atoms(frames(), 1.0, sigma=level(1e-3)), method="kernel", progress=False)


# the descriptor


def test_inverse_distances():
    atoms, rng = frames()[0], np.random.default_rng(1)
    x = quick_jit(DESCRIPTOR.features)(to_graph(atoms))
    expected = [1 / atoms.get_distance(i, j) for i, j in DESCRIPTOR.labels()]
    assert DESCRIPTOR.labels()[:3] == ((1, 0), (2, 0), (2, 1)) and x.shape == (DESCRIPTOR.n_features,)
    assert relative(x, expected) < 1e-15
    assert relative(geometry(atoms.positions)[0], expected) < 1e-15
    direction = rng.normal(size=(4, 3))
    moved = [geometry(atoms.positions + h * direction)[0] for h in (1e-5, -1e-5)]
    assert relative(geometry(atoms.positions)[1] @ direction.reshape(-1), (moved[0] - moved[1]) / 2e-5) < 1e-8
    nothing = to_graph(atoms).replace(numbers=jnp.zeros(6, int))
    assert not np.any(DESCRIPTOR.features(nothing))


# the model


def test_pair_by_hand():
    """Of H2 with one reference at 1 Å: k(x, 1) in closed form, and the force along the bond."""
    graphs = [jp.from_atoms(Atoms("H2", positions=[[0, 0, 0], [0, 0, d]]), 1.0, max_neighbors=1) for d in (1.0, 0.8)]
    model = jp.molecules.GradientDomain(jp.descriptors.InverseDistances(("H", "H")), jp.kernels.Matern(2.0), ((0, 1), (1, 0)), delta=0.5).with_points(graphs[:1])
    model = model.with_coefficients(np.array([3.0, -7.0]))
    g = float(model.references.directions[0, 0, 0])
    assert abs(abs(g) - np.sqrt(2)) < 1e-14  # 1/r² times √2, since both atoms move by 1/√2
    t = np.sqrt(5) * 0.25 / 2.0
    slope = 5 / 12 * 0.25 * (1 + t) * np.exp(-t)  # ∂k(x, x')/∂x' at x = 1/0.8, x' = 1
    expected = -7.0 - 3.0 * 2 * 0.25 * g * slope  # both permutations, δ² = 1/4
    result = evaluate(model, graphs[1])
    assert abs(float(result.energy) - expected) < 1e-14
    second = 5 / 12 * (1 + t - t * t) * np.exp(-t)
    force = 3.0 * 2 * 0.25 * g * second * (-1 / 0.8**2)  # −dE/dr
    assert abs(float(result.forces[1, 2]) - force) < 1e-13


@pytest.mark.parametrize("kernel", [jp.kernels.Matern(1.5), jp.kernels.SquaredExponential(0.8), jp.kernels.Matern([1.0, 1.2, 1.4, 1.1, 1.3, 1.5])], ids=["matern", "gauss", "ard"])
def test_covariance_of_forces(kernel):
    """Second derivatives of the kernel of positions, summed over the permutations, by automatic differentiation."""
    permutations = ((0, 1, 2, 3),) if np.ndim(kernel.length) else SWAP
    model = start(3, kernel, permutations)
    places = [geometry(a.positions) for a in frames()[:3]]

    def covariance(a, b):
        def k(u, v):
            x = lambda r: DESCRIPTOR.features(to_graph(frames()[0]).replace(positions=r))  # noqa: E731
            return 0.49 * sum(kernel(x(u)[None], x(v[jnp.array([*p, 4, 5])])[None])[0, 0] for p in permutations)

        return jax.jacfwd(jax.grad(k), argnums=1)(a, b)[:4, :, :4].reshape(12, 12)

    pad = [np.concatenate([a.positions, np.zeros((2, 3))]) for a in frames()[:3]]
    blocks = quick_jit(jax.vmap(jax.vmap(covariance, (None, 0)), (0, None)))(jnp.array(pad), jnp.array(pad))
    basis = [np.linalg.pinv(jacobian) @ np.asarray(g).T for (_, jacobian), g in zip(places, model.references.directions, strict=True)]
    assert all(np.max(np.abs(u.T @ u - np.eye(6))) < 1e-12 for u in basis)
    expected = np.block([[u.T @ np.asarray(blocks[m, n]) @ v for n, v in enumerate(basis)] for m, u in enumerate(basis)])
    k = np.asarray(quick_jit(lambda m: m.force_covariance())(model))
    assert relative(k, expected) < 1e-12
    precision = np.asarray(quick_jit(lambda m: m.precision())(model))
    assert relative(precision[:-1, :-1], k + 1e-10 * np.eye(18)) < 1e-14 and precision[-1, -1] == 1e-16 and not np.any(precision[-1, :-1])
    rows = quick_jit(jp.fit.design)(model, to_graph(frames()[1]))
    along = np.einsum("ixp,ixa->ap", rows.forces[:4], basis[1].reshape(4, 3, 6))
    assert relative(along[:, :-1], k[6:12]) < 1e-12  # rows of a reference are those of K
    assert np.all(rows.energy[-1] == 1) and not np.any(rows.forces[..., -1])


def test_fits_are_one_model():
    """(K + Σ)⁻¹ f in one solve, streamed and by normal equations; by dense algebra."""
    data, model = jp.Dataset.from_atoms(frames(), 1.0, sigma=level()), start()
    fits = {m: jp.fit.linear(model, data, method=m, progress=False) for m in ("kernel", "qr", "cholesky")}
    k = np.asarray(quick_jit(lambda m: m.force_covariance())(model))
    basis = [np.linalg.pinv(geometry(a.positions)[1]) @ np.asarray(g).T for a, g in zip(frames(), model.references.directions, strict=True)]
    along = np.concatenate([u.T @ a.get_forces().reshape(-1) for a, u in zip(frames(), basis, strict=True)])
    expected = np.linalg.solve(k + 1e-4 * np.eye(36), along)
    assert relative(fits["kernel"].coefficients[:-1], expected) < 1e-9
    other = Atoms(SYMBOLS, positions=POSITIONS + 0.05)
    reference = evaluate(fits["kernel"], to_graph(other))
    for method in ("qr", "cholesky"):
        assert_below(deviations(evaluate(fits[method], to_graph(other)), reference, 4), 1e-4)  # energies with a noise of 1 eV say little
    mean = np.mean([float(evaluate(fits["kernel"], to_graph(a)).energy) - a.get_potential_energy() for a in frames()])
    assert abs(mean) < 1e-12


def test_learns():
    """Energies and forces of structures that it has not seen, from 6 that it has; energies only through forces."""
    rng = np.random.default_rng(7)
    for _ in range(3):
        atoms = Atoms(SYMBOLS, positions=POSITIONS + 0.04 * rng.normal(size=(4, 3)))
        truth, guess = (evaluate(m, g) for m, g in ((TRUTH, jp.from_atoms(atoms, 6.0, max_neighbors=3)), (fitted(), to_graph(atoms))))
        assert relative(guess.forces[:4], truth.forces) < 0.1
    without = jp.Dataset.from_atoms(frames(), 1.0, sigma=jp.Properties(forces=1e-3))
    forces_alone = jp.fit.linear(start(), without, method="kernel", progress=False)
    assert forces_alone.coefficients[-1] == 0 and np.array_equal(forces_alone.coefficients[:-1], fitted().coefficients[:-1])


def test_fixed_terms_are_subtracted():
    data = jp.Dataset.from_atoms(frames(), 6.0, sigma=level(1e-3))
    points = start().with_points([to_graph(a) for a in frames()])
    both = jp.fit.linear(points + TRUTH, data, method="kernel", progress=False)
    assert np.max(np.abs(both.terms[0].coefficients)) < 1e-8


# laws


ROTATION = np.asarray(jp.random_rotation(jax.random.key(1)))


@quick_jit
def derivatives(model, params, graph):
    build = jp.free(model, *params)[1]
    energy = lambda p, r: build(p)(graph.replace(positions=r))  # noqa: E731
    return energy(params, graph.positions), jax.grad(energy)(params, graph.positions), jax.hessian(energy, argnums=1)(params, graph.positions)


def central(function, h=5e-4):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_derivatives():
    graph, rng = to_graph(Atoms(SYMBOLS, positions=POSITIONS)), np.random.default_rng(0)
    params = jp.free(fitted(), "kernel.length", "delta")[0]
    direction = rng.normal(size=(6, 3)) * (np.arange(6) < 4)[:, None]
    moved = lambda h: graph.replace(positions=graph.positions + h * direction)  # noqa: E731
    forces = np.asarray(evaluate(fitted(), graph).forces)
    numeric = -central(lambda h: float(derivatives(fitted(), params, moved(h))[0]))
    assert np.sum(forces * direction) == pytest.approx(numeric, rel=1e-8)
    _, by_params, hessian = derivatives(fitted(), params, graph)
    numeric = -central(lambda h: np.asarray(evaluate(fitted(), moved(h)).forces))
    assert relative(np.einsum("iajb,jb->ia", hessian, direction), numeric) < 1e-8
    for path, value in params.items():
        numeric = central(lambda h: float(derivatives(fitted(), params | {path: value + h}, graph)[0]))  # noqa: B023
        assert float(by_params[path]) == pytest.approx(numeric, rel=1e-7)
    at_reference = derivatives(fitted(), params, to_graph(frames()[0]))
    assert is_finite(at_reference)
    numeric = -central(
        lambda h: np.asarray(evaluate(fitted(), to_graph(frames()[0]).replace(positions=to_graph(frames()[0]).positions + h * direction)).forces), 1e-4
    )
    assert relative(np.einsum("iajb,jb->ia", at_reference[2], direction), numeric) < 1e-6  # there one distance is zero


def test_planar_references():
    """Fewer displacements change their distances; in a set with others their missing ones are zeros and learn nothing."""
    flat = frames()[0].copy()
    flat.positions[:, 2] = 0
    flat.calc = SinglePointCalculator(flat, **frames()[0].calc.results)
    model = start().with_points([to_graph(a) for a in (flat, frames()[1])])
    assert model.n_coefficients == 13 and np.sum(np.any(np.asarray(model.references.directions[0]), axis=1)) == 5
    data = jp.Dataset.from_atoms([flat, frames()[1]], 1.0, sigma=level())
    found = jp.fit.linear(model, data, method="kernel", progress=False).coefficients
    assert found[5] == 0 and np.all(found[:5] != 0)


BAD_STRUCTURES = [
    (Atoms("OHHC", positions=POSITIONS, cell=[9, 9, 9], pbc=True), "periodic"),
    (Atoms("OHCH", positions=POSITIONS), "atom 2 is another element"),
    (Atoms("OHH", positions=POSITIONS[:3]), "of 4 atoms, the structure has 3"),
    (Atoms("OHHCC", positions=[*POSITIONS, [3, 3, 3]]), "of 4 atoms, the structure has 5"),
]


@pytest.mark.parametrize(("atoms", "reason"), BAD_STRUCTURES, ids=[r for _, r in BAD_STRUCTURES])
def test_other_structures_are_nan(atoms, reason):
    graph = jp.from_atoms(atoms, 1.0, max_atoms=6, max_neighbors=3)
    result = evaluate(fitted(), graph)
    assert np.isnan(result.energy) and np.all(np.isnan(result.forces[: len(atoms)])) and np.all(np.isnan(result.virial))
    assert any(reason in cause for cause in jp.diagnose(fitted(), graph))
    with pytest.raises(ValueError, match=reason):
        start().with_points([graph])
    assert np.isnan(quick_jit(DESCRIPTOR.features)(jp.from_atoms(atoms, 1.0, max_neighbors=3))).all()


def shifted(atoms):
    out = atoms.copy()
    out.positions[0] += 0.01
    out.calc = SinglePointCalculator(out, **atoms.calc.results)
    return out


def of(frames_, **levels):
    return jp.Dataset.from_atoms(frames_, 1.0, sigma=jp.Properties(**levels))


REFUSED = [
    (lambda: jp.descriptors.InverseDistances("OHH"), ValueError, "tuple of at least two symbols"),
    (lambda: jp.descriptors.InverseDistances(("O", "Xx")), ValueError, "not chemical symbols"),
    (lambda: jp.molecules.GradientDomain(DESCRIPTOR, jp.PolynomialKernel(2.0)), TypeError, "Stationary"),
    (lambda: jp.molecules.GradientDomain(jp.kernels.Matern(1.0), jp.kernels.Matern(1.0)), TypeError, "InverseDistances"),
    (lambda: jp.molecules.GradientDomain(DESCRIPTOR, jp.kernels.Matern(1.0), ((0, 2, 1, 3),)), ValueError, "not a group"),
    (lambda: jp.molecules.GradientDomain(DESCRIPTOR, jp.kernels.Matern(1.0), ((0, 1, 2),)), ValueError, "not a group of permutations of 4 atoms"),
    (lambda: jp.molecules.GradientDomain(DESCRIPTOR, jp.kernels.Matern(1.0), ((0, 1, 2, 3), (1, 0, 2, 3))), ValueError, "exchanges different elements"),
    (lambda: jp.molecules.GradientDomain(DESCRIPTOR, jp.kernels.Matern(1.0), references=jp.heads.References(features=np.ones((2, 6)))), ValueError, "belong together"),
    (lambda: start().replace(references=start().references.replace(directions=np.ones((6, 2, 5)))), ValueError, r"directions \[M, A, 6\]"),
    (lambda: start().replace(coefficients=np.ones(3)), ValueError, r"expected coefficients \[37\]"),
    (lambda: start().with_points([]), ValueError, "no structures"),
    (lambda: start().with_points(to_graph(frames()[0])), ValueError, "one structure"),
    (lambda: jp.molecules.GradientDomain(DESCRIPTOR, jp.kernels.Matern(1.0)).basis(to_graph(frames()[0])), ValueError, "no references"),
    (lambda: start()(to_graph(frames()[0])), ValueError, "no coefficients yet"),
    (lambda: jp.fit.linear(jp.molecules.GradientDomain(DESCRIPTOR, jp.kernels.Matern(1.0)), of(frames(), forces=1.0)), ValueError, "no reference structures"),
    (lambda: jp.fit.posterior(start(), of(frames(), forces=1.0), progress=False), TypeError, "posterior of GradientDomain is not known"),
    (lambda: jp.fit.linear(start(), of(frames(), forces=1.0), method="kernel", checkpoint="state.npz"), ValueError, "has no checkpoint"),
    (lambda: jp.fit.linear(start(), of(frames()[:3], forces=1.0), method="kernel"), ValueError, "3 structures in the data, 6 references"),
    (lambda: jp.fit.linear(start(), of([shifted(a) for a in frames()], forces=1.0), method="kernel"), ValueError, "frame 0 is not the reference 0"),
    (lambda: jp.fit.linear(start(), of(frames(), energy=1.0), method="kernel"), ValueError, "fits forces"),
    (lambda: jp.fit.linear(TRUTH + jp.IsolatedAtoms({"H": 1.0}), of(frames(), forces=1.0), method="kernel"), TypeError, "not linear"),
    (lambda: jp.fit.linear(start() + start(), of(frames(), forces=1.0), method="kernel"), TypeError, "for one GradientDomain"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


# permutations


def test_groups():
    assert is_group([(0, 1)]) and is_group([(1, 0), (0, 1)]) and is_group([(0, 1, 2), (1, 2, 0), (2, 0, 1)])
    assert not is_group([]) and not is_group([(1, 0)]) and not is_group([(0, 0)]) and not is_group([(0, 1), (0, 1, 2)])


def test_recovered_permutations():
    """Of a methyl group that turns: three hydrogens, all ways if it also turns over, the cyclic ones if it does not; other hydrogens stay."""
    rng, frames_ = np.random.default_rng(3), []
    base = np.array([[0, 0, 0], [1.0, 0.3, 0.1], [-0.6, 0.9, 0.2], [-0.45, -0.95, 0.3], [0.2, 0.1, -1.5], [0.9, 0.5, -2.2]])
    cyclic = [(0, 1, 2, 3, 4, 5), (0, 2, 3, 1, 4, 5), (0, 3, 1, 2, 4, 5)]
    for k in range(12):
        positions = base + 0.02 * rng.normal(size=base.shape)
        frames_.append(Atoms("CH3OH", positions=(positions @ ROTATION.T)[list(cyclic[k % 3])]))
    assert jp.molecules.recover_permutations(frames_) == tuple(cyclic)
    mirrored = frames_ + [Atoms("CH3OH", positions=a.positions[[0, 2, 1, 3, 4, 5]]) for a in frames_]
    assert len(jp.molecules.recover_permutations(mirrored)) == 6
    assert jp.molecules.recover_permutations(frames_[:1]) == (cyclic[0],)


def test_permutations_refuse():
    for bad, message in (
        ([], "no structures"),
        ([Atoms("OH2", positions=POSITIONS[:3]), Atoms("HOH", positions=POSITIONS[:3])], "structure 1 has the atoms HOH"),
        ([Atoms("OH2", positions=POSITIONS[:3], cell=[5, 5, 5], pbc=True)], "structure 0 is periodic"),
    ):
        with pytest.raises(ValueError, match=message):
            jp.molecules.recover_permutations(bad)


# the kernel's derivatives


def test_slopes_of_stationary_kernels():
    """Of h(s²), also where differences of rounded terms would have no digit left."""
    u = jnp.array([0.0, 1e-14, 1e-10, 1e-6, 1e-2, 1.0, 30.0])
    for nu, first, second in (
        (2.5, lambda t: -5 / 6 * (1 + t) * np.exp(-t), lambda t: 25 / 12 * np.exp(-t)),
        (1.5, lambda t: -3 / 2 * np.exp(-t), lambda t: np.divide(9 / 4 * np.exp(-t), t, out=np.zeros_like(t), where=t > 0)),
    ):
        t = np.sqrt(2 * nu * np.asarray(u))
        found = jp.kernels.Matern(1.0, nu=nu).slopes(u)
        for got, expected in zip(found, (first(t), second(t)), strict=True):
            assert np.max(np.abs(got - expected) / np.maximum(np.abs(expected), 1e-300)) < 1e-14
    found = jp.kernels.SquaredExponential(1.0).slopes(u)
    assert relative(found[0], -0.5 * np.exp(-0.5 * np.asarray(u))) < 1e-15 and relative(found[1], 0.25 * np.exp(-0.5 * np.asarray(u))) < 1e-15


def test_laplacian():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4))
    length = np.array([1.0, 2.0, 0.5, 3.0])
    expected = np.exp(-np.sum(np.abs(x[:, None] - y[None]) / length, axis=-1))
    assert relative(jp.kernels.Laplacian(length)(jnp.array(x), jnp.array(y)), expected) < 1e-14
    assert np.all(jp.kernels.Laplacian(1.0).diagonal(jnp.array(x)) == 1)
    slope = jax.jacfwd(lambda u: jp.kernels.Laplacian(1.0)(u, jnp.array(x)))(jnp.array(x[0]))
    assert is_finite(slope) and not np.any(slope[0]) and np.any(slope[1])
