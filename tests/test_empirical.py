"""Pair potentials in closed form, how they end, mixing; tables and elements of many-body potentials; bad input."""

import catalog
import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from catalog import STRUCTURES, deviations, evaluate, quick_jit, relative, to_graph

import jaxpot as jp
from jaxpot.potentials.pair import geometric_mixing, lorentz_berthelot, waldman_hagler

COSINE = jp.CosineCutoff(3.0, width=1.0)
DIMER = Atoms("CSi", positions=[[0, 0, 0], [0, 0, 2.3]])
ARGON = dict(species=("C", "Si"), epsilon=0.4, sigma=1.7)


def lennard_jones(r):
    return 1.6 * ((1.7 / r) ** 12 - (1.7 / r) ** 6)


def slope(r):
    return 1.6 * (-12 * 1.7**12 / r**13 + 6 * 1.7**6 / r**7)


@pytest.mark.parametrize(
    ("cutoff", "expected"),
    [
        (jp.cutoffs.Step(3.0), lennard_jones(2.3)),
        (jp.cutoffs.Shifted(3.0), lennard_jones(2.3) - lennard_jones(3.0)),
        (jp.cutoffs.ForceShifted(3.0), lennard_jones(2.3) - lennard_jones(3.0) + 0.7 * slope(3.0)),
        (COSINE, lennard_jones(2.3) * 0.5 * (1 + np.cos(0.3 * np.pi))),
    ],
    ids=lambda x: type(x).__name__,
)
def test_how_a_pair_energy_ends(cutoff, expected):
    model = jp.empirical.LennardJones(**ARGON, cutoff=cutoff)
    assert float(evaluate(model, to_graph(DIMER)).energy) == pytest.approx(expected, rel=1e-14)
    beyond = to_graph(Atoms("CSi", positions=[[0, 0, 0], [0, 0, 3.0]]))
    assert float(evaluate(model, beyond).energy) == 0.0


def test_a_descriptor_cannot_end_by_subtraction():
    for cutoff in (jp.cutoffs.Shifted(3.0), jp.cutoffs.ForceShifted(3.0)):
        with pytest.raises(TypeError, match="Density.cutoff must be a Cutoff, got .*Shifted"):
            jp.Density(("Si",), cutoff, jp.GTO(2), 1, sigma=0.5)


def test_dimers():
    """Two of them apart, so that what is summed is a sum."""
    graph = to_graph(DIMER)
    for model, expected in (
        (jp.empirical.Morse(("Si", "C"), depth=0.3, alpha=1.4, minimum=2.0, cutoff=jp.cutoffs.Step(3.0)), 0.3 * (np.exp(-0.84) - 2 * np.exp(-0.42))),
        (jp.empirical.Buckingham(("Si", "C"), amplitude=50.0, rho=0.4, dispersion=7.0, cutoff=jp.cutoffs.Step(3.0)), 50 * np.exp(-5.75) - 7 / 2.3**6),
        (jp.empirical.CutCoulomb(("Si", "C"), charges=[0.5, -0.3], cutoff=jp.cutoffs.Step(3.0)), -14.399645 * 0.15 / 2.3),
    ):
        assert float(evaluate(model, graph).energy) == pytest.approx(expected, rel=1e-13)


def test_mixing():
    epsilon, sigma = np.array([0.2, 0.8]), np.array([1.5, 2.5])
    e, s = waldman_hagler(epsilon, sigma)
    assert s[0, 1] == pytest.approx(((1.5**6 + 2.5**6) / 2) ** (1 / 6)) and e[0, 1] == pytest.approx(2 * 0.4 * 1.5**3 * 2.5**3 / (1.5**6 + 2.5**6))
    for mixing in (waldman_hagler, geometric_mixing, lorentz_berthelot):
        e, s = mixing(epsilon, sigma)
        assert np.allclose(np.diag(e), epsilon) and np.allclose(np.diag(s), sigma)
        assert jp.empirical.LennardJones(("C", "Si"), e, s, cutoff=COSINE).epsilon.shape == (2, 2)
    assert lorentz_berthelot(epsilon, sigma)[1][0, 1] == 2.0 and geometric_mixing(epsilon, sigma)[1][0, 1] == pytest.approx(3.75**0.5)


def angles_one_by_one(model, atoms, reach):
    """The energy of a molecule by loops over atoms, pairs and triplets, as the docstring says it."""
    numbers, x = [model.species.index(s) for s in atoms.symbols], atoms.positions
    table = {name: np.broadcast_to(getattr(model, name), (2, 2)) for name in ("sigma", "a", "gamma", "A", "B", "p", "q")}
    table |= {name: np.broadcast_to(getattr(model, name), (2, 2, 2)) for name in ("epsilon", "lam", "cosine")}
    energies = np.zeros(len(atoms))
    for i, zi in enumerate(numbers):
        near = [j for j in range(len(atoms)) if j != i and np.linalg.norm(x[j] - x[i]) < table["a"][zi, numbers[j]] * table["sigma"][zi, numbers[j]]]
        r = {j: np.linalg.norm(x[j] - x[i]) for j in near}

        def h(j, width, zi=zi, r=r):
            z = numbers[j]
            return np.exp(width * table["sigma"][zi, z] / (r[j] - table["a"][zi, z] * table["sigma"][zi, z]))

        for j in near:
            zj = numbers[j]
            ratio = table["sigma"][zi, zj] / r[j]
            strength = table["A"][zi, zj] * table["epsilon"][zi, zj, zj]
            energies[i] += 0.5 * strength * (table["B"][zi, zj] * ratio ** table["p"][zi, zj] - ratio ** table["q"][zi, zj]) * h(j, 1)
            for k in near:
                if k > j:
                    zk = numbers[k]
                    cosine = (x[j] - x[i]) @ (x[k] - x[i]) / r[j] / r[k]
                    strength = table["lam"][zi, zj, zk] * table["epsilon"][zi, zj, zk]
                    energies[i] += strength * (cosine - table["cosine"][zi, zj, zk]) ** 2 * h(j, table["gamma"][zi, zj]) * h(k, table["gamma"][zi, zk])
    return energies


def test_stillinger_weber_one_by_one():
    """The moments are the sum over triplets, of any elements and shared out as said."""
    model, atoms = catalog.potential("stillinger-weber"), STRUCTURES["molecule"]
    got = catalog.quick_jit(type(model).energies)(model, catalog.graph("molecule"))[: len(atoms)]
    assert relative(got, angles_one_by_one(model, atoms, float(model.reach))) < 1e-13


@pytest.mark.parametrize("name", ["stillinger-weber", "tersoff", "eam", "finnis-sinclair"])
def test_the_order_of_elements_does_not_matter(name):
    model = catalog.potential(name)
    changes = {}
    for field in model.__dataclass_fields__:
        value = getattr(model, field)
        axes = {"embedding": 1, "density": 2 if name == "finnis-sinclair" else 1, "pair": 2}.get(field, np.ndim(value)) if np.shape(value) else 0
        for axis in range(axes):
            value = np.flip(value, axis)
        changes[field] = value
    other = model.replace(**changes | {"species": model.species[::-1]})
    for structure in ("molecule", "slab"):
        got, expected = evaluate(other, catalog.graph(structure)), evaluate(model, catalog.graph(structure))
        assert max(deviations(got, expected, len(STRUCTURES[structure])).values()) < 1e-13


def test_beyond_the_last_knots():
    """As in LAMMPS: F goes on with its last slope, functions of r keep their last value."""
    x = np.linspace(0, 2, 9)
    model = jp.empirical.EAM(("Si",), (x**2)[None], np.ones((1, 1, 9)), (3 + x)[None, None], density_step=0.25, step=0.25, cutoff=jp.cutoffs.Step(3.2))
    for n, rho in ((2, 1.0), (4, 3.0)):
        atoms = Atoms(f"Si{n}", positions=np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1]][:n]) * 0.9)
        pair = sum(min(3 + r, 5) / r for r in atoms.get_all_distances()[np.triu_indices(n, 1)])
        embedded = rho**2 if rho <= 2 else 4 + (rho - 2) * (4 - 1.75**2) / 0.25
        assert float(evaluate(model, to_graph(atoms)).energy) == pytest.approx(n * embedded + pair, rel=1e-14)


def test_prepared_tables_are_the_tables():
    """Energies, and their derivatives by tables, positions and cutoff."""
    model, graph = catalog.potential("finnis-sinclair"), catalog.graph("slab")

    def energy(prepared, model, graph):
        return jax.numpy.sum((jp.prepare(model) if prepared else model).energies(graph)[: len(STRUCTURES["slab"])])

    plain, fast = (
        quick_jit(jax.value_and_grad(lambda m, g, p=p: energy(p, m, g), argnums=(0, 1), allow_int=True))(model, graph) for p in (False, True)
    )
    for a, b in zip(jax.tree_util.tree_leaves(fast), jax.tree_util.tree_leaves(plain), strict=True):
        assert a.dtype == jax.dtypes.float0 or relative(a, b) < 1e-13


def test_a_potential_is_switched_where_the_core_knows_the_elements_in_another_order():
    core = jp.empirical.CoreRepulsion(("C", "Si"), [[30.0, 40.0], [35.0, 50.0]], 0.7, 3.1)
    flipped = core.replace(species=("Si", "C"), prefactor=[[50.0, 35.0], [40.0, 30.0]])
    energies = quick_jit(lambda core: jp.empirical.Switched(jp.empirical.LennardJones(**ARGON, cutoff=COSINE), core, jp.empirical.ByDistance(2.4, 0.4)).energies(to_graph(DIMER)))
    assert relative(energies(flipped), energies(core)) < 1e-14 and len(np.unique(energies(core)[:2])) == 2


def test_a_long_list_does_not_overflow():
    """Distances far beyond Tersoff's reach stay out of its exponential."""
    model = jp.empirical.Tersoff(
        ("Si",), A=3264.7, B=95.373, lambda1=3.2394, lambda2=1.3258, beta=0.33675, n=22.956, c=4.8381, d=2.0417, cosine=0.0,
        lambda3=1.3258, gamma=1.0, R=3.0, D=0.2,
    )  # fmt: skip
    far, near = (evaluate(model, jp.from_atoms(bulk("Si"), cutoff)) for cutoff in (14.0, 3.3))
    assert relative(far.energy, near.energy) < 1e-13 and np.allclose(far.virial, near.virial, atol=1e-12)


BAD = [
    (lambda: jp.empirical.Morse(("C", "Si"), depth=[1.0, 2.0], alpha=1.0, minimum=1.0, cutoff=COSINE), r"depth must have shape \[\] or \[2, 2\]"),
    (lambda: jp.empirical.Buckingham(("C", "Si"), amplitude=[[1.0, 2.0], [3.0, 1.0]], rho=1.0, dispersion=0.0, cutoff=COSINE), "amplitude must be symmetric"),
    (lambda: jp.empirical.CutCoulomb(("C", "Si"), charges=0.5, cutoff=COSINE), r"charges must have shape \[2\]"),
    (lambda: catalog.potential("stillinger-weber").replace(lam=np.ones((2, 2))), r"lam must have shape \[\] or \[2, 2, 2\]"),
    (lambda: catalog.potential("stillinger-weber").replace(sigma=[[1.0, 2.0], [1.0, 1.0]]), "sigma must be symmetric"),
    (lambda: catalog.potential("stillinger-weber").replace(a=-1.0), "must not be negative"),
    (lambda: catalog.potential("tersoff").replace(D=-0.1), "D must be ≥ 0"),
    (lambda: catalog.potential("tersoff").replace(n=0.0), "n must be > 0"),
    (lambda: catalog.potential("tersoff").replace(m=2), "m must be 1 or 3"),
    (lambda: catalog.potential("tersoff").replace(beta=np.nan), "beta must be finite"),
    (lambda: catalog.potential("tersoff-modified").replace(chunk=0), "chunk must be a positive number"),
    (lambda: catalog.potential("tersoff-modified").replace(eta=-1.0), "eta must be > 0"),
    (lambda: jp.empirical.Switched(*[jp.molecules.Bonds(("Si",), [[0, 1]], 1.0, 2.0)] * 2, jp.empirical.ByDistance(2.0, 0.5)), "two potentials, got Bonds and Bonds; .* each atom's own"),
    (lambda: catalog.potential("eam").replace(embedding=np.ones(9)), r"embedding must have shape \[2, n\]"),
    (lambda: catalog.potential("eam").replace(density=np.ones((2, 2, 9))), "on the grid of pair"),
    (lambda: catalog.potential("eam").replace(pair=np.arange(68.0).reshape(2, 2, 17)), "pair must be symmetric"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
