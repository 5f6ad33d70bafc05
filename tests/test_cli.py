"""The command line, in process: fit, evaluate, md, info, and everything a user can get wrong."""

import functools
import gzip
import json
import operator
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import ase.io
import jax
import jsonschema
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian, FixedPlane, Hookean

import jaxpot
from jaxpot import md
from jaxpot.cli import main
from jaxpot.io.config import model_from_table, table_from_model, to_toml
from jaxpot.io.fit_config import read_config, resolve
from jaxpot.io.start import mobile
from jaxpot.md import driver
from jaxpot.properties import OBSERVABLES

ROOT = Path(__file__).resolve().parent.parent

LJ = jaxpot.empirical.LennardJones(("Si",), epsilon=0.3, sigma=2.1, cutoff=jaxpot.cutoffs.PolynomialCutoff(3.4, width=1.0))

CONFIG = """
[data]
train = "train*.xyz"
index = "0:5"
test_index = "5:"
keys = {energy = "energy", forces = "forces", stress = "stress"}
[noise]
energy = 0.001
forces = 0.01
virial = 0.02
config_types = {strained = [0.002, 0.02, "none"]}
[[model.terms]]
class = "AtomicPotential"
head = {class = "SparseGP", kernel = {class = "PolynomialKernel", zeta = 2.0}, jitter = 1.0}
[model.terms.descriptor]
class = "SOAP"
expansion = {class = "Density", species = ["Si"], cutoff = {class = "CosineCutoff", radius = 3.2}, radial = {class = "GTO", n_max = 2}, l_max = 1, sigma = 0.6}
[[model.terms]]
class = "IsolatedAtoms"
energies_of = "mean"
[sparse]
n = 4
"""


evaluate = jax.jit(jaxpot.evaluate)


def labelled(atoms, **info):
    found = evaluate(LJ, jaxpot.from_atoms(atoms, 3.4, max_neighbors=20))
    volume = atoms.get_volume()
    stress = -np.asarray(found.virial) / volume
    atoms.calc = SinglePointCalculator(
        atoms, energy=float(found.energy), forces=np.asarray(found.forces), stress=stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    )
    atoms.info.update(info)
    return atoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, a configuration and its fit."""
    folder = tmp_path_factory.mktemp("cli")
    frames = []
    for seed in range(6):
        atoms = bulk("Si", a=5.3 + 0.05 * seed)
        atoms.rattle(0.1, seed=seed)
        frames.append(labelled(atoms, config_type="strained" if seed in (0, 5) else "crystal"))
    ase.io.write(folder / "train.xyz", frames, format="extxyz")
    (folder / "fit.toml").write_text(CONFIG)
    jaxpot.save(folder / "lj.npz", LJ)
    start = bulk("Si", a=5.4, cubic=True)
    start.rattle(0.02, seed=1)
    ase.io.write(folder / "start.xyz", start, format="extxyz")
    assert main(["fit", str(folder / "fit.toml"), "--output", str(folder / "out")]) == 0
    return folder


def refused(capsys, *arguments, code=2):
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == code
    err = capsys.readouterr().err
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("jaxpot: error: "), err
    return lines[0]


def test_fit_writes_model_errors_and_a_configuration_that_gives_the_same_model(folder, tmp_path, capsys):
    out = folder / "out"
    assert not (out / "fit-state.npz").exists()
    model = jaxpot.load(out / "model.npz")
    errors = json.loads((out / "errors.json").read_text())
    assert errors["train"]["all"]["energy"]["n"] == 5 and errors["test"]["all"]["forces"]["n"] == 6
    assert errors["train"]["strained"].keys() == {"energy", "forces"}
    resolved = tomllib.loads((out / "config.resolved.toml").read_text())
    frames = ase.io.read(folder / "train.xyz", ":5")
    mean = np.mean([a.get_potential_energy() / len(a) for a in frames])
    assert resolved["model"]["terms"][1]["energies_of"]["Si"] == pytest.approx(mean, abs=1e-12)
    assert resolved["sparse"] == {"n": 4, "method": "cur", "seed": 0} and resolved["fit"] == {"method": "qr", "covariance": False}
    assert resolved["model"]["terms"][0]["head"]["delta"] == 1.0 and resolved["data"]["cutoff"] == 3.2
    assert main(["fit", str(out / "config.resolved.toml"), "--output", str(tmp_path / "again")]) == 0
    assert jaxpot.load(tmp_path / "again" / "model.npz") == model
    assert (tmp_path / "again" / "config.resolved.toml").read_text() == (out / "config.resolved.toml").read_text()
    text = capsys.readouterr().out
    assert "train\n" in text and "test\n" in text and "crystal" in text


def test_a_finished_fit_is_not_repeated(folder, capsys):
    before = (folder / "out" / "model.npz").stat().st_mtime_ns
    assert main(["fit", str(folder / "fit.toml"), "--output", str(folder / "out")]) == 0
    assert "holds the finished fit of this configuration" in capsys.readouterr().out
    assert (folder / "out" / "model.npz").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "jaxpot.schema.json"
    assert main(["schema", str(path)]) == 0
    found = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_the_schema_has_the_sections_and_refuses_what_fit_refuses(validator, folder):
    from jaxpot.io.fit_config import SECTIONS

    sections = validator.schema["properties"]
    assert set(sections) == set(SECTIONS) and all(set(sections[name]["properties"]) == set(keys) for name, keys in SECTIONS.items() if keys)
    config = tomllib.loads(CONFIG)
    assert validator.is_valid(config)
    for change in ({"noise": {"energie": 1.0}}, {"fit": {"method": "best"}}, {"model": {"class": "Sum"}}, {"model": {"class": "LennardJones"}}, {"extra": {}}):
        assert not validator.is_valid(config | change), change
    resolved = tomllib.loads((folder / "out" / "config.resolved.toml").read_text())
    assert not list(validator.iter_errors(resolved))


def test_the_page_of_the_schema_says_all_of_it(tmp_path):
    """Every section, class, key and kind, each once; and nothing else, in a process without classes of tests. The site is built with it."""
    both = "from jaxpot.cli import main; main(['schema', 'reference.md']); main(['schema', 'schema.json'])"
    subprocess.run([sys.executable, "-c", both], cwd=tmp_path, check=True)
    text, schema = (tmp_path / "reference.md").read_text(), json.loads((tmp_path / "schema.json").read_text())
    parts = re.split(r"^(?:### \[(\w+)\]|\(class-\w+\)=\n\*\*(\w+)\*\*:)", text, flags=re.M)
    found = {section or name: re.findall(r"^\| `(\w+)` \|", body, flags=re.M) for section, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)}
    classes = {name: one for name, one in schema["$defs"].items() if name not in ("numbers", "terms")}
    expected = {name: list(one.get("properties", {})) for name, one in schema["properties"].items()}
    expected |= {name: [key for key in one["properties"] if key != "class"] for name, one in classes.items()}
    assert found == expected and len(parts) == 1 + 3 * len(expected)
    targets = re.findall(r"^\(([\w-]+)\)=$", text, flags=re.M)
    assert len(set(targets)) == len(targets) and set(re.findall(r"\]\(#([\w-]+)\)", text)) <= set(targets)
    conf, docs = (ROOT / "docs/conf.py").read_text(), [(ROOT / "docs" / name).read_text() for name in ("command_line.md", "index.md")]
    assert 'Path(app.srcdir, "generated", "configuration.md"), page(schema())' in conf and all("generated/configuration" in page for page in docs)


def test_defaults_of_the_schema_are_those_of_fit(validator, folder):
    """Of sections by a configuration that says as little as may be, of classes by their signatures."""
    config = tomllib.loads(CONFIG) | {"evidence": {"noise": ["energy"]}, "train": {}, "noise": {"forces": 0.1}}
    config["data"] = {"train": "train.xyz", "test_index": ":"}
    found, *_ = resolve(config, folder)
    found["fit"] |= resolve(config | {"fit": {"method": "levels"}}, folder)[0]["fit"]
    for section, one in validator.schema["properties"].items():
        for key, own in one.get("properties", {}).items():
            if "default" in own and key in found[section]:
                assert found[section][key] == own["default"] or (section, key) == ("noise", "forces"), (section, key)
    given = {(section, key) for section, one in validator.schema["properties"].items() for key, own in one.get("properties", {}).items() if "default" in own}
    there = {(section, key) for section in found for key in found[section]}
    assert {(section, key) for section, key in given - there} <= {("noise", name) for name in OBSERVABLES}
    assert validator.schema["$defs"]["Density"]["properties"]["sigma"].get("default") is None
    assert validator.schema["$defs"]["SparseGP"]["properties"]["delta"]["default"] == 1.0


def test_plots(folder, tmp_path, capsys):
    assert main(["plot", str(folder / "lj.npz"), str(tmp_path / "pairs.png")]) == 0
    assert (tmp_path / "pairs.png").read_bytes()[1:4] == b"PNG" and "wrote" in capsys.readouterr().out
    curves = jaxpot.observables.pair_curves(LJ, [2.0, 2.5, 9.0])
    expected = [float(evaluate(LJ, jaxpot.from_atoms(Atoms("Si2", [[0, 0, 0], [r, 0, 0]]), 3.4, max_neighbors=20)).energy) for r in (2.0, 2.5)]
    np.testing.assert_allclose(curves["Si–Si"], [*expected, 0.0], atol=1e-12)
    figure = jaxpot.observables.plot_pairs(LJ)
    assert figure.axes[0].get_ylabel() == "energy of two atoms (eV)"


@pytest.mark.parametrize("model", ["ace", "gap", "snap", "mtp", "nn"])
def test_init_writes_what_fit_reads(model, folder, tmp_path, capsys, validator):
    """Elements, cutoff, noise and energies of atoms alone come from the data; a second file is not overwritten unasked."""
    path = tmp_path / "config.toml"
    command = ["init", str(folder / "train.xyz"), "--model", model, "--output", str(path), "--test", str(folder / "train.xyz")]
    assert main(command) == 0 and "jaxpot fit" in capsys.readouterr().out
    assert not list(validator.iter_errors(tomllib.loads(path.read_text())))
    resolved, potential, (frames, _), _ = resolve(read_config(path), tmp_path)
    assert len(frames) == 6 and potential.species == ("Si",) and resolved["model"]["terms"][-1]["class"] == "IsolatedAtoms"
    forces = np.concatenate([atoms.get_forces().ravel() for atoms in frames])
    assert 0.01 < resolved["noise"]["forces"] / np.sqrt(np.mean(forces**2)) < 0.2 and resolved["noise"]["virial"] != "none"
    assert "already" in refused(capsys, *command) and main([*command, "--overwrite"]) == 0


STAGES = """
[data]
train = "train.xyz"
[noise]
energy = 0.01
forces = 0.1
[[model.terms]]
class = "AtomicPotential"
head = {class = "Linear", scale = 0.5, roughness = {rule = "forces"}}
[model.terms.descriptor]
class = "SOAP"
expansion = {class = "Density", species = ["Si"], cutoff = {class = "CosineCutoff", radius = 3.2}, radial = {class = "GTO", n_max = 2}, l_max = 1, sigma = 0.6}
[[model.terms]]
class = "IsolatedAtoms"
energies_of = "mean"
[evidence]
leaves = ["*.expansion.sigma"]
noise = ["energy"]
steps = 2
"""


def test_levels_and_deviations(folder, tmp_path, capsys):
    """Noise levels are found, the posterior is kept, errors are compared with deviations, and `evaluate` writes deviations."""
    config, out = tmp_path / "fit.toml", tmp_path / "out"
    text = STAGES[: STAGES.index("[evidence]")].replace('train = "train.xyz"', f'train = "{folder / "train.xyz"}"\ntest = "{folder / "train.xyz"}"')
    config.write_text(text + '[fit]\nmethod = "levels"\ncovariance = true\n')
    assert main(["fit", str(config), "--output", str(out)]) == 0
    told = json.loads((out / "levels.json").read_text())
    assert told["noise levels"]["forces"] == pytest.approx(0.1 * told["noise"]["forces"]) and "noise levels: energy" in capsys.readouterr().out
    errors = json.loads((out / "errors.json").read_text())
    assert "coverage" not in errors["train"]["all"]["forces"] and errors["test"]["all"]["forces"]["coverage"] > 0.5
    written = tmp_path / "found.xyz"
    assert main(["evaluate", str(out / "posterior.npz"), str(folder / "train.xyz"), "--predictions", str(written)]) == 0
    found = ase.io.read(written, ":")
    posterior = jaxpot.load(out / "posterior.npz")
    spread = jaxpot.fit.deviations(posterior, ase.io.read(folder / "train.xyz", ":"))
    for atoms, own in zip(found, spread, strict=True):
        assert atoms.info["jaxpot_energy_deviation"] == pytest.approx(float(own.energy), rel=1e-6)
        np.testing.assert_allclose(atoms.arrays["jaxpot_forces_deviation"], own.forces, rtol=1e-5, atol=1e-8)
        assert np.all(atoms.info["jaxpot_stress_deviation"] >= 0)


def test_init_for_several_elements(tmp_path):
    """Every element has many-body functions, in channels in which elements are nearly alike; compressed files are read."""
    rng, frames = np.random.default_rng(0), []
    for seed in range(4):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[:] = [str(x) for x in rng.permutation(["Cu", "Ag", "Au", "Pd"])]
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    ase.io.write(tmp_path / "alloy.xyz", frames, format="extxyz")
    (tmp_path / "alloy.xyz.gz").write_bytes(gzip.compress((tmp_path / "alloy.xyz").read_bytes()))
    assert main(["init", str(tmp_path / "alloy.xyz.gz"), "--output", str(tmp_path / "config.toml")]) == 0
    _, potential, (read, _), _ = resolve(read_config(tmp_path / "config.toml"), tmp_path)
    pairs, bodies = (term.descriptor for term in potential.terms[:2])
    assert len(read) == 4 and pairs.selection.order == 1 and bodies.selection.order == 3
    for descriptor, n in ((pairs, 4), (bodies, 3)):
        np.testing.assert_allclose(descriptor.expansion.channels, jaxpot.descriptors.element_channels(("Ag", "Au", "Cu", "Pd"), n), atol=1e-6)
    assert all(term.head.difference == 0.3 for term in potential.terms[:2])
    assert 300 < potential.terms[1].n_coefficients < 2400


@pytest.mark.slow
def test_stages_of_a_linear_fit(folder, tmp_path, monkeypatch, capsys):
    """The evidence moves sigma and a noise level, and is not maximised again where the fit after it was killed; priors follow from the data."""
    (tmp_path / "fit.toml").write_text(STAGES.replace("train.xyz", str(folder / "train.xyz")))
    command, linear = ["fit", str(tmp_path / "fit.toml"), "--output", str(tmp_path / "out")], jaxpot.fit.linear
    monkeypatch.setattr(jaxpot.fit, "linear", lambda *arguments, **options: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(command) == 130
    found = json.loads((tmp_path / "out" / "evidence.json").read_text())
    monkeypatch.setattr(jaxpot.fit, "linear", linear)
    monkeypatch.setattr(jaxpot.fit, "maximise_evidence", None)
    assert main(command) == 0
    model = jaxpot.load(tmp_path / "out" / "model.npz")
    (sigma,) = [value for name, value in found["values"].items() if name.endswith("sigma")]
    assert float(model.terms[0].descriptor.expansion.sigma) == sigma != 0.6 and found["noise"]["energy"] != 1.0
    assert model.terms[0].head.roughness.shape == (6,) and np.ptp(model.terms[0].head.roughness) > 0
    resolved = tomllib.loads((tmp_path / "out" / "config.resolved.toml").read_text())
    assert resolved["model"]["terms"][0]["head"]["roughness"] == {"rule": "forces", "power": 0.0, "order": 1.0}


@pytest.mark.slow
def test_stage_of_training(folder, tmp_path, capsys):
    """A network is standardised and trained; its history is kept."""
    text = STAGES[: STAGES.index("[evidence]")].replace("train.xyz", str(folder / "train.xyz"))
    text = text.replace('{class = "Linear", scale = 0.5, roughness = {rule = "forces"}}', '{class = "MLP", hidden = [4]}')
    (tmp_path / "fit.toml").write_text(text + "[train]\nepochs = 30\nbatch = 3\nvalidation = 0.2\nrate = 0.02\n")
    assert main(["fit", str(tmp_path / "fit.toml"), "--output", str(tmp_path / "out")]) == 0
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert history["epoch"][-1] == 30 and history["loss"][-1] < history["loss"][0]
    model = jaxpot.load(tmp_path / "out" / "model.npz")
    assert model.terms[0].head.shift.shape == (1, 6) and not list((tmp_path / "out").glob("*-state.npz"))


@pytest.mark.parametrize(
    "change, message",
    [
        (("[evidence]", "[fit]\nmethod = 'none'\n[evidence]"), 'fit.method is "none" and there is no section'),
        (('leaves = ["*.expansion.sigma"]\nnoise = ["energy"]', ""), r"\[evidence\] moves nothing"),
        (('noise = ["energy"]', 'noise = ["energie"]'), "evidence.noise"),
        (('rule = "forces"', 'rule = "force"'), "head.roughness.rule is 'force'"),
        (("steps = 2", "steps = 2\n[train]\nepochs = 0"), "train.epochs is 0"),
        (("steps = 2", "bounds = {'*.radius' = [3]}"), "expected .lowest, highest."),
    ],
)
def test_stages_that_are_refused(change, message, folder, tmp_path):
    (tmp_path / "fit.toml").write_text(STAGES.replace("train.xyz", str(folder / "train.xyz")).replace(*change))
    with pytest.raises(ValueError, match=message):
        resolve(read_config(tmp_path / "fit.toml"), tmp_path)


def test_a_killed_fit_goes_on(folder, tmp_path, monkeypatch, capsys):
    solver = sys.modules["jaxpot.fit.solver"]  # the attribute of this name is the function
    monkeypatch.setattr(solver, "_SAVE_EVERY", 0.0)
    triangle, seen = solver._Triangle, []
    original = triangle.add

    def add(self, rows):
        if len(seen) == 3:
            seen.append("killed")
            raise KeyboardInterrupt
        seen.append(len(rows.y))
        original(self, rows)

    monkeypatch.setattr(triangle, "add", add)
    out = tmp_path / "out"
    command = ["fit", str(folder / "fit.toml"), "--output", str(out)]
    assert main(command) == 130
    assert (out / "fit-state.npz").exists() and not (out / "model.npz").exists()
    assert "interrupted" in capsys.readouterr().err

    other = tmp_path / "other.toml"
    other.write_text(CONFIG.replace("train*.xyz", str(folder / "train.xyz")).replace("forces = 0.01", "forces = 0.02"))
    assert "unfinished fit of another configuration" in refused(capsys, "fit", other, "--output", out)

    before = len(seen)
    assert main(command) == 0
    assert len(seen) - before == 2  # of five structures three were done
    assert not (out / "fit-state.npz").exists()
    whole, resumed = jaxpot.load(folder / "out" / "model.npz"), jaxpot.load(out / "model.npz")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)  # QR in other blocks: the condition number times round-off
    errors = [json.loads((path / "errors.json").read_text()) for path in (folder / "out", out)]
    for a, b in zip(*(jax.tree.leaves(jax.tree.map(lambda x: x if isinstance(x, float) else 0.0, e)) for e in errors), strict=True):
        assert a == pytest.approx(b, rel=1e-12, abs=1e-12)


def test_a_finished_fit_is_not_replaced_by_another(folder, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    other = tmp_path / "other.toml"
    other.write_text(CONFIG.replace("train*.xyz", str(folder / "train.xyz")).replace("forces = 0.01", "forces = 0.02"))
    assert "holds a finished fit of another configuration" in refused(capsys, "fit", other, "--output", out)
    assert (out / "model.npz").read_bytes() == (folder / "out" / "model.npz").read_bytes()
    assert main(["fit", str(other), "--output", str(out), "--overwrite"]) == 0
    assert jaxpot.load(out / "model.npz") != jaxpot.load(folder / "out" / "model.npz")
    assert "forces = 0.02" in (out / "config.resolved.toml").read_text()
    assert main(["fit", str(folder / "fit.toml"), "--output", str(folder / "out")]) == 0  # the same again is no other


def test_evaluate_labelled(folder, tmp_path, capsys):
    model, data = folder / "out" / "model.npz", folder / "train.xyz"
    assert main(["evaluate", str(model), str(data), "--output", str(tmp_path / "e.json"), "--predictions", str(tmp_path / "p.xyz")]) == 0
    errors = json.loads((tmp_path / "e.json").read_text())
    assert set(errors) == {"all", "strained", "crystal"} and errors["all"]["virial"]["n"] == 54
    assert "strained" in capsys.readouterr().out
    potential = jaxpot.load(model)
    for before, after in zip(ase.io.read(data, ":"), ase.io.read(tmp_path / "p.xyz", ":"), strict=True):
        assert after.get_potential_energy() == pytest.approx(before.get_potential_energy(), abs=1e-7)
        found = evaluate(potential, jaxpot.from_atoms(before, 3.2, max_neighbors=20))
        assert after.info["jaxpot_energy"] == pytest.approx(float(found.energy), abs=1e-7)
        np.testing.assert_allclose(after.arrays["jaxpot_forces"], found.forces, atol=1e-7)
        np.testing.assert_allclose(np.reshape(after.info["jaxpot_stress"], (3, 3)), -found.virial / before.get_volume(), atol=1e-7)
    mae = np.mean([abs(a.info["jaxpot_energy"] - a.get_potential_energy()) / 2 for a in ase.io.read(tmp_path / "p.xyz", ":")])
    assert errors["all"]["energy"]["mae"] == pytest.approx(mae, abs=1e-7)
    assert main(["evaluate", str(model), str(data), "--keys", "energy=energy"]) == 0
    assert "force" not in capsys.readouterr().out


def test_labels_that_the_noise_does_not_ask_for_are_not_judged(folder, tmp_path, capsys):
    frames = ase.io.read(folder / "train.xyz", ":")
    for atoms in frames:
        atoms.calc.results["stress"] = np.full(6, np.nan)
    ase.io.write(tmp_path / "train.xyz", frames, format="extxyz")
    config = tmp_path / "fit.toml"
    config.write_text(CONFIG.replace("virial = 0.02\n", "").replace('strained = [0.002, 0.02, "none"]', ""))
    assert main(["fit", str(config), "--output", str(tmp_path / "out")]) == 0
    assert "not every virial label of the test structures is compared, since none was asked for: frame 0: stress[0] is nan" in capsys.readouterr().out
    errors = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert errors["test"]["all"].keys() == {"energy", "forces"} and errors["test"]["all"]["forces"]["n"] == 6
    config.write_text(CONFIG)
    assert "train.xyz, frame 1: stress[0] is nan" in refused(capsys, "fit", config, "--output", tmp_path / "other")
    files = (folder / "lj.npz", tmp_path / "train.xyz")
    assert "train.xyz, frame 0: stress[0] is nan" in refused(capsys, "evaluate", *files)
    assert main(["evaluate", *map(str, files), "--keys", "energy=energy, forces=forces"]) == 0


def test_evaluate_finds_and_compares_labels(folder, tmp_path, capsys):
    def evaluate_with(*options, **info):
        frames = ase.io.read(folder / "train.xyz", ":2")
        for atoms in frames:
            atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.5
            atoms.info |= info
        ase.io.write(tmp_path / "x.xyz", frames, format="extxyz")
        return "evaluate", folder / "lj.npz", tmp_path / "x.xyz", *options

    command = evaluate_with("--keys", "energy=free_energy", "--output", tmp_path / "e.json", energy_sigma=0.3)
    assert main([str(word) for word in command]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["all"]["energy"]["mae"] == pytest.approx(0.25, abs=1e-6)
    assert "x.xyz, frame 0: virial[" in refused(capsys, *evaluate_with(virial=np.eye(3)))
    assert "could be meant: 'energy', 'free_energy'" in refused(capsys, *evaluate_with("--keys", "energy=e"))
    assert "names a property twice" in refused(capsys, *evaluate_with("--keys", "energy=energy,energy=free_energy"))
    assert "write predictions over the labels dft_energy" in refused(capsys, *evaluate_with("--keys", "energy=dft_energy", "--prefix", "dft_"))


def test_evaluate_without_labels_and_with_mixed_sizes(folder, tmp_path, capsys):
    frames = [bulk("Si"), bulk("Si", cubic=True), Atoms("Si"), Atoms("Si2", [[0, 0, 0], [2.2, 0, 0]])]
    ase.io.write(tmp_path / "bare.xyz", frames, format="extxyz")
    files = [str(folder / "lj.npz"), str(tmp_path / "bare.xyz")]
    assert main(["evaluate", *files, "--predictions", str(tmp_path / "p.xyz"), "--prefix", "lj_"]) == 0
    assert "4 structures without labels" in capsys.readouterr().out
    found = ase.io.read(tmp_path / "p.xyz", ":")
    assert [len(a) for a in found] == [2, 8, 1, 2]
    assert found[1].info["lj_energy"] == pytest.approx(4 * found[0].info["lj_energy"], abs=1e-6)
    assert "lj_stress" in found[0].info and "lj_stress" not in found[3].info
    np.testing.assert_allclose(found[3].arrays["lj_forces"].sum(0), 0, atol=1e-8)


@pytest.mark.parametrize("ensemble", [pytest.param("nvt", marks=pytest.mark.slow), "langevin", "npt"])
def test_md_and_its_restart(folder, tmp_path, capsys, ensemble):
    def command(name, steps, *more):
        return ["md", str(folder / "lj.npz"), str(folder / "start.xyz"), "--ensemble", ensemble, "--temperature", "50", "--interval", "4",
                "--steps", str(steps), "--output", str(tmp_path / name), *more]  # fmt: skip

    assert main(command("whole.xyz", 10)) == 0
    out = capsys.readouterr().out.strip().splitlines()
    summary = json.loads(out[-1])
    assert summary["steps"] == 10 and summary["frames"] == 4
    assert abs(summary["drift_eV_per_atom_per_ps"]) < 2e-3
    whole = ase.io.read(tmp_path / "whole.xyz", ":")
    assert [a.info["step"] for a in whole] == [0, 4, 8, 10]
    for atoms in whole[1:]:
        assert abs(atoms.info["conserved"] - whole[0].info["conserved"]) < 1e-3
        found = evaluate(LJ, jaxpot.from_atoms(atoms, 3.4, max_neighbors=20))
        assert atoms.get_potential_energy() == pytest.approx(float(found.energy), abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), found.forces, atol=1e-5)
    kinetic = whole[-1].get_kinetic_energy() / (1.5 * 8.617330337217213e-05 * 7)
    assert whole[-1].info["temperature"] == pytest.approx(kinetic, rel=1e-5)
    if ensemble != "nvt":
        return

    assert main(command("parts.xyz", 4)) == 0
    with open(tmp_path / "parts.xyz", "a") as file:
        file.write("8\nhalf a frame that a killed run left")
    assert main(command("parts.xyz", 10, "--restart")) == 0
    parts = ase.io.read(tmp_path / "parts.xyz", ":")
    assert [a.info["step"] for a in parts] == [0, 4, 8, 10]
    np.testing.assert_allclose(parts[-1].get_momenta(), whole[-1].get_momenta(), atol=2e-8)
    assert "--restart to go on" in refused(capsys, *command("parts.xyz", 10))
    start = ase.io.read(folder / "start.xyz")
    start.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="what is fixed differ"):
        md.run(LJ, start, tmp_path / "parts.xyz", ensemble=md.NVT(50.0), steps=12, interval=4, restart=True)
    assert "temperature was 50.0 and is now 60.0" in refused(capsys, *command("parts.xyz", 12, "--restart", "--temperature", "60"))


def test_a_killed_md_has_a_way_on(folder, tmp_path, capsys, monkeypatch):
    command = ["md", str(folder / "lj.npz"), str(folder / "start.xyz"), "--ensemble", "nve", "--steps", "4", "--interval", "2", "--output"]
    out, kept = tmp_path / "t.xyz", tmp_path / "t.xyz.restart.npz"
    store, block = driver._store, driver.blocks

    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(driver, "_store", killed)
    with pytest.raises(Killed):  # before the first restart state
        main([*command, str(out)])
    assert out.exists() and not kept.exists()
    monkeypatch.setattr(driver, "_store", store)
    assert "has no restart state beside it, so it cannot go on; write --overwrite" in refused(capsys, *command, out)
    assert "write --overwrite in place of --restart" in refused(capsys, *command, out, "--restart")

    def power_failure(*arguments, **keywords):
        monkeypatch.setattr(driver, "_store", lambda *arguments: None)
        raise Killed

    monkeypatch.setattr(driver, "blocks", power_failure)
    with pytest.raises(Killed):  # in the first block
        main([*command, str(out), "--overwrite"])
    monkeypatch.setattr(driver, "_store", store)
    monkeypatch.setattr(driver, "blocks", block)
    assert main([*command, str(out), "--restart"]) == 0
    assert [a.info["step"] for a in ase.io.read(out, ":")] == [0, 2, 4]
    out.unlink()
    assert "has no trajectory beside it" in refused(capsys, *command, out)
    assert "write --overwrite in place of --restart" in refused(capsys, *command, out, "--restart")
    kept.write_bytes(kept.read_bytes()[:300])
    assert "is not a readable restart state" in refused(capsys, *command, out, "--restart")


@pytest.mark.parametrize(
    ("ensemble", "constraints", "held", "degrees"),
    [
        ("nve", [FixAtoms([0, 3])], [[0, 0], [0, 1], [0, 2], [3, 0], [3, 1], [3, 2]], 18),
        ("nvt", [FixAtoms([0]), FixCartesian([2], mask=(True, False, False))], [[0, 0], [0, 1], [0, 2], [2, 0]], 20),
        pytest.param("nvt", [FixCartesian(list(range(8)), mask=(0, 0, 1))], [[i, 2] for i in range(8)], 14, marks=pytest.mark.slow),
    ],
)
def test_fixed_atoms_stay_and_count_as_no_degrees_of_freedom(folder, tmp_path, ensemble, constraints, held, degrees):
    atoms = ase.io.read(folder / "start.xyz")
    atoms.set_constraint(constraints)
    ase.io.write(tmp_path / "start.xyz", atoms, format="extxyz")  # as the column move_mask
    out = tmp_path / "t.xyz"
    command = ["--ensemble", ensemble, "--temperature", "400", "--steps", "40", "--interval", "20", "--output", str(out)]
    assert main(["md", str(folder / "lj.npz"), str(tmp_path / "start.xyz"), *command]) == 0
    frames = ase.io.read(out, ":")
    i, x = np.transpose(held)
    for frame in frames:
        moved = (frame.positions - atoms.positions) @ np.linalg.inv(atoms.cell.array)
        moved = (moved - np.round(moved)) @ atoms.cell.array
        np.testing.assert_allclose(moved[i, x], 0, atol=1e-7)
        np.testing.assert_array_equal(frame.get_momenta()[i, x], 0)
        assert abs(frame.info["conserved"] - frames[0].info["conserved"]) < 1e-3
        kinetic = 0.5 * np.sum(frame.arrays["momenta"] ** 2 / frame.get_masses()[:, None])
        assert frame.info["temperature"] == pytest.approx(2 * kinetic / (degrees * 8.617330337217213e-05), rel=1e-5)
        assert not np.all(mobile(frame))  # a frame is a start with the same atoms fixed
        found = evaluate(LJ, jaxpot.from_atoms(frame, 3.4, max_neighbors=20))
        np.testing.assert_allclose(frame.calc.results["forces"], found.forces, atol=1e-5)  # those of the potential, not of the constraint
    assert np.max(np.abs(frames[-1].positions - frames[0].positions)) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("constraint", [FixAtoms([0, 1]), FixCartesian([0, 1, 2, 3], mask=(False, False, True))])
def test_thermostat_with_fixed_atoms_reaches_its_temperature(tmp_path, constraint):
    atoms = bulk("Ar", "fcc", a=3.35, cubic=True)
    atoms.symbols[:] = "Si"
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(constraint)
    found = md.run(LJ, atoms, tmp_path / "t.xyz", ensemble=md.NVT(100.0, timestep=2.0), steps=60000, interval=20, progress=False)
    assert found["mean_temperature_K"] == pytest.approx(100, abs=10)  # three deviations; with 3N − 3 degrees of freedom it is 67 K and 75 K
    assert abs(found["drift_eV_per_atom_per_ps"]) < 1e-5


def _start(**changes):
    atoms = bulk("Si", a=5.4, cubic=True)
    atoms.rattle(0.02, seed=1)
    for name, value in changes.items():
        atoms.arrays[name] = np.asarray(value)
    return atoms


def _held(constraint, **changes):
    atoms = _start(**changes)
    atoms.set_constraint(constraint)
    return atoms


RANDOM = np.random.default_rng(0).normal(size=(8, 3))


@pytest.mark.parametrize(
    ("atoms", "ensemble", "message"),
    [
        *((_start(**{name: RANDOM}), md.NVE, f"a column '{name}', which ASE does not read.*del atoms.arrays")
          for name in ("vel", "velo", "velocities", "Velocities", "velocity", "v", "momentum")),
        (_start(vx=RANDOM[:, 0]), md.NVT, "a column 'vx'"),
        (_start(mass=np.ones(8)), md.NVT, "a column 'mass', which ASE does not read; rename it to 'masses'"),
        (_start(masses=np.zeros(8)), md.NVT, "masses of the start must be positive numbers .*, atom 0 has 0.0"),
        (_start(momenta=np.where(np.arange(24).reshape(8, 3) == 7, np.nan, 1)), md.NVE, "the momentum of atom 2 of the start is"),
        (_start(momenta=RANDOM[:, 0]), md.NVE, r"must be numbers of shape \(8, 3\), got float64 of shape \(8,\)"),
        (_start(momenta=np.zeros((8, 3))), md.NVT, "momenta of the start are all zero, which no thermostat of nvt warms"),
        (_start(momenta=RANDOM), md.NVT, r"drifts as a whole.*Stationary\(atoms\)"),
        (_start(momenta=RANDOM), md.NPT, "drifts as a whole"),
        (_held(FixAtoms([3]), momenta=RANDOM), md.NVE, "fixes atom 3 and gives it a momentum"),
        (_held(FixAtoms(range(8))), md.NVE, "every atom of the start is fixed"),
        (_held(FixAtoms([3])), md.NPT, "npt cannot keep atoms fixed"),
        (_held(FixedPlane(1, (0, 0, 1))), md.NVE, "the constraint FixedPlane, which molecular dynamics does not keep.*del atoms.constraints"),
        (_held(FixBondLengths([[0, 1]])), md.NVT, "the constraint FixBondLengths"),
        (_held(Hookean(0, 1, 5.0, 2.0)), md.NVT, "the constraint Hookean"),
    ],
)  # fmt: skip
def test_starts_that_are_refused(tmp_path, atoms, ensemble, message):
    with pytest.raises(ValueError, match=message):
        md.run(LJ, atoms, tmp_path / "t.xyz", ensemble=ensemble(), steps=1)
    assert not (tmp_path / "t.xyz").exists()


def test_starts_whose_numbers_are_used(folder, tmp_path, capsys):
    """Momenta with a drift and at rest in nve, masses of the file, a left-handed cell, and the last of several structures."""
    still = _start(momenta=np.zeros((8, 3)))
    right, left = (_start(masses=50.0 + np.arange(8), momenta=RANDOM) for _ in range(2))
    left.set_cell(left.cell.array[[1, 0, 2]])
    ase.io.write(tmp_path / "several.xyz", [_start(), still], format="extxyz")
    command = ["md", str(folder / "lj.npz"), str(tmp_path / "several.xyz"), "--ensemble", "nve", "--steps", "2", "--output", str(tmp_path / "t.xyz")]
    assert main(command) == 0
    assert "starting from the last of 2 structures: " in capsys.readouterr().out
    assert ase.io.read(tmp_path / "t.xyz", 0).info["temperature"] == 0
    for name, atoms in {"left": left, "right": right}.items():
        md.run(LJ, atoms, tmp_path / f"{name}.xyz", ensemble=md.NVE(), steps=10, interval=20, progress=False)
        first, last = (ase.io.read(tmp_path / f"{name}.xyz", i) for i in (0, -1))
        inner = RANDOM - atoms.get_masses()[:, None] * RANDOM.sum(axis=0) / atoms.get_masses().sum()
        kinetic = 0.5 * np.sum(inner**2 / atoms.get_masses()[:, None])
        assert first.info["temperature"] == pytest.approx(2 * kinetic / (21 * 8.617330337217213e-05), rel=1e-6)
        assert abs(last.info["conserved"] - first.info["conserved"]) < 1e-3
        np.testing.assert_allclose(last.get_momenta().sum(axis=0), RANDOM.sum(axis=0), atol=1e-6)
        np.testing.assert_array_equal(last.get_masses(), atoms.get_masses())
    one, other = (ase.io.read(tmp_path / f"{name}.xyz", -1) for name in ("left", "right"))
    np.testing.assert_allclose(one.get_momenta(), other.get_momenta(), atol=1e-7)


def test_md_in_free_space_and_with_given_velocities(folder, tmp_path, capsys):
    dimer = Atoms("Si2", [[0, 0, 0], [2.4, 0, 0]])
    dimer.set_momenta([[0.1, 0, 0], [-0.1, 0, 0]])
    ase.io.write(tmp_path / "dimer.xyz", dimer, format="extxyz")
    out = tmp_path / "t.xyz"
    files = [str(folder / "lj.npz"), str(tmp_path / "dimer.xyz")]
    assert main(["md", *files, "--ensemble", "nve", "--steps", "10", "--output", str(out)]) == 0
    first, last = ase.io.read(out, 0), ase.io.read(out, -1)
    np.testing.assert_allclose(first.get_momenta(), dimer.get_momenta(), atol=1e-8)
    assert not last.pbc.any() and abs(last.info["conserved"] - first.info["conserved"]) < 1e-4


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(("timestep", "message"), [(1000, "K between steps 0 and 10"), (1e200, "no longer finite")])
def test_md_that_blows_up_says_so(folder, tmp_path, capsys, timestep, message):
    line = refused(
        capsys, "md", folder / "lj.npz", folder / "start.xyz", "--ensemble", "nve", "--timestep", timestep, "--temperature", 1e4,
        "--steps", 50, "--output", tmp_path / "t.xyz", code=1,
    )  # fmt: skip
    assert message in line
    assert [a.info["step"] for a in ase.io.read(tmp_path / "t.xyz", ":")] == [0]


def test_md_allocates_an_overflowing_list_anew_and_repeats_the_block(tmp_path, monkeypatch):
    atoms = Atoms("Si3", [[0, 0, 0], [4.5, 0, 0], [0, 4.6, 0]])
    atoms.set_momenta([[0, 0, 0], [-3.0, 0, 0], [0, -3.0, 0]])
    reallocated, lists = md.System.reallocated, []

    def count(self, state, extra=0):
        after = reallocated(self, state, extra)
        lists.extend([state.neighbors, after.neighbors])
        return after

    monkeypatch.setattr(md.System, "reallocated", count)
    md.run(LJ, atoms, tmp_path / "t.xyz", ensemble=md.NVE(timestep=2.0), steps=100, interval=50, progress=False)
    frames = ase.io.read(tmp_path / "t.xyz", ":")
    assert len(lists) > 1 and lists[0].idx.shape[1] < lists[-1].idx.shape[1]
    assert frames[0].get_potential_energy() == 0 and frames[-1].get_potential_energy() < -0.01
    assert max(abs(a.info["conserved"] - frames[0].info["conserved"]) for a in frames) < 2e-3


def test_info(folder, capsys):
    assert main(["info", str(folder / "out" / "model.npz")]) == 0
    text = capsys.readouterr().out
    assert "SparseGP delta=1.0" in text and "cutoff: CosineCutoff radius=3.2" in text and "float64" in text
    assert main(["info", str(folder / "out" / "model.npz"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["n_coefficients"] == facts["n_sparse_points"] == 4 and facts["species"] == ["Si"] and facts["dtype"] == ["float64"]
    assert 0 < facts["float32_error"] < 1e-3 and f"float32 costs    {facts['float32_error']:.1e} eV per atom at its sparse points" in text


def test_info_on_float32(tmp_path, capsys):
    """Where there are no sparse points nothing is claimed; what is refused says why."""
    one = jaxpot.heads.References(features=-np.ones((1, 1)), kinds=np.zeros(1, int))
    head = jaxpot.SparseGP(jaxpot.kernels.SquaredExponential(1.0), references=one, coefficients=np.ones(1))
    refused = jaxpot.AtomicPotential(jaxpot.descriptors.TwoBody(("Si",), jaxpot.CosineCutoff(3.0, width=1.0)), head)
    for model, line in ((jaxpot.IsolatedAtoms({"Si": 1.0}), "measured on structures alone, by jaxpot.float32_error"), (refused, "refused: SparseGP was made in float64")):
        jaxpot.save(tmp_path / "model.npz", model)
        assert main(["info", str(tmp_path / "model.npz")]) == 0
        assert f"float32 costs    {line}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[noise]", "[nose]\nx = 1\n[noise]", "[nose]: no such section"),
        ('index = "0:5"', "indx = 1", "data.indx: no such key"),
        ('train = "train*.xyz"', 'train = "nothing.xyz"', "no file at"),
        ('train = "train*.xyz"', "", "data.train is missing"),
        ('index = "0:5"', 'index = "a:b"', "index 'a:b'"),
        ('index = "0:5"', 'index = "90:"', "selects no frame"),
        ('index = "0:5"', 'select = {split = "train"}', "no frame has split = train"),
        ('energy = "energy"', 'energy = "dft_energy"', "no training frame has an energy"),
        ('forces = "forces"', 'forces = "dft_forces"', "no frame has forces under the key 'dft_forces'"),
        ('energy = "energy"', 'enrgy = "energy"', "data.keys.enrgy: no such key"),
        ("energy = 0.001", "energy = -1", "noise.energy is -1; expected a positive number"),
        ("energy = 0.001\nforces = 0.01\nvirial = 0.02", "", "noise: no level given"),
        ("strained = [", "strainde = [", "noise.config_types.strainde: no frame has this config_type"),
        ('class = "SOAP"', 'class = "SOP"', "model.terms.0.descriptor has the unknown class 'SOP'"),
        ('class = "SOAP"', 'class = "GTO"', "which is no Descriptor"),
        ("l_max = 1", "lmax = 1", "model.terms.0.descriptor.expansion.lmax: Density has no such field"),
        ("l_max = 1, ", "", "model.terms.0.descriptor.expansion.l_max is missing"),
        ("l_max = 1", 'l_max = "1"', "expansion.l_max is '1'; expected an integer"),
        ("radius = 3.2", "radius = -3.2", "CosineCutoff.radius must be > 0"),
        ('["Si"]', '["Sj"]', "not chemical symbols"),
        ('["Si"]', '["Ge"]', "Ge"),
        ('energies_of = "mean"', 'energies_of = "men"', "model.terms.1.energies_of is 'men'"),
        ('energies_of = "mean"', 'energies_of = "isolated"', "no frame holds an isolated atom of Si"),
        ("n = 4", "", "sparse.n is missing"),
        ("n = 4", "n = 400", "distinct environments"),
        ("n = 4", 'n = 4\nmethod = "random"', 'sparse.method is \'random\'; expected "cur" or "fps"'),
        ("n = 4", 'n = 4\n[fit]\nmethod = "svd"', "fit.method is 'svd'"),
        ('index = "0:5"', 'index = "0:5"\ncutoff = 2.0', "data.cutoff is 2.0 Å, but the model looks 3.2 Å far"),
        ("[data]", "[data", "is not valid TOML"),
    ],
)
def test_bad_configurations(folder, tmp_path, capsys, old, new, message):
    assert old in CONFIG
    shutil.copy(folder / "train.xyz", tmp_path / "train.xyz")
    (tmp_path / "bad.toml").write_text(CONFIG.replace(old, new, 1))
    assert message in refused(capsys, "fit", tmp_path / "bad.toml", "--output", tmp_path / "out")
    assert not (tmp_path / "out" / "model.npz").exists()


EVERY = """
[data]
train = "train.xyz"
test = "train.xyz"
index = "0:2"
test_index = "2:3"
select = {config_type = ["crystal", "strained"]}
test_select = {config_type = "crystal"}
keys = {energy = "energy", forces = "forces", stress = "stress"}
cutoff = 6.0
batch_size = 8
[noise]
energy = 0.001
forces = 0.01
virial = 0.02
config_types = {crystal = [0.002, 0.02, "none"]}
[[model.terms]]
class = "AtomicPotential"
chunk = 4
head = {class = "SparseGP", kernel = {class = "PolynomialKernel", zeta = 2.0, offset = 0.1}, jitter = 1.0, delta = 1.0}
[model.terms.descriptor]
class = "SOAP"
normalize = true
[model.terms.descriptor.expansion]
class = "Density"
species = ["Si"]
cutoff = {class = "CosineCutoff", radius = 3.2, width = 0.5}
radial = {class = "GTO", n_max = 2}
l_max = 1
sigma = 0.6
center_weight = 1.0
channels = [[1.0]]
[[model.terms]]
class = "IsolatedAtoms"
energies_of = {Si = -1.0}
[[model.terms]]
class = "LennardJones"
species = ["Si"]
epsilon = 0.1
sigma = [[2.0]]
cutoff = {class = "PolynomialCutoff", radius = 3.0, smoothness = 2}
[sparse]
n = 4
method = "cur"
seed = 0
[fit]
method = "qr"
covariance = false
"""


def places(value, path=()):
    """The path of everything in nested tables and lists."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from places(item, (*path, key))


@pytest.mark.parametrize("value", [5, -1, 10**400, 1e308, float("nan"), True, "x", [], [[1.0]], {}, ""], ids=lambda v: repr(v)[:9])
def test_a_configuration_with_any_value_resolves_or_names_the_path(folder, value):
    for path in places(tomllib.loads(EVERY)):
        table = tomllib.loads(EVERY)
        functools.reduce(operator.getitem, path[:-1], table)[path[-1]] = value
        (folder / "any.toml").write_text(to_toml(table))
        try:
            resolve(read_config(folder / "any.toml"), folder)
        except (ValueError, OSError) as error:
            line = str(error)
            while isinstance(path[-1], int):  # a list is named as a whole
                path = path[:-1]
            assert "\n" not in line and ".".join(map(str, path[:-1])) in line and path[-1] in line, f"{path} = {value!r}: {line}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("noise", 5, r"noise is 5; expected a section: a line \[noise\], and below it for example energy"),
        ("model", "SOAP", r"model is 'SOAP'; expected a section"),
        ("data", [], r"data is \[\]; expected a section"),
        ("fit", True, "fit is True; expected a section"),
        ("sparse", 3, r"sparse is 3; expected a section: a line \[sparse\], and below it for example n = 500"),
        ("data.test", [], r"data.test is \[\]; expected a file"),
        ("data.train", "", "data.train is ''; expected a file"),
        ("data.select.config_type", "slab", "data.select: no frame has config_type = slab"),
        ("data.test_index", "a:", "data.test_index 'a:' does not select"),
        ("data.cutoff", float("inf"), "data.cutoff is inf; expected a number of Å, at most 10000"),
        ("data.batch_size", 10**9, "data.batch_size is 1000000000; expected an integer from 1 to 1000000"),
        ("noise.energy", float("inf"), "noise.energy is inf; expected a positive number from 1e-15 to 1e"),
        ("noise.config_types.crystal", [0.1, -1, "none"], "noise.config_types.crystal.1 is -1"),
        ("model.terms.0.head.kernel.zeta", [[1.0]], r"head.kernel: PolynomialKernel.zeta must be a number, got shape \(1, 1\)"),
        ("model.terms.0.descriptor.expansion.cutoff.width", [], r"expansion.cutoff.width is \[\]; expected finite numbers up to 1e.30, at least one"),
        ("model.terms.0.descriptor.expansion.cutoff.radius", 1e-300, "expansion.cutoff: CosineCutoff.radius must be from 0.001 to 10000, got 1e-300"),
        ("model.terms.0.descriptor.expansion.l_max", True, "expansion.l_max is True; expected an integer"),
        ("model.terms.0.descriptor.expansion.l_max", 10**9, "expansion: Density.l_max must be at most 50, got 1000000000"),
        ("model.terms.0.descriptor.expansion.radial.n_max", 10**9, "n_max must be a positive integer, at most 100"),
        ("model.terms.0.descriptor.expansion.sigma", float("nan"), "expansion.sigma is nan; expected finite numbers"),
        ("model.terms.1.energies_of.Si", True, "model.terms.1.energies_of.Si is True; expected a number"),
        ("sparse.n", {"Ge": 3}, "sparse.n.Ge: the model has Si"),
        ("sparse.n", -1, "sparse.n is -1; expected the number of sparse points"),
        ("sparse.seed", -1, "sparse.seed is -1; expected an integer from 0"),
    ],
)
def test_what_a_configuration_says_of_one_value(folder, path, value, message):
    table, keys = tomllib.loads(EVERY), [int(key) if key.isdigit() else key for key in path.split(".")]
    functools.reduce(operator.getitem, keys[:-1], table)[keys[-1]] = value
    (folder / "one.toml").write_text(to_toml(table))
    with pytest.raises(ValueError, match=message):
        resolve(read_config(folder / "one.toml"), folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "has no structures"),
        ("0\n\n", "atoms is empty"),
        ("hello\nworld\n", "cannot be read by ASE"),
        ('2\nLattice="3 0 0 0 3 0 0 0 3"\nSi 0 0 0\n', "cannot be read by ASE"),
        ("1\n\nSx 0 0 0\n", "cannot be read by ASE"),
        ("1\n\nSi 0 0 nan\n", "frame 0: positions[0, 2] is nan"),
        ("2\n\nSi 0 0 0\nSi 0 0 0\n", "frame 0: atoms 0 and 1 are at the same place"),
        ("1\n\nSi 0 0 0\n2\n\nSi 0 0 0\nO 0 0 1\n", "frame 1: the model knows Si, but the structure contains O"),
        ("1\nenergy=nan\nSi 0 0 0\n", "energy"),
    ],
)
def test_bad_structures(folder, tmp_path, capsys, text, message):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    assert message in refused(capsys, "evaluate", folder / "lj.npz", path)


def test_other_bad_input(folder, tmp_path, capsys):
    model, data = folder / "lj.npz", folder / "train.xyz"
    assert "no model file" in refused(capsys, "evaluate", tmp_path / "none.npz", data)
    assert "not in a format that is read: jaxpot, compiled, GAP of QUIP" in refused(capsys, "info", data)
    (tmp_path / "cut.npz").write_bytes(model.read_bytes()[:200])
    assert "cut.npz" in refused(capsys, "info", tmp_path / "cut.npz")
    jaxpot.save(tmp_path / "cutoff.npz", LJ.cutoff)
    assert "holds a PolynomialCutoff" in refused(capsys, "info", tmp_path / "cutoff.npz")
    assert "no file at" in refused(capsys, "evaluate", model, tmp_path / "none.xyz")
    assert "is a folder" in refused(capsys, "evaluate", model, tmp_path)
    assert "--keys" in refused(capsys, "evaluate", model, data, "--keys", "energy")
    assert "no frame has energy under the key 'e'" in refused(capsys, "evaluate", model, data, "--keys", "energy=e")
    assert "--prefix is empty" in refused(capsys, "evaluate", model, data, "--prefix", "")
    assert "no configuration at" in refused(capsys, "fit", tmp_path / "none.toml")
    assert "invalid choice" in refused(capsys, "fly")
    assert "--steps" in refused(capsys, "md", model, folder / "start.xyz")
    md = ("md", model, folder / "start.xyz", "--output", tmp_path / "t.xyz", "--steps")
    assert "steps must be an integer from 1" in refused(capsys, *md, 0)
    assert "interval must be an integer from 1" in refused(capsys, *md, 5, "--interval", "0")
    assert "seed must be an integer from 0" in refused(capsys, *md, 5, "--seed", "-1")
    assert "temperature must be a positive number of K, got 0" in refused(capsys, *md, 5, "--temperature", "0")
    assert "skin must be a number" in refused(capsys, *md, 5, "--skin", "1e308")
    assert "timestep must be a positive number" in refused(capsys, *md, 5, "--timestep", "nan")
    assert "no restart state" in refused(capsys, *md, 5, "--restart")
    slab = bulk("Si", cubic=True)
    slab.pbc = (True, True, False)
    ase.io.write(tmp_path / "slab.xyz", slab, format="extxyz")
    assert "periodic in some directions only" in refused(capsys, "md", model, tmp_path / "slab.xyz", *md[3:], 5)
    assert not (tmp_path / "t.xyz").exists()
    with pytest.raises(FileNotFoundError):
        main(["info", str(tmp_path / "none.npz"), "--debug"])
    with pytest.raises(ValueError, match=r"about 4.2e\+11 pairs of atoms lie within 10000 Å"):
        jaxpot.from_atoms(bulk("Si"), 1e4)


def test_isolated_energies_of_two_elements():
    from jaxpot.potentials import isolated_energies

    frames = []
    for symbols, energy in (("SiO", -10.0), ("SiO2", -14.5), ("Si", -3.0), ("O", -4.0)):
        atoms = Atoms(symbols, np.arange(3 * len(Atoms(symbols))).reshape(-1, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        frames.append(atoms)
    assert isolated_energies(frames, "isolated").values == {"O": -4.0, "Si": -3.0}
    found = isolated_energies(frames[:2], "lstsq")
    assert found.values == pytest.approx({"O": -4.5, "Si": -5.5}) and max(found.errors.values()) < 1e-6
    assert isolated_energies(frames[:1], "mean").values == {"O": -5.0, "Si": -5.0}
    alone = isolated_energies(frames[:1], "lstsq")  # of one composition: the nearest to the mean
    assert alone.values == pytest.approx({"O": -5.0, "Si": -5.0}) and "not told apart" in str(alone)
    shares, rng = np.array([[1, 0], [1, 1], [1, 2], [3, 1]]), np.random.default_rng(0)
    many = []
    for _ in range(400):
        n = shares[rng.integers(4)]
        atoms = Atoms(f"Si{n[0]}O{n[1]}", np.arange(3 * n.sum()).reshape(-1, 3))
        atoms.info["energy"] = n @ [-5.0, -4.0] + 0.1 * n.sum() * rng.normal()
        many.append(atoms)
    found = isolated_energies(many, "lstsq")
    assert abs(found.values["Si"] + 5) < 4 * found.errors["Si"] < 0.05 and abs(found.values["O"] + 4) < 4 * found.errors["O"]
    np.testing.assert_array_equal(jaxpot.IsolatedAtoms.from_data(many).values, list(found.values.values()))


def test_model_tables_are_inverse_to_models():
    density = jaxpot.Density(
        ("Si", "O"), jaxpot.cutoffs.Willatt(jaxpot.CosineCutoff(4.0), 1.0, 2.0, 3.0), jaxpot.GTO(n_max=2), l_max=1, sigma=None,
        channels=np.array([[1.0], [0.5]]), center_weight=0.0,
    )  # fmt: skip
    model = jaxpot.AtomicPotential(jaxpot.SOAP(density), jaxpot.Linear(scale=0.1)) + jaxpot.IsolatedAtoms({"Si": -1 / 3, "O": 0.0}) + LJ
    for radial in (jaxpot.radial.Poly3(2), (jaxpot.radial.Poly3(2), jaxpot.radial.Poly3Gauss(3))):  # one basis, or one of each element
        turbo = jaxpot.descriptors.TurboDensity(("Si", "O"), 4.0, radial, l_max=1, sigma=[0.5, 0.4], sigma_angular=0.5)
        model = model + jaxpot.AtomicPotential(jaxpot.SOAP(turbo), jaxpot.Linear())
    text = to_toml({"model": table_from_model(model)})
    assert model_from_table(tomllib.loads(text)["model"]) == model
    assert tomllib.loads(to_toml({"a b": 'q"\n\\é', "t": [{"x": [1, 2.5, True]}], "n": {"inf": float("inf")}})) == {
        "a b": 'q"\n\\é', "t": [{"x": [1, 2.5, True]}], "n": {"inf": float("inf")},
    }  # fmt: skip


def test_lists_of_tables():
    """Sets of symmetry functions; one activation, or one for each layer."""
    acsf = jaxpot.descriptors.ACSF(("Si", "O"), (jaxpot.descriptors.G2(jaxpot.CosineCutoff(4.0), [0.1, 0.5]), jaxpot.descriptors.G4(jaxpot.cutoffs.BumpCutoff(3.0), zeta=[1, 4], mixing=[[1.0], [2.0]])))
    assert model_from_table({"class": "AtomicPotential", "descriptor": table_from_model(acsf), "head": {"class": "Linear"}}).descriptor == acsf
    for activation, tables in ((jaxpot.heads.SiLU(), {"class": "SiLU"}), ((jaxpot.heads.Tanh(), jaxpot.heads.SiLU()), [{"class": "Tanh"}, {"class": "SiLU"}])):
        head = {"class": "MLP", "hidden": [4, 3], "activation": tables}
        model = model_from_table({"class": "AtomicPotential", "descriptor": table_from_model(acsf), "head": head})
        assert model.head.activation == activation


def test_entry_point():
    for command in ([sys.executable, "-m", "jaxpot"], [shutil.which("jaxpot", path=str(sys.executable).rsplit("/", 1)[0]) or "jaxpot"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("jaxpot "), done.stderr
    done = subprocess.run([sys.executable, "-m", "jaxpot", "info", "/nothing.npz"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "jaxpot: error: no model file at /nothing.npz\n"
