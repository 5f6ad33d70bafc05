"""Symmetry functions of compact support, as n2p2 documents them: sums by their formulas, atoms in line, files, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import quick_jit

import jaxpot
from jaxpot import MLP, AtomicPotential, CosineCutoff
from jaxpot.descriptors import ACSF, G2, AsymmetricCore, BumpCore, CompactNarrow, CompactRadial, CompactWide, PolynomialCore
from jaxpot.io.n2p2 import read_n2p2, write_n2p2
from jaxpot.io.n2p2_functions import descriptor_of, read_function

SPECIES = ("H", "O")
ATOMS = Atoms("OH2OHO", positions=np.random.default_rng(5).uniform(0, 2.6, (6, 3)))
LINES = """20 O -4.0 4.0 p1
20 O -4.0 4.0 p2
20 O 0.5 3.5 p2
20 H -4.0 4.0 p2
20 H -3.0 3.0 p2
20 O -3.0 3.0 p2
20 H 1.0 3.5 p3a
20 O -3.8 3.8 e
21 H O -4.0 4.0 0.0 180.0 p1a
21 O H -4.0 4.0 -90.0 90.0 p1
21 O O -4.0 4.0 0.0 120.0 p4
21 O O 0.2 4.2 0.0 120.0 p4
22 H H -4.0 4.0 90.0 270.0 p2
22 H O -4.0 4.0 49.1 169.1 p2a
22 O H -4.0 4.0 -180.0 180.0 p3
22 O O -4.0 4.0 0.0 360.0 e
23 -4.0 4.0 p2
24 0.3 4.2 0.0 180.0 p2
25 -4.0 4.0 90.0 270.0 p3
"""


def core(word, x):
    """n2p2's documentation, from the distance to the centre in units of half the width."""
    if x >= 1:
        return 0.0
    if word.endswith("a"):
        word, x = word[:-1], 2 * x - x * x
    return {
        "p1": (2 * x - 3) * x**2 + 1,
        "p2": ((15 - 6 * x) * x - 10) * x**3 + 1,
        "p3": (x * (x * (20 * x - 70) + 84) - 35) * x**4 + 1,
        "p4": (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1,
        "e": np.exp(1 - 1 / (1 - x * x)),
    }[word]


def window(word, x, low, high):
    return core(word, abs(x - (low + high) / 2) / ((high - low) / 2))


def by_formula(line, i):
    """The function of a line at atom i."""
    kind, *words = line.split()
    n = {"20": 1, "21": 2, "22": 2}.get(kind, 0)
    named, word = words[:n], words[-1]
    low, high, *angles = map(float, words[n:-1])
    symbols, z, positions = ATOMS.get_chemical_symbols(), ATOMS.numbers, ATOMS.positions
    others = [j for j in range(len(ATOMS)) if j != i]
    r = lambda j, k: np.linalg.norm(positions[k] - positions[j])  # noqa: E731
    if not angles:
        return sum((z[j] if not n else symbols[j] == named[0]) * window(word, r(i, j), low, high) for j in others)
    total = 0.0
    for j, k in itertools.combinations(others, 2):
        weight = z[j] * z[k] if not n else sorted((symbols[j], symbols[k])) == sorted(named)
        lengths = [r(i, j), r(i, k), *([r(j, k)] if kind in ("21", "24") else [])]
        theta = np.degrees(np.arccos((positions[j] - positions[i]) @ (positions[k] - positions[i]) / r(i, j) / r(i, k)))
        total += weight * np.prod([window(word, x, low, high) for x in lengths]) * window(word.rstrip("a"), theta, *angles)
    return total


def made(lines, length_unit=1.0):
    functions = sorted(read_function(line.split(), SPECIES, line) for line in lines)
    return functions, *descriptor_of([functions, functions], SPECIES, ["1"], length_unit=length_unit, where="here")


def test_by_formula():
    """All types and cores, in n2p2's order, in other units of length; neighbours beyond the centre of a window and before it."""
    lines = LINES.splitlines()
    functions, descriptor, columns = made(lines, length_unit=0.5)
    assert [f.core for f in functions[:8]] == ["e", "p1", *["p2"] * 5, "p3a"]
    graph = jaxpot.from_atoms(Atoms(ATOMS.symbols, positions=0.5 * ATOMS.positions), float(descriptor.reach), max_neighbors=5)
    values = np.asarray(quick_jit(lambda d, g: d(g))(descriptor, graph))[:, columns[0]]
    written = [f.line("O", SPECIES).split(maxsplit=2)[2] for f in functions]
    assert len(set(written)) == len(lines) and float(descriptor.reach) == 2.1
    expected = np.array([[by_formula(line, i) for line in written] for i in range(len(ATOMS))])
    assert np.all(np.max(np.abs(expected), axis=0) > 1e-3)
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)


def test_order():
    """Of n2p2: type, core, elements, upper radius, lower radius, angles."""
    lines = [*LINES.splitlines()[:8], "22 O O -4 4 90 270 p2", "22 O O -4 4 0 90 p2", "22 O O -4 4 0 60 p2", "22 O O -3 4 -60 60 p2", "22 H O -9 9 0 90 p2"]
    found = [f.line("O", SPECIES).split(maxsplit=3)[2:] for f in made(lines)[0]]
    assert [" ".join(words) for words in found] == [
        "20 O -3.8 3.8 e", "20 O -4.0 4.0 p1", "20 H -3.0 3.0 p2", "20 H -4.0 4.0 p2", "20 O -3.0 3.0 p2", "20 O 0.5 3.5 p2", "20 O -4.0 4.0 p2",
        "20 H 1.0 3.5 p3a", "22 H O -9.0 9.0 0.0 90.0 p2", "22 O O -4.0 4.0 0.0 60.0 p2", "22 O O -4.0 4.0 0.0 90.0 p2",
        "22 O O -4.0 4.0 90.0 270.0 p2", "22 O O -3.0 4.0 -60.0 60.0 p2",
    ]  # fmt: skip


def test_curvature_of_atoms_in_line():
    """Windows around 0° and 180° are one there, and smooth: f″(0) of the angle is not lost."""
    cores, curvatures = (PolynomialCore(1), PolynomialCore(2), BumpCore()), (-6.0, 0.0, -2.0)
    acsf = ACSF(("C",), tuple(CompactWide(PolynomialCore(2), one, low=-6.0, high=6.0, left=[-80.0, 100.0], right=[80.0, 260.0]) for one in cores))

    def values(x, across):
        vectors = jnp.stack([jnp.array([1.0, 0, 0]), jnp.stack([x, across, jnp.zeros(())])])
        none = jnp.zeros(2, int)
        return acsf.environment(jaxpot.Environment(vectors=vectors, species=none, center=jnp.array(0), index=none, mask=jnp.ones(2, bool)))

    second = jax.jacfwd(jax.jacfwd(values, 1), 1)
    found, second = quick_jit(jax.vmap(lambda x: (values(x, 0.0), second(x, 0.0))))(jnp.array([1.3, -1.3]))
    polynomial = np.polynomial.Polynomial([1, 0, 0, -10, 15, -6])
    near, far = polynomial(1 / 6), [polynomial.deriv(n)(1.3 / 6) / 6**n for n in range(2)]
    for side, angle in np.ndindex(2, 2):
        for i, curvature in enumerate(curvatures):
            across = near * (far[1] / 1.3 + far[0] * curvature / (np.radians(80) * 1.3) ** 2)
            is_inside = side == angle  # the other window ends before
            np.testing.assert_allclose(found[side, 2 * i + angle], near * far[0] * is_inside, rtol=1e-13)
            np.testing.assert_allclose(second[side, 2 * i + angle], across * is_inside, rtol=1e-9, atol=1e-12)


def test_cores():
    """One with slope zero at the centre, zero with slope zero at the end, and no derivative that is not a number."""
    cores = (PolynomialCore(1), BumpCore(), PolynomialCore(4), AsymmetricCore(PolynomialCore(2)))
    f = lambda x: jnp.stack([one(x**2) for one in cores])  # noqa: E731
    values, slopes, curvatures = quick_jit(jax.vmap(lambda x: (f(x), jax.jacfwd(f)(x), jax.jacfwd(jax.jacfwd(f))(x))))(jnp.array([0.0, 1.0, 1.5]))
    np.testing.assert_allclose(values, np.array([1, 0, 0])[:, None] * np.ones(4), atol=1e-14)
    np.testing.assert_allclose(slopes, 0, atol=1e-12)
    assert np.all(np.isfinite(curvatures))
    np.testing.assert_allclose(curvatures[0], [-6, -2, 0, 0], atol=1e-12)


def test_written_and_read(tmp_path):
    """With other functions, in other units."""
    p2 = PolynomialCore(2)
    sets = (
        G2(CosineCutoff(3.0), 0.5), CompactRadial(AsymmetricCore(p2), low=[-3.0, 1.0], high=3.0), CompactRadial(BumpCore(), -2.0, 2.0, mixing=[[1.0], [8.0]]),
        CompactNarrow(AsymmetricCore(p2), p2, low=-3.0, high=3.0, left=[0.0, 90.0], right=[120.0, 270.0]), CompactWide(p2, p2, 0.5, 2.5, -60.0, 60.0),
    )  # fmt: skip
    for functions in (sets, sets[1:]):
        model = AtomicPotential(ACSF(SPECIES, functions), MLP((3,)))
        write_n2p2(tmp_path / "new", model, length_unit=0.5, energy_unit=1.0)
        again = read_n2p2(tmp_path / "new", length_unit=0.5, energy_unit=1.0)
        lines = [line for line in (tmp_path / "new" / "input.nn").read_text().splitlines() if line.startswith("symfunction_short H")]
        assert "symfunction_short H 21 H O -6.0 6.0 90.0 270.0 p2a" in lines and "symfunction_short H 23 -4.0 4.0 e" in lines
        assert len(lines) == model.descriptor.n_features == again.terms[0].descriptor.n_features
        write_n2p2(tmp_path / "twice", again, length_unit=0.5, energy_unit=1.0)
        assert (tmp_path / "twice" / "input.nn").read_text() == (tmp_path / "new" / "input.nn").read_text()
    other = AtomicPotential(ACSF(SPECIES, (CompactWide(p2, PolynomialCore(3), 0.5, 2.5, -60.0, 60.0),)), MLP((3,)))
    with pytest.raises(TypeError, match="n2p2 has no CompactWide.*the plain one for angles"):
        write_n2p2(tmp_path / "new", other, length_unit=1.0, energy_unit=1.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("20 O -4.0 4.0", "expected 1 of the elements H O, then low, radius, and p1 to p4"),
        ("20 O -4.0 4.0 p5", "the core p5 is not implemented"),
        ("20 O -4.0 4.0 ea", "the core ea is not implemented"),
        ("20 O 4.0 4.0 p2", "expected low < high"),
        ("20 O -4.0 -1.0 p2", "expected high > 0"),
        ("21 O O -4.0 4.0 10.0 190.0 p2", "within 0 and 180 degrees, or around one of these"),
        ("22 O O -4.0 4.0 -10.0 90.0 p2", "within 0 and 180 degrees"),
        ("22 O O -4.0 4.0 -190.0 190.0 p2", "within 0 and 180 degrees"),
        ("22 O O -4.0 4.0 90.0 90.0 p2", "expected left < right"),
        ("25 O O -4.0 4.0 0.0 90.0 p2", "expected 0 of the elements H O, then low, radius, left, right, and p1 to p4"),
        ("26 -4.0 4.0 p2", "type 26 is not implemented"),
        ("23 −4.0 4.0 p2", "plain - for the minus"),
    ],
)
def test_refused_lines(line, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_function(line.split(), SPECIES, f"input.nn: {line}")
    assert "\n" not in str(caught.value) and line in str(caught.value)


def test_refused_types():
    with pytest.raises(TypeError, match="expected a core such as"):
        CompactRadial(CosineCutoff(4.0), -4.0, 4.0)
    with pytest.raises(TypeError, match="expected a core such as"):
        CompactWide(PolynomialCore(2), 2, -4.0, 4.0, 0.0, 90.0)
    for arguments in ({"low": [0.0, 1.0], "high": [4.0, 5.0, 6.0]}, {"low": [], "high": 1.0}, {"low": [[0.0]], "high": 1.0}):
        with pytest.raises(ValueError, match=r"CompactRadial\.(low|high) must"):
            CompactRadial(PolynomialCore(2), **arguments)
    with pytest.raises(ValueError, match="smoothness must be 1, 2, 3 or 4, got 5"):
        PolynomialCore(5)
