"""Labels, noise levels and buckets."""

import ase
import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import jaxpot as jp

SIGMA = jp.noise_levels(0.001, 0.1, 0.05, config_types={"liquid": (0.003, 0.2, None)})


def labelled(n=2, seed=0, **labels):
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=n > 2)
    atoms = atoms.repeat((max(1, n // 8), 1, 1)) if n > 2 else atoms
    atoms.rattle(0.1, seed=seed)
    stress = rng.normal(size=6)
    atoms.calc = SinglePointCalculator(atoms, **({"energy": 1.0, "forces": rng.normal(size=(len(atoms), 3)), "stress": stress} | labels))
    return atoms


def test_labels_from_the_calculator_with_ase_signs():
    atoms = labelled()
    data = jp.Dataset.from_atoms([atoms], 4.0, sigma=SIGMA)
    _, structure = next(data.structures())
    assert float(structure.targets.energy) == 1.0
    np.testing.assert_array_equal(structure.targets.forces, atoms.get_forces())
    np.testing.assert_allclose(structure.targets.virial, -atoms.get_volume() * atoms.get_stress(voigt=False))
    np.testing.assert_allclose(structure.sigma.energy, 0.001 * np.sqrt(2))
    np.testing.assert_allclose(structure.sigma.virial, 0.05 * np.sqrt(2))


def test_keys_choose_where_labels_are():
    atoms = bulk("Si")
    atoms.info |= {"dft_energy": -3.0, "dft_virial": np.arange(9.0).reshape(3, 3) + np.arange(9.0).reshape(3, 3).T}
    atoms.arrays["dft_force"] = np.ones((2, 3))
    keys = {"energy": "dft_energy", "forces": "dft_force", "virial": "dft_virial"}
    _, structure = next(jp.Dataset.from_atoms([atoms], 4.0, sigma=SIGMA, keys=keys).structures())
    assert float(structure.targets.energy) == -3.0 and float(structure.targets.virial[0, 1]) == 4.0


def test_missing_labels_have_infinite_sigma_and_no_target():
    frames = [labelled(), bulk("Si")]
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=SIGMA)
    missing = dict(data.structures())[1]
    for target, sigma in zip(jax.tree_util.tree_leaves(missing.targets), jax.tree_util.tree_leaves(missing.sigma), strict=True):
        assert np.all(np.isnan(target)) and np.all(np.isinf(sigma))


def test_noise_by_configuration_type():
    atoms = labelled()
    atoms.info["config_type"] = "liquid"
    data = jp.Dataset.from_atoms([atoms, labelled()], 4.0, sigma=SIGMA)
    liquid = dict(data.structures())[0]
    np.testing.assert_allclose(liquid.sigma.forces, 0.2)
    assert np.all(np.isinf(liquid.sigma.virial))
    assert data.config_types == ("liquid", "default")


def test_buckets_share_shapes_and_lose_nothing():
    frames = [labelled(n, seed) for seed, n in enumerate([2, 2, 8, 16, 8, 2, 64, 2])]
    data = jp.Dataset.from_atoms(frames, 4.0, sigma=SIGMA, batch_size=3)
    assert sorted(i for ids in data.index for i in ids if i >= 0) == list(range(8))
    for frame, structure in data.structures():
        n = len(frames[frame])
        assert int(np.sum(structure.graphs.numbers > 0)) == n == data.n_atoms[frame]
        np.testing.assert_array_equal(structure.graphs.positions[:n], frames[frame].positions)
        assert np.all(np.isinf(structure.sigma.forces[n:]))
    part = data.subset([6, 1])
    assert len(part) == 2 and dict(part.structures())[0].graphs.numbers.shape[0] >= 64
    with pytest.raises(ValueError, match="of 8 asked for"):
        data.subset([9])


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([], {}, "no frames"),
        ([bulk("Si")], {}, "no frame has energy.*keys"),
        ([labelled(forces=np.ones((3, 3)))], {}, r"frame 0: forces must have shape \[2, 3\]"),
        ([labelled(), labelled(energy=np.nan)], {}, "frame 1: energy"),
        ([labelled(stress=np.arange(5.0))], {}, "6 or 9 entries"),
        ([labelled(stress=np.arange(9.0).reshape(3, 3))], {}, "not symmetric"),
        ([ase.Atoms("Si2", positions=np.zeros((2, 3)))], {}, "frame 0: atoms 0 and 1 are at the same place"),
        ([labelled()], {"keys": {"enrgy": "e"}}, "unknown properties"),
        ([labelled()], {"keys": {"energy": "dft"}}, "no frame has energy under the key 'dft'"),
        ([labelled()], {"sigma": jp.Properties(energy=0.0)}, "must be positive"),
        ([labelled()], {"sigma": jp.Properties(forces=np.ones(5))}, "must be a number or"),
    ],
)
def test_bad_data_are_refused(frames, options, message):
    with pytest.raises(ValueError, match=message):
        jp.Dataset.from_atoms(frames, 4.0, **({"sigma": SIGMA} | options))


def test_noise_levels_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        jp.noise_levels(0.001, -0.1)
