"""`jaxpot plot` of results of fits and of trajectories: what is drawn is what is in the files."""

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

import jaxpot as jp
from jaxpot import cli_plot
from jaxpot.cli import main
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones
from jaxpot.md.files import frames_of

LJ = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(5.0, width=1.0))


def drawn(arguments, monkeypatch):
    """The figure of a command line."""
    kept = []

    def keep(figure, path, **options):
        kept.append((figure, path))

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", keep)
    assert main(["plot", *map(str, arguments), "a.png"]) == 0
    ((figure, path),) = kept
    assert path == "a.png"
    return figure


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(["plot", *map(str, arguments), "a.png"]) == 2
    return capsys.readouterr().err


def results(n, energy, force):
    def report(n, energy, force):
        one = {"energy": {"mae": energy / 2, "rmse": energy, "n": n, "unit": "eV/atom"}, "forces": {"mae": force / 2, "rmse": force, "n": 9 * n, "unit": "eV/Å"}}
        return {"all": one, "crystal": {"energy": {"mae": 9.0, "rmse": 9.0, "n": 1, "unit": "eV/atom"}}}

    return {"train": report(n, 0.0, 0.0), "test": report(7, energy, force)}


@pytest.fixture
def fits(tmp_path):
    for name, errors in {"a": results(10, 0.004, 0.4), "b": results(40, 0.002, 0.2), "c": results(10, 0.006, 0.2)}.items():
        (tmp_path / "fits" / name).mkdir(parents=True)
        (tmp_path / "fits" / name / "errors.json").write_text(json.dumps(errors))
    (tmp_path / "fits" / "unfinished").mkdir()
    return tmp_path / "fits"


def test_learning_curve(fits, monkeypatch):
    files = [fits / name / "errors.json" for name in "abc"]
    for given in ([fits], files, [fits / "a", files[1], fits / "c"]):
        energy, forces = drawn(given, monkeypatch).axes
        (mean, points), (mean_force, _) = energy.lines, forces.lines
        np.testing.assert_allclose(mean.get_xydata(), [[10, 5.0], [40, 2.0]])  # meV/atom
        np.testing.assert_allclose(sorted(points.get_xydata().tolist()), [[10, 4.0], [10, 6.0], [40, 2.0]])
        np.testing.assert_allclose(mean_force.get_xydata(), [[10, 0.3], [40, 0.2]])
        assert energy.get_ylabel() == "RMSE, energy (meV/atom)" and forces.get_ylabel() == "RMSE, force component (eV/Å)"
        assert energy.get_xscale() == energy.get_yscale() == "log" and energy.get_xlabel() == "structures fitted"


def test_learning_curves_that_are_none(fits, capsys):
    assert "two different ones, got [10] for 1 reports" in refused(capsys, fits / "a")
    assert "no errors.json in" in refused(capsys, fits / "unfinished")
    for lacking, errors in {"train": {"train": {}}, "all": results(1, 1.0, 1.0)["test"]}.items():
        (fits / "b" / "errors.json").write_text(json.dumps(errors))
        assert f"b/errors.json has {lacking}" in refused(capsys, fits)
    (fits / "b" / "errors.json").write_text(json.dumps({"train": {"all": {}}, "test": {}}))
    assert "has no energies of training" in refused(capsys, fits)
    assert "plot takes one model or trajectory, or the results of several fits" in refused(capsys, fits, "model.npz")
    assert "--segment belongs to the spectrum of a trajectory" in refused(capsys, fits, "--segment", 4)
    with pytest.raises(ValueError, match="quantity"):
        jp.fit.plot_learning_curve([1, 2], [{}, {}], quantity="r2")
    with pytest.raises(ValueError, match="no common property"):
        jp.fit.plot_learning_curve([1, 2], [{"all": {"energy": {}}}, {"all": {"forces": {}}}])


def wave(n=400, interval=2.0, terahertz=10.0, **more):
    """Two charges on a spring, whose bond oscillates; it crosses the border of the cell."""
    frames, w = [], 2e-3 * np.pi * terahertz
    for i in range(n):
        shift = 0.3 * np.sin(w * interval * i)
        atoms = Atoms("NaCl", [[9.9 + shift, 5, 5], [2.6 - shift, 5, 5]], cell=[10.0] * 3, pbc=True, masses=[20.0, 20.0], info={"time": interval * i, **more})
        speed = 0.3 * w * np.cos(w * interval * i) / units.fs
        atoms.set_momenta([[20 * speed, 0, 0], [-20 * speed, 0, 0]])
        atoms.wrap()
        frames.append(atoms)
    return frames


def test_vibrational_density(tmp_path, monkeypatch, capsys):
    """A line at the frequency, of integral one; intervals are read or given."""
    ase.io.write(tmp_path / "run.xyz", wave())
    for options, where in (((), 10.0), (("--interval", 4.0), 5.0), (("--segment", 200), 10.0)):
        (axis,) = drawn([tmp_path / "run.xyz", *options], monkeypatch).axes
        frequencies, values = axis.lines[0].get_xydata().T
        assert frequencies[np.argmax(values)] == pytest.approx(where) and np.sum(values) * frequencies[1] == pytest.approx(1.0)
        assert len(values) == (101 if "--segment" in options else 51)
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("frequency (THz)", "vibrational density of states (1/THz)")


def test_infrared(tmp_path, monkeypatch, capsys):
    """Of the dipole of fixed charges, as `infrared` has it of the bond, which a wrapped atom does not change."""
    ase.io.write(tmp_path / "run.traj", wave(temperature=250.0))
    jp.save(tmp_path / "charges.npz", jp.longrange.FixedCharges(("Na", "Cl"), values=[1.0, -1.0]))
    (axis,) = drawn([tmp_path / "run.traj", "--dipoles", tmp_path / "charges.npz", "--segment", 80], monkeypatch).axes
    dipoles = np.array([[0.6 * np.sin(2e-3 * np.pi * 10.0 * 2.0 * i), 0, 0] for i in range(400)])
    expected = jp.observables.infrared(dipoles, 2.0, temperature=250.0, volume=1000.0, segment=80)
    np.testing.assert_allclose(axis.lines[0].get_xydata().T, expected, rtol=1e-6, atol=1e-9 * np.max(expected.values))
    assert axis.get_ylabel() == "refractive index × infrared absorption (1/cm)"
    ase.io.write(tmp_path / "cold.xyz", wave(8))
    assert "without `temperature`" in refused(capsys, tmp_path / "cold.xyz", "--dipoles", tmp_path / "charges.npz")
    jp.save(tmp_path / "lj.npz", jp.IsolatedAtoms({"Na": 0.0, "Cl": 0.0}))
    assert "IsolatedAtoms predicts no dipole" in refused(capsys, tmp_path / "run.traj", "--dipoles", tmp_path / "lj.npz")
    assert "holds a FixedCharges; expected a potential" in refused(capsys, tmp_path / "charges.npz")


def test_trajectories_without_a_spectrum(tmp_path, capsys):
    frames = wave(12)
    ase.io.write(tmp_path / "a.xyz", frames[:3] + frames[5:])
    assert "has frames 2 to 6 fs apart; a spectrum needs many at equal times" in refused(capsys, tmp_path / "a.xyz")
    ase.io.write(tmp_path / "a.xyz", frames[:1])
    assert "has one frame" in refused(capsys, tmp_path / "a.xyz")
    ase.io.write(tmp_path / "a.xyz", [*frames, Atoms("Ne")])
    assert "has structures of different atoms" in refused(capsys, tmp_path / "a.xyz")
    for atoms in frames:
        del atoms.arrays["momenta"]
    ase.io.write(tmp_path / "a.xyz", frames)
    assert "has no momenta" in refused(capsys, tmp_path / "a.xyz")
    assert "segment must be from 4 to the 12 steps" in refused(capsys, (tmp_path / "b.xyz", ase.io.write(tmp_path / "b.xyz", wave(12)))[0], "--segment", 13)
    for atoms in frames:
        del atoms.info["time"]
    ase.io.write(tmp_path / "a.xyz", frames)
    assert "write --interval FS" in refused(capsys, tmp_path / "a.xyz")
    assert "--interval must be a number of fs > 0" in refused(capsys, tmp_path / "a.xyz", "--interval", 0)


def test_every_kind_of_trajectory(tmp_path):
    pytest.importorskip("h5py")
    found = []
    for ending in ("xyz", "traj", "h5"):
        path = tmp_path / f"run.{ending}"
        jp.md.run(LJ, bulk("Ar", a=5.3, cubic=True), path, ensemble=jp.md.NVE(80.0, 2.0), steps=16, interval=2, progress=False)
        figure = cli_plot._spectrum(path, None, None, None)
        found.append(figure.axes[0].lines[0].get_xydata())
        frames = frames_of(path)
        assert len(frames) == 9 and [atoms.info["time"] for atoms in frames] == [4.0 * i for i in range(9)] and frames[0].pbc.all()
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], rtol=1e-5, atol=1e-8)
