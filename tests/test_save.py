"""Model files: what is written is read back; what is damaged is refused."""

import json

import numpy as np
import pytest

import jaxpot as jp

MODEL = jp.AtomicPotential(
    jp.SOAP(jp.Density(("Si", "C"), jp.Willatt(jp.CosineCutoff(5.0, width=1.0), 1.0, 3.0, 4.0), jp.GTO(2), 1, sigma=0.5, channels=np.ones((2, 1)))),
    jp.SparseGP(jp.PolynomialKernel(4.0), references=jp.References(features=np.ones((3, 6)), kinds=np.array([0, 0, 1])), coefficients=np.arange(3.0)),
) + jp.IsolatedAtoms({"Si": -1.0, "C": -2.0})


@pytest.fixture
def file(tmp_path):
    return jp.save(tmp_path / "model", MODEL)


def rewrite(file, change, drop=()):
    """The file with its header changed and arrays dropped."""
    with np.load(file) as old:
        arrays = {k: old[k] for k in old.files if k not in drop}
    header = json.loads(str(arrays.pop("jaxpot")))
    change(header)
    with open(file, "wb") as out:
        np.savez(out, jaxpot=np.array(json.dumps(header)), **arrays)


def test_round_trip(file):
    assert file.suffix == ".npz"
    loaded = jp.load(file)
    assert loaded == MODEL
    assert type(loaded.terms[0].descriptor.expansion.species) is tuple
    assert not list(file.parent.glob("*.partial"))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        jp.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a model at all", lambda b: b[:400] + bytes(200) + b[600:]])
def test_damaged_files(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"model\.npz"):
        jp.load(file)


@pytest.mark.parametrize(
    ("change", "drop", "message"),
    [
        (lambda h: h.update(format=99), (), "format 99"),
        (lambda h: h["model"].update({"class": "Nonsense"}), (), "unknown class 'Nonsense'"),
        (lambda h: h["model"]["terms"][1].update(colour=1), (), r"terms\.1 \(IsolatedAtoms\).*colour"),
        (lambda h: h["model"]["terms"][0].pop("head"), (), r"terms\.0 .*lacks fields \['head'\]"),
        (lambda h: None, ("terms.0.head.coefficients",), r"array terms\.0\.head\.coefficients is missing"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(l_max=-1), (), r"terms\.0\.descriptor\.expansion .*l_max"),
        (lambda h: h.pop("model"), (), "not a readable"),
    ],
)
def test_wrong_content_is_refused_with_its_path(file, change, drop, message):
    rewrite(file, change, drop)
    with pytest.raises(ValueError, match=message):
        jp.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format="1"), "format 1"),
        (lambda h: h.update(format=None), "format None"),
        (lambda h: h.update(model={"array": []}), "not readable as a jaxpot model"),
        (lambda h: h.update(model={"mapping": 5}), "not readable as a jaxpot model"),
        (lambda h: h.update(model={"class": ["Sum"]}), "not readable as a jaxpot model"),
        (lambda h: h.update(model=7), "the model is 7; expected an object"),
        (lambda h: h["model"]["terms"].pop(), r"arrays that its model does not name: terms\.1\.values"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(l_max=True), r"density .*l_max must be an integer, got True"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(l_max="1"), r"density .*l_max must be an integer, got '1'"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(species=[["Si"]]), r"density .*species"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(radial=None), r"density .*radial must be a RadialBasis, got None"),
        (lambda h: h["model"]["terms"][0]["head"].update(kernel={"array": "terms.0.head.delta"}), r"head .*kernel must be a Kernel"),
        (lambda h: h["model"]["terms"][1].update(values={"array": "terms.0.head.delta"}), r"terms\.1 .*values must have shape \[2\], got \(\)"),
        (lambda h: h["model"]["terms"][0]["head"].update(delta={"array": "terms.1.values"}), r"head .*delta must be a number, got shape \(2,\)"),
    ],
)
def test_headers_that_are_no_models(file, change, message):
    rewrite(file, change)
    with pytest.raises(ValueError, match=message) as caught:
        jp.load(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_hold_no_model(tmp_path):
    """A folder, a text file, NumPy files of somebody else, numbers that are none."""
    path = tmp_path / "x.npz"
    with pytest.raises(ValueError, match="is a folder; expected a model"):
        jp.load(tmp_path)
    path.write_text("a model")
    with pytest.raises(ValueError, match=r"x\.npz is not a readable jaxpot model .*no \.npz archive"):
        jp.load(path)
    with open(path, "wb") as out:
        np.save(out, np.ones(3))
    with pytest.raises(ValueError, match=r"x\.npz is not a readable .*no \.npz archive"):
        jp.load(path)
    np.savez(path, weights=np.ones(3), biases=np.ones(2))
    with pytest.raises(ValueError, match=r"x\.npz is not a readable .*an archive of other arrays: weights, biases"):
        jp.load(path)
    np.savez(path, jaxpot=np.ones(3))
    with pytest.raises(ValueError, match=r"x\.npz is not a readable"):
        jp.load(path)
    jp.save(path, MODEL)
    with np.load(path) as old:
        arrays = {k: old[k] for k in old.files}
    np.savez(path, **{**arrays, "terms.1.values": np.array(["a", "b"])})
    with pytest.raises(ValueError, match=r"x\.npz: the array terms\.1\.values is of <U1; expected numbers"):
        jp.load(path)
    np.savez(path, **{**arrays, "terms.1.values": np.array([np.nan, 1.0])})
    with pytest.raises(ValueError, match=r"x\.npz: terms\.1 .*values must be finite"):
        jp.load(path)


def test_arrays_of_a_wrong_shape_are_refused(file):
    with np.load(file) as old:
        arrays = {k: old[k] for k in old.files}
    arrays["terms.0.head.coefficients"] = np.ones(7)
    with open(file, "wb") as out:
        np.savez(out, **arrays)
    with pytest.raises(ValueError, match=r"terms\.0\.head .*3 sparse points"):
        jp.load(file)


def test_no_pickle_is_read(file):
    with open(file, "wb") as out:
        np.savez(out, jaxpot=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a readable"):
        jp.load(file)


def test_what_is_no_model_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="cannot save"):
        jp.save(tmp_path / "x", {1, 2})
