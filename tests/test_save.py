"""Model files: what is written is read back; what is damaged is refused."""

import contextlib
import json
from pathlib import Path

import catalog
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpot as jp
from jaxpot.io import convert
from jaxpot.io.posterior import load_posterior
from jaxpot.trees import pytree, static, walk

MODEL = jp.AtomicPotential(
    jp.SOAP(jp.Density(("Si", "C"), jp.cutoffs.Willatt(jp.CosineCutoff(5.0, width=1.0), 1.0, 3.0, 4.0), jp.GTO(2), 1, sigma=0.5, channels=np.ones((2, 1)))),
    jp.SparseGP(jp.PolynomialKernel(4.0), references=jp.heads.References(features=np.ones((3, 6)), kinds=np.array([0, 0, 1])), coefficients=np.arange(3.0)),
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
        (lambda h: h.update(model={"class": ["Sum"]}), r"the model has the unknown class \['Sum'\]"),
        (lambda h: h.update(format=0), "format 0"),
        (lambda h: h.update(model=7), "the model is 7; expected an object"),
        (lambda h: h["model"]["terms"].pop(), r"arrays that its model does not name: terms\.1\.values"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(l_max=True), r"expansion .*l_max must be an integer, got True"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(l_max="1"), r"expansion .*l_max must be an integer, got '1'"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(species=[["Si"]]), r"expansion .*species"),
        (lambda h: h["model"]["terms"][0]["descriptor"]["expansion"].update(radial=None), r"expansion .*radial must be a RadialBasis, got None"),
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


# --- files of earlier releases ----------------------------------------------------------------------------------------------

OLD = Path(__file__).parent / "files_0_1_0"
EXPECTED = np.load(OLD / "expected.npz")
# with parts that have moved since, or one of each kind; the numbers of all others are slow
FIRST = {"covariance", "covariance-frozen", "dipole", "dipole-gp-frozen", "mbtr-first", "polarizability-gp", "sgdml", "three-body-frozen"}


@pytest.fixture
def loaded():
    def load(name):
        with pytest.warns(match="also holds the posterior") if name.startswith("covariance") else contextlib.nullcontext():
            return jp.load(OLD / f"{name}.npz", like=catalog.potential(name) if name == "nnx" else None)

    return load


@pytest.mark.parametrize("name", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in EXPECTED.files])
def test_models_of_0_1_0_predict_what_they_did(name, loaded):
    model, expected = loaded(name), EXPECTED[name]
    if not hasattr(model, "reach"):
        return
    cell = catalog.CELL if name in catalog.CRYSTALLINE else None
    alone = name in (*catalog.MOLECULAR, *catalog.CRYSTALLINE, "laplacian", "dipole")
    graph = catalog.to_graph(catalog.rattled(3, cell)) if alone else catalog.graph("slab")
    if isinstance(model, jp.Potential):
        found = catalog.evaluate(model, graph)
        got = np.concatenate([np.ravel(x) for x in (found.energy, found.forces, found.virial)])
    else:
        got = np.ravel(catalog.features(model, graph))
    assert catalog.relative(got, expected[: len(got)]) < 1e-12


@pytest.mark.parametrize("name", ["covariance", pytest.param("covariance-frozen", marks=pytest.mark.slow), pytest.param("covariance-quadratic", marks=pytest.mark.slow)])
def test_posteriors_of_0_1_0_are_objects_of_their_own(name, loaded):
    posterior = load_posterior(OLD / f"{name}.npz")
    assert posterior.model == loaded(name)
    found = catalog.quick_jit(jp.fit.Posterior.variance)(posterior, catalog.graph("slab"))
    np.testing.assert_allclose(found, EXPECTED[name][-1], rtol=1e-9)


def test_files_without_a_posterior_are_refused(file):
    for path in (file, OLD / "ace.npz"):
        with pytest.raises(ValueError, match="holds no posterior of its model as a whole; write jaxpot.load"):
            load_posterior(path)


def test_every_file_of_0_1_0_is_read(loaded):
    assert sorted(path.stem for path in OLD.glob("*.npz")) == sorted([*EXPECTED.files, "expected"])
    for name in sorted(set(EXPECTED.files) - FIRST):
        loaded(name)


def test_sparse_points_of_0_1_0_carry_nothing(loaded):
    points, graph = loaded("points"), loaded("graph")
    assert points.carried.shape == (*points.mask.shape, 0) and points.center_carried.shape == (*points.center.shape, 0)
    assert graph.charge == 0 and graph.field.tolist() == [0, 0, 0] and graph.positions.dtype == graph.field.dtype


def test_a_converted_model_is_written_in_todays_format(tmp_path, loaded):
    model = loaded("mbtr-first")
    path = jp.save(tmp_path / "again", model)
    with np.load(path) as file:
        assert json.loads(str(file["jaxpot"]))["format"] == 2
    assert jp.load(path) == model


@pytree
class Half:
    scale: jnp.ndarray


@pytree
class Whole:
    half: Half
    factor: jnp.ndarray
    power: int = static()


@pytest.fixture
def old_file(tmp_path):
    """A file of format 1, of two classes that are today Whole and Half."""
    arrays = {"x.scale": np.array(2.0), "waste": np.ones(3), "deeper.waste": np.ones(2)}
    model = {"class": "Previous", "scale": {"array": "x.scale"}, "exponent": 3, "covariance": [{"array": "waste"}, {"class": "Gone", "x": {"array": "deeper.waste"}}]}
    path = tmp_path / "old.npz"
    np.savez(path, jaxpot=np.array(json.dumps({"format": 1, "jaxpot": "0.1.0", "model": [model]})), **arrays)
    return path


def test_conversions(old_file, monkeypatch):
    steps = (
        convert.called("Whole"), convert.renamed(exponent="power"), convert.dropped("covariance", "root"), convert.nested("half", "Half", "scale"),
        convert.added(factor=np.array(5.0), power=7),
    )  # fmt: skip
    monkeypatch.setitem(convert.TABLES[0], "Previous", steps)
    assert jp.load(old_file) == (Whole(Half(2.0), 5.0, 3),)


def test_what_is_not_converted_says_what_to_do(old_file, monkeypatch):
    with pytest.raises(ValueError, match=r"old\.npz: 0 has the unknown class 'Previous'.* written by jaxpot 0\.1\.0, load it with that release"):
        jp.load(old_file)
    monkeypatch.setitem(convert.TABLES[0], "Previous", (convert.called("Half"),))
    with pytest.raises(ValueError, match=r"old\.npz: 0 \(Half\) lacks fields \[\] and has unknown fields \['covariance', 'exponent'\]; .* 0\.1\.0"):
        jp.load(old_file)
    monkeypatch.setitem(convert.TABLES[0], "Gone", (convert.refused("there is no Gone any more; fit the model anew"),))
    with pytest.raises(ValueError, match=r"old\.npz: 0\.covariance\.1 \(Gone\): there is no Gone any more; fit the model anew$"):
        jp.load(old_file)


# --- classes of others ------------------------------------------------------------------------------------------------------


def _user_classes():
    @pytree
    class GTO:  # the library has one
        n_max: int = static()

    @pytree
    class Half:  # so has this module
        scale: jnp.ndarray

    return GTO, Half


def test_classes_of_others_may_have_the_librarys_names(tmp_path):
    mine, half = _user_classes()
    path = jp.save(tmp_path / "x", (mine(3), jp.GTO(4), half(1.0), Half(2.0)))
    again = jp.load(path)
    assert [type(x) for x in again] == [mine, jp.GTO, half, Half] and again[0].n_max == 3
    newer = _user_classes()[0]  # as in a notebook
    assert type(jp.load(path)[0]) is newer
    old = mine(5)
    assert repr(old) == "GTO(n_max=5)" and type(jp.load(jp.save(path, old))) is newer


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_models:Gaussian", r"unknown class 'my_models:Gaussian'; write import my_models first"),
        ("__main__:Gaussian", r"unknown class '__main__:Gaussian'; define Gaussian in this script first"),
    ],
)
def test_modules_are_not_imported_by_a_file(file, name, message):
    rewrite(file, lambda h: h["model"]["terms"][0]["head"]["kernel"].update({"class": name}))
    with pytest.raises(ValueError, match=rf"terms\.0\.head\.kernel has the {message}"):
        jp.load(file)


def test_the_name_alone_is_enough_where_it_is_the_only_one(file):
    """As in files of format 1, and in configurations."""
    model = {"class": "Whole", "half": {"class": "test_save:Half", "scale": None}, "factor": None, "power": 2}
    rewrite(file, lambda h: h.update(model=model), drop=[path for path, _, _ in walk(MODEL)])
    assert jp.load(file) == Whole(Half(None), None, 2)
    _user_classes()
    rewrite(file, lambda h: h.update(model={"class": "Half", "scale": None}))
    with pytest.raises(ValueError, match=r"ambiguous class 'Half'; write '.*test_save:.*Half' or '.*test_save:.*Half'"):
        jp.load(file)
