"""The blocks of the learning curves are kernels and fits of the library."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from catalog import quick_jit, relative

import jaxpot as jp

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "learning_curves"))

import kernels
import representations

NAMES = ("CH4", "H2O", "NH3", "C2H4", "CH3OH")
MOLECULES = [molecule(name) for name in NAMES]
SETTINGS = {
    "CM": ({}, "laplacian", 50.0, jp.kernels.Laplacian(50.0)),
    "BoB": ({}, "laplacian", 50.0, jp.kernels.Laplacian(50.0)),
    "FCHL19": ({"cutoff": 5.0}, "gaussian", 2.0, jp.kernels.SquaredExponential(2.0)),
    "SOAP": ({"cutoff": 4.0, "width": 1.0, "n_max": 2, "l_max": 1, "sigma": 0.5}, "polynomial", 2.0, jp.PolynomialKernel(2.0)),
}


@pytest.mark.parametrize("name", ["BoB", "FCHL19", *(pytest.param(name, marks=pytest.mark.slow) for name in ("CM", "SOAP"))])
def test_kernels_and_predictions(name, tmp_path, monkeypatch):
    """Small blocks, half of them by symmetry; features from the cache the second time; an interrupted run goes on. Predictions are those of
    `fit.linear` on a `StructureGP` whose references are the training molecules."""
    settings, kind, scale, kernel = SETTINGS[name]
    monkeypatch.setattr(kernels, "ROWS", 2)
    monkeypatch.setattr(kernels, "COLUMNS", 2)
    monkeypatch.setattr(kernels, "_PAD", 8)
    representations.load(name, settings, MOLECULES, tmp_path)
    monkeypatch.setattr(representations, "graphs", None)
    found = representations.load(name, settings, MOLECULES, tmp_path)
    descriptor = representations.make(name, settings, MOLECULES)
    is_local = isinstance(descriptor, jp.descriptors.Descriptor)
    model = jp.potentials.StructureGP(descriptor, kernel, jp.kernels.Average(), normalize=False, extensive=is_local, jitter=1e-10)
    graphs = [jp.from_atoms(a, max(float(descriptor.reach), 1.0), max_atoms=6, max_neighbors=5) for a in MOLECULES]
    n = np.array([len(a) for a in MOLECULES]) if is_local else np.ones(5)
    precision = np.asarray(quick_jit(lambda m: m.precision())(model.with_points(graphs)))
    path = tmp_path / "kernel.npy"
    k = kernels.kernel_matrices(kind, found.take(range(5)), None, [scale, 2 * scale], path=path)
    assert k.shape == (2, 5, 5) and relative(k[0], precision * np.outer(n, n) - 1e-10 * np.diag(n**2)) < 1e-6
    assert np.array_equal(k, np.swapaxes(k, 1, 2))

    expected = np.array(k)
    path.with_suffix(".done").write_text("2")
    k[:, 2:, 2:] = 0
    assert relative(kernels.kernel_matrices(kind, found.take(range(5)), None, [scale, 2 * scale], path=path), expected) < 1e-14
    rows = kernels.kernel_matrices(kind, found.take([3, 4]), found.take([0, 1, 2]), [scale])[0]
    assert relative(rows, expected[0][3:, :3]) < 1e-12

    energies, noise = np.array([-1.0, -2.0, -1.5]), 1e-2
    frames = [a.copy() for a in MOLECULES[:3]]
    for atoms, energy in zip(frames, energies, strict=True):
        atoms.info["energy"] = energy
    data = jp.Dataset.from_atoms(frames, max(float(descriptor.reach), 1.0), sigma=jp.Properties(energy=noise))
    fitted = jp.fit.linear(model.with_points(graphs[:3]), data, progress=False)
    predict = quick_jit(type(fitted).__call__)
    weights = np.linalg.solve(expected[0][:3, :3] + noise**2 * np.eye(3), energies)
    predicted = np.array([float(predict(fitted, g)) for g in graphs[3:]])
    assert relative(predicted, rows @ weights) < 1e-5  # features in the cache are in single precision
    assert np.isfinite(predicted).all()


def test_other_shapes_are_refused(tmp_path):
    one = kernels.Set((np.ones((2, 3)),), (np.arange(3),))
    path = tmp_path / "k.npy"
    kernels.kernel_matrices("gaussian", one, None, [1.0], path=path)
    with pytest.raises(ValueError, match="expected"):
        kernels.kernel_matrices("gaussian", one, None, [1.0, 2.0], path=path)
