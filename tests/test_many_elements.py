"""Many elements: priors and channels in which they are alike, what a model has seen around each, and that predictions name the rest."""

import warnings

import ase.io
import jax
import numpy as np
import optax
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

import jaxpot as jp
from jaxpot.cli import main
from jaxpot.descriptors import element_channels
from jaxpot.potentials.combinations import combinations, never_seen, unseen

SPECIES = ("Cu", "Ag", "Au")


def alloy(*symbols, seed=0):
    atoms = bulk("Cu", cubic=True, a=3.9)
    atoms.symbols[:] = list(symbols)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


BINARIES = [alloy(a, a, b, b, seed=seed) for seed, (a, b) in enumerate([("Cu", "Ag"), ("Ag", "Au"), ("Cu", "Au")] * 2)]
TERNARY = alloy("Cu", "Ag", "Au", "Au", seed=9)


def model():
    density = jp.Density(
        SPECIES, jp.cutoffs.PowerCutoff(4.5), jp.radial.Agnesi(4, nearest=2.7), 2, sigma=None, center_weight=0.0, channels=element_channels(SPECIES)
    )  # fmt: skip
    ace = jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((3, 2))), jp.Linear(difference=0.3))
    return ace + jp.IsolatedAtoms(dict.fromkeys(SPECIES, 0.0))


@pytest.fixture(scope="module")
def fitted():
    return jp.fit.linear(model(), BINARIES, sigma=jp.noise_levels(0.01, 0.1))


def test_counts():
    graph = jp.from_atoms(TERNARY, 4.5)
    counts = np.array(combinations(SPECIES, np.array(3.2), graph))
    for z, symbol in enumerate(SPECIES):
        for i in (k for k, own in enumerate(TERNARY.symbols) if own == symbol):
            vectors = TERNARY.positions[None] + np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])[:, None] @ TERNARY.cell.array
            r = np.linalg.norm(vectors - TERNARY.positions[i], axis=-1)
            near = np.any((r < 3.2) & (r > 1e-6), axis=0)
            there = np.array([np.any(near & (TERNARY.symbols == s)) for s in SPECIES], float)
            counts[z] -= np.outer(there, there)
    np.testing.assert_array_equal(counts, 0)
    padded = jp.from_atoms(TERNARY, 4.5, max_atoms=7)
    np.testing.assert_array_equal(combinations(SPECIES, np.array(3.2), padded), combinations(SPECIES, np.array(3.2), graph))


def test_only_what_was_not_there_is_named(fitted, tmp_path, capsys):
    assert unseen(fitted, jp.from_atoms(BINARIES[1], 4.5)) == ()
    names = unseen(fitted, jp.from_atoms(TERNARY, 4.5))
    assert names == ("Cu with Ag and Au around it", "Ag with Cu and Au around it", "Au with Cu and Ag around it")
    jp.save(tmp_path / "model.npz", fitted)
    assert unseen(jp.load(tmp_path / "model.npz"), jp.from_atoms(TERNARY, 4.5)) == names
    assert never_seen(fitted) == names and main(["info", str(tmp_path / "model.npz")]) == 0 and names[0] in capsys.readouterr().out
    assert unseen(model(), jp.from_atoms(TERNARY, 4.5)) == ()  # nothing is known of its data


def test_predictions_warn(fitted):
    with pytest.warns(UserWarning, match="Cu with Ag and Au around it"):
        jp.fit.report(fitted, [TERNARY])
    atoms = TERNARY.copy()
    atoms.calc = jp.Calculator(fitted)
    with pytest.warns(UserWarning, match="Au with Cu and Ag around it"):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.rattle(0.3, seed=1)
        atoms.get_potential_energy()  # said once
        jp.fit.report(fitted, BINARIES)


def test_dynamics_warns(fitted, tmp_path):
    """At the start, and when atoms that the fit never had together meet; of each combination once."""
    chain = Atoms("CuAgAu", [[0, 0, 0], [2.7, 0, 0], [7.5, 0, 0]], momenta=[[0, 0, 0], [0, 0, 0], [-60.0, 0, 0]])
    options = {"ensemble": jp.md.NVE(timestep=1.0), "interval": 4, "progress": False}
    start = jax.jit(jp.evaluate)(fitted, jp.from_atoms(chain, 4.5))
    assert unseen(fitted, jp.from_atoms(chain, 4.5)) == () and np.all(np.isfinite(start.forces))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        jp.md.run(fitted, chain, tmp_path / "a.xyz", steps=40, **options)
    said = [str(warning.message) for warning in said if "no structure of the fit had" in str(warning.message)]
    frames = [unseen(fitted, jp.from_atoms(atoms, 4.5)) for atoms in ase.io.read(tmp_path / "a.xyz", ":")]
    expected = [new for i, names in enumerate(frames) if (new := [name for name in names if not any(name in before for before in frames[:i])])]
    assert expected and frames[0] == () and len(said) == len(expected)
    assert all(text.startswith(f"md.run: no structure of the fit had {', '.join(new)};") for text, new in zip(said, expected, strict=True))
    with pytest.warns(UserWarning, match="md.run: no structure of the fit had Cu with Ag and Au around it, Ag with Cu and Au around it, Au with"):
        jp.md.run(fitted, ase.io.read(tmp_path / "a.xyz", -1)[[0, 1]] + Atoms("Au", [[2.0, 2.0, 0]]), tmp_path / "b.xyz", steps=1, **options)


def test_every_fit_knows(fitted):
    data = jp.Dataset.from_atoms(BINARIES, 4.5, sigma=jp.noise_levels(0.01, 0.1))
    seen = np.asarray(fitted.terms[0].seen)
    known = jp.fit.posterior(model(), data)
    np.testing.assert_array_equal(known.model.terms[0].seen, seen)
    trained, _ = jp.fit.train(fitted, data.subset([0, 3]), optax.adam(1e-3), steps=1)
    assert np.sum(trained.terms[0].seen[2]) == 0 < np.sum(trained.terms[0].seen[:2, :2, :2])  # no gold
    updated = jp.fit.update(known, jp.Dataset.from_atoms([TERNARY], 4.5, sigma=jp.noise_levels(0.01, 0.1)))
    assert unseen(updated.model, jp.from_atoms(TERNARY, 4.5)) == ()
    jax.grad(lambda m: jp.evaluate(m, jp.from_atoms(TERNARY, 4.5)).energy)(fitted)


def term(species, difference):
    density = jp.Density(species, jp.cutoffs.PowerCutoff(3.6), jp.radial.Agnesi(3, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
    return jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((2,))), jp.Linear(scale=2.0, difference=difference))


def test_elements_differ_by_so_much_a_priori():
    of = {difference: term(("Si", "C", "O"), difference) for difference in (0.3, 1e3, None)}
    covariance = np.linalg.inv(of[0.3].precision())
    own = of[0.3].descriptor.n_features
    np.testing.assert_allclose(np.diagonal(covariance), 4.0)
    np.testing.assert_allclose(covariance[0, [own, 2 * own, 1, own + 1]], [4 / 1.09, 4 / 1.09, 0, 0], atol=1e-12)
    np.testing.assert_allclose(of[1e3].precision(), of[None].precision(), rtol=1e-5, atol=1e-6)
    one = [term(("Si",), difference).precision() for difference in (0.1, None)]
    np.testing.assert_allclose(*one, rtol=1e-13)


def test_channels_of_elements():
    channels = element_channels(("Mo", "Nb", "Ta", "W"), 4, 0.3)
    np.testing.assert_allclose(channels[:, 0], 1)
    np.testing.assert_allclose(np.mean(channels**2, axis=0), [1, 0.09, 0.09, 0.09])
    np.testing.assert_allclose(channels.T @ channels, np.diag([4, 0.36, 0.36, 0.36]), atol=1e-12)
    np.testing.assert_allclose(element_channels(("Mo", "Nb", "Ta", "W"), 2), channels[:, :2])
    assert element_channels(("Si",)).tolist() == [[1.0]]
    assert np.linalg.matrix_rank(element_channels(("Ce", "Pr", "Nd"), 3)) == 3
    for bad in ({"n": 0}, {"difference": 0.0}):
        with pytest.raises(ValueError, match="element_channels"):
            element_channels(("Si", "C"), **bad)


def test_small_channels_stay_small_where_forces_set_the_prior():
    """What makes forces equal must not make the channels equal that tell elements apart."""

    def scales(difference):
        channels = jp.descriptors.element_channels(("Cu", "Au"), difference=difference)
        density = jp.Density(
            ("Cu", "Au"), jp.cutoffs.PowerCutoff(4.0), jp.radial.Agnesi(3, nearest=2.6), l_max=1, sigma=None, center_weight=0.0, channels=channels
        )
        model = jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((2, 2))), jp.Linear())
        return model, jp.fit.force_scales(model, [atoms])

    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.symbols[1] = "Au"
    atoms.rattle(0.1, seed=0)
    (model, wide), (_, narrow) = scales(1.0), scales(0.1)
    np.testing.assert_allclose(narrow, wide, rtol=1e-12)
    n_max = model.descriptor.expansion.n_max
    small = np.array([sum(q // n_max > 0 for q, _ in factors) for factors, _ in model.descriptor.labels()])
    assert {0, 1, 2} == set(small)  # so what a function makes is 0.1 of that of the same function at full size, once for every factor that is small
