"""GAPs that write_gap writes: QUIP predicts what the model does, what is read is the model, and what QUIP does not have is refused."""

import importlib.util
import os
import sys
from pathlib import Path

import ase.build
import jax
import numpy as np
import pytest
from catalog import quick_jit

import jaxpot
from jaxpot import SOAP, AtomicPotential, CosineCutoff, Density, IsolatedAtoms, Linear, PolynomialKernel, SparseGP
from jaxpot.cutoffs import PolynomialCutoff, Willatt
from jaxpot.descriptors import CompressedSOAP, ThreeBody, Triangles, TurboDensity, TwoBody
from jaxpot.empirical import CubicSpline, LennardJones, PairSpline
from jaxpot.heads import References
from jaxpot.io.gap import read_gap
from jaxpot.io.gap_soap import soap
from jaxpot.io.gap_writer import write_gap
from jaxpot.io.gap_xml import settings_of
from jaxpot.kernels import Matern, SquaredExponential, Symmetrised
from jaxpot.radial import GTO, EquispacedGaussians, Poly3, Poly3Gauss

HERE = Path(__file__).parent
sys.path.append(str(HERE / "gap_written"))
from make import digest, frames, predictions  # noqa: E402

NAMES = ("hco", "sic", "turbo")
evaluate = quick_jit(lambda model, graph: (jaxpot.evaluate(model, graph), model.energies(graph)))


def compare(name, model, expected):
    """To round-off; forces of soap_turbo are not the derivatives of QUIP's energies, by up to 3e-7 eV/Å."""
    structures = frames(model.species, 3, seed=2)
    graphs = jaxpot.stack([jaxpot.from_atoms(atoms, float(model.reach)) for atoms in structures])
    for i, atoms in enumerate(structures):
        found, energies = evaluate(model, jax.tree_util.tree_map(lambda x, i=i: x[i], graphs))
        n, turbo = len(atoms), name == "turbo"
        np.testing.assert_allclose(found.energy, expected["energy"][i], rtol=0, atol=1e-10 * n, err_msg=i)
        if name != "sic":  # whose triangles share their energies out among the atoms in another way
            np.testing.assert_allclose(energies[:n], expected["energies"][i], rtol=0, atol=1e-9, err_msg=i)
        np.testing.assert_allclose(found.forces[:n], expected["forces"][i], rtol=0, atol=5e-7 if turbo else 1e-9, err_msg=i)
        np.testing.assert_allclose(found.virial, expected["virial"][i], rtol=0, atol=3e-6 if turbo else 1e-9, err_msg=i)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_that_quip_evaluated(name, tmp_path):
    write_gap(tmp_path / f"{name}.xml", jaxpot.load(HERE / "gap_written" / f"{name}.npz"))
    expected = np.load(HERE / "gap_written" / f"{name}_quippy.npz")["digest"]
    assert digest(tmp_path) == str(expected), "write_gap writes other files than it did: run gap_written/make.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_quip_made_of_the_files(name):
    compare(name, jaxpot.load(HERE / "gap_written" / f"{name}.npz"), np.load(HERE / "gap_written" / f"{name}_quippy.npz"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("quippy") is None, reason="needs QUIP: pip install quippy-ase")
@pytest.mark.parametrize("name", NAMES)
def test_quip(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where QUIP looks for a compress_file
    model = jaxpot.load(HERE / "gap_written" / f"{name}.npz")
    compare(name, model, predictions(write_gap(tmp_path / f"{name}.xml", model), frames(model.species, 3, seed=2)))


PUBLISHED = {"gap_si_2b": None, "gap_si_2b_soap": None, "gap_mo_2b_3b_soap": None, "gap_hco": None, "mlearn_mo_gap_example": ("Mo",)}


@pytest.mark.skipif(not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published(name, tmp_path):
    model = read_gap(Path(os.environ["JAXPOT_DATA"]) / "potentials" / name / "gap.xml", species=PUBLISHED[name])
    assert read_gap(write_gap(tmp_path / "gap.xml", model)) == model


@pytest.mark.parametrize("path", sorted((HERE / "gap_small").glob("*.xml")), ids=lambda path: path.stem)
def test_written_and_read_again(path, tmp_path):
    model = read_gap(path)
    assert read_gap(write_gap(tmp_path / path.name, model)) == model


@pytest.mark.parametrize("name", NAMES)
def test_fitted_here_and_read_again(name, tmp_path):
    """A fit's points are read in the order of their kinds."""
    model = jaxpot.load(HERE / "gap_written" / f"{name}.npz")
    again = read_gap(write_gap(tmp_path / "a b&c.xml", model))
    assert read_gap(write_gap(tmp_path / "again.xml", again)) == again and set(again.species) == set(model.species)
    for one, other in zip([t for t in model.terms if hasattr(t, "head")], [t for t in again.terms if hasattr(t, "head")], strict=True):
        np.testing.assert_array_equal(np.sort(one.head.coefficients), np.sort(other.head.coefficients))


def test_without_constants(tmp_path):
    model = gp(PAIRS, SE)
    assert read_gap(write_gap(tmp_path / "a.xml", model)) == model + IsolatedAtoms({"Si": 0.0})


COMPRESSIONS = np.load(HERE / "gap_small" / "compressions.npz")


def points(n, kinds=(0, 0), **more):
    return References(features=np.random.default_rng(0).normal(size=(len(kinds), n)), kinds=np.array(kinds), **more)


def gp(descriptor, kernel, kinds=(0, 0), **more):
    n, weights = descriptor.n_features, None if isinstance(kernel, PolynomialKernel) else np.ones(len(kinds))
    return AtomicPotential(descriptor, SparseGP(kernel, references=points(n, kinds, weights=weights), coefficients=np.arange(1.0, 1 + len(kinds)), **more))


@pytest.mark.parametrize("text", sorted(set(COMPRESSIONS.files) - {"settings", "positions", "numbers"}))
def test_compressions(text, tmp_path):
    """The keys of QUIP are found that make the same features."""
    settings = settings_of(f"{COMPRESSIONS['settings']} {text}", text)[1]
    descriptor = soap(settings, ("H", "O"), (1, 8), text)[0]
    model = gp(descriptor, PolynomialKernel(2.0, offset=0.3), kinds=(1, 1, 0)) + IsolatedAtoms({"H": -1.0, "O": -2.0})
    again = read_gap(write_gap(tmp_path / "a.xml", model))
    if descriptor.normalize:
        assert again == model
    assert again.terms[0].descriptor == descriptor
    np.testing.assert_allclose(again.terms[0].head.references.features, model.terms[0].head.references.features, rtol=1e-14)
    np.testing.assert_allclose([again.terms[0].head.delta, again.terms[0].head.kernel.offset], [1.0, 0.3], rtol=1e-14)


COSINE, SE, DOT = CosineCutoff(3.0, width=0.5), SquaredExponential(0.8), PolynomialKernel(2.0)
PAIRS, SI = TwoBody(("Si",), COSINE), IsolatedAtoms({"Si": -1.0})
SPLINE = PairSpline(("Si",), (("Si", "Si"),), (CubicSpline([1.0, 2.0], [3.0, 0.0]),))


def density(species=("Si",), cutoff=COSINE, radial=None, **more):
    return Density(species, cutoff, EquispacedGaussians(2) if radial is None else radial, l_max=1, sigma=0.5, **more)


def turbo(radial=None, species=("Si",), window=4.0, **more):
    return TurboDensity(species, 3.0, Poly3(2) if radial is None else radial, l_max=1, sigma=0.5, sigma_angular=0.5, window=window, **more)


ISOSCELES = Triangles(("Si", "C"), COSINE, kinds=(("C", "Si", "Si"),))
REFUSED = {
    "kernel of distances": (lambda: gp(PAIRS, Matern(0.8)), "QUIP's distance_2b has the kernel SquaredExponential(theta), got Matern"),
    "kernel of angles": (lambda: gp(ThreeBody(("Si",), COSINE), Matern(0.8)), "QUIP's angle_3b has the kernel SquaredExponential"),
    "cutoff": (lambda: gp(TwoBody(("Si",), PolynomialCutoff(3.0)), SE), "has the cutoff CosineCutoff(radius, width), got PolynomialCutoff"),
    "no symmetry": (
        lambda: gp(Triangles(("Si",), COSINE), Symmetrised(Matern(0.8), Triangles(("Si",), COSINE).permutations)),
        "QUIP's distance_Nb has the kernel SquaredExponential(theta), got Matern",
    ),
    "length of exchanged sides": (
        lambda: gp(ISOSCELES, Symmetrised(SquaredExponential([0.8, 0.9, 0.7]), ISOSCELES.permutations)),
        "differs for sides that equal atoms exchange",
    ),
    "radial functions": (lambda: gp(SOAP(density(radial=GTO(2))), DOT), "EquispacedGaussians of every element, got GTO"),
    "channels": (lambda: gp(SOAP(density(("Si", "C"), channels=[[1.0], [2.0]])), DOT), "EquispacedGaussians with channels of mixed elements"),
    "cutoff of densities": (lambda: gp(SOAP(density(cutoff=PolynomialCutoff(3.0))), DOT), "QUIP's soap has the cutoff CosineCutoff"),
    "exponent": (lambda: gp(SOAP(density(cutoff=Willatt(COSINE, 1.0, 2.0, 2.5))), DOT), "cutoff_dexp is a whole number, the exponent of Willatt is 2.5"),
    "mixing": (lambda: gp(CompressedSOAP(density(), np.array([[0.1], [0.2]])), DOT), "no keys of QUIP's soap choose or mix features as this"),
    "kernel of spectra": (lambda: gp(SOAP(density()), SE), "QUIP's kernel of power spectra is PolynomialKernel(zeta), got SquaredExponential"),
    "window": (lambda: gp(SOAP(turbo(window=None)), DOT), "QUIP's soap_turbo has window=4.0"),
    "offset": (lambda: gp(SOAP(turbo()), PolynomialKernel(2.0, offset=0.1)), "and the kernel's offset 0"),
    "two bases": (lambda: gp(SOAP(turbo((Poly3(2), Poly3Gauss(2)), ("Si", "C"))), DOT), "Poly3 or Poly3Gauss for all elements, got Poly3, Poly3Gauss"),
    "centre of one": (lambda: gp(SOAP(turbo(center_weight=0.5)), DOT), "takes 1 for the center_weight of one element"),
    "mixing of turbo": (lambda: gp(CompressedSOAP(turbo(), np.array([[0.1], [0.2]])), DOT), "mixes channels as `sensitivity` does"),
    "head": (lambda: AtomicPotential(SOAP(density()), Linear(coefficients=np.ones(6))), "cannot hold AtomicPotential(SOAP, Linear)"),
    "baseline": (lambda: gp(PAIRS, SE) + LennardJones(("Si",), 0.1, 2.0, cutoff=PolynomialCutoff(3.0)), "cannot hold LennardJones"),
    "core of others": (lambda: gp(PAIRS, SE) + PairSpline(("C",), (("C", "C"),), SPLINE.splines), "no Gaussian process has a sparse point with C"),
    "two cores": (lambda: gp(PAIRS, SE) + SPLINE + SPLINE, "at most one PairSpline, got 1 and 2"),
    "no process": (lambda: SI + SPLINE, "expected a Gaussian process"),
    "not fitted": (lambda: AtomicPotential(PAIRS, SparseGP(SE)) + SI, "has no coefficients yet"),
    "other atoms": (lambda: gp(PAIRS, SE) + IsolatedAtoms({"C": 1.0}), "constants of C"),
    "no points": (lambda: gp(TwoBody(("Si", "C"), COSINE), SE), "no Gaussian process has a sparse point with C"),
    "not finite": (lambda: gp(PAIRS, SE).with_coefficients(np.array([1.0, np.nan])), "alpha[1] is nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    model, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError)) as error:
        write_gap(tmp_path / "a.xml", model())
    assert message in str(error.value) and str(error.value).startswith("write_gap: ")
    assert not list(tmp_path.iterdir())


def test_a_path_comes_first():
    with pytest.raises(TypeError, match=r'the path comes first, got AtomicPotential; write write_gap\("gap.xml", potential\)'):
        write_gap(gp(PAIRS, SE), "a.xml")


def pairs_of(kinds, coefficients, distances):
    """Pairs with one sparse point of each kind."""
    points = References(features=np.array(distances)[:, None], kinds=np.arange(len(kinds)), weights=np.ones(len(kinds)))
    head = SparseGP(SquaredExponential(0.5), references=points, coefficients=np.array(coefficients))
    return AtomicPotential(TwoBody(("Si", "C"), CosineCutoff(4.0, width=1.0), kinds), head)


def spectra(seed):
    soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), EquispacedGaussians(3), l_max=2, sigma=0.5))
    x = np.random.default_rng(seed).normal(size=(3, soap.n_features))
    references = References(features=x / np.linalg.norm(x, axis=1)[:, None], kinds=np.zeros(3, int))
    return AtomicPotential(soap, SparseGP(PolynomialKernel(2.0), references=references, coefficients=np.array([1.0, -2.0, 0.5])))


def test_two_processes_of_one_kind_are_two_terms(tmp_path):
    """The order of neighbours makes no other kind; each has its own points, whose variance is not that of them together."""
    both = pairs_of((("Si", "C"), ("Si", "Si")), [0.1, -0.2], [2.0, 2.4]), pairs_of((("C", "Si"),), [0.3], [2.2])
    constants = IsolatedAtoms({"Si": -158.5, "C": -147.0})
    for model in (both[0] + both[1] + constants, spectra(0) + spectra(1) + IsolatedAtoms({"Si": 0.0})):
        found = read_gap(write_gap(tmp_path / "gap.xml", model))
        assert [term.head.n_coefficients for term in found.terms[:2]] == [term.head.n_coefficients for term in model.terms[:2]]
        atoms = ase.build.bulk("SiC", "zincblende", a=4.36) if len(model.species) > 1 else ase.build.bulk("Si")
        atoms.rattle(0.1, seed=1)
        np.testing.assert_allclose(found(atoms), model(atoms), rtol=0, atol=1e-12)
        write_gap(tmp_path / "again.xml", found)
        assert read_gap(tmp_path / "again.xml") == found
