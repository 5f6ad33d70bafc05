"""Kernels between whole structures and the global density against DScribe."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from catalog import assert_below, quick_jit
from test_soap import dscribe_soap, dscribe_spectrum, graph_of, n_elements, oracle, relative, structures, values

from jaxpot import SOAP, Density, PolynomialKernel, from_atoms, stack
from jaxpot.cutoffs import Step
from jaxpot.descriptors.global_soap import GlobalSOAP
from jaxpot.kernels import SquaredExponential
from jaxpot.math.matching import Average, REMatch
from jaxpot.radial import SolidGTO

LINEAR = PolynomialKernel(1.0)
GAUSSIAN = SquaredExponential(np.sqrt(0.5))  # scikit-learn's exp(−|x − y|²)
# name -> kernel, matching, whether normalised, tolerance: DScribe stops iterating REMatch at a finite threshold
KERNELS = {
    "average_linear": (LINEAR, Average(), True, 1e-12),
    "average_linear_raw": (LINEAR, Average(), False, 1e-12),
    "average_rbf": (GAUSSIAN, Average(), True, 1e-12),
    "average_poly2": (PolynomialKernel(2.0), Average(), True, 1e-12),
    "rematch_a1": (LINEAR, REMatch(1.0), True, 1e-6),
    "rematch_a01": (LINEAR, REMatch(0.1), True, 1e-6),
    "rematch_rbf": (GAUSSIAN, REMatch(0.5), False, 1e-7),
}


@quick_jit
def pairwise(kernel, matching, x, y, rows, columns):
    return matching(kernel(x, y), rows, columns)


def matrix(name, features):
    """The kernels between all structures, padded to one size."""
    kernel, matching, normalize, _ = KERNELS[name]
    n = max(len(x) for x in features)
    padded = [(jnp.asarray(np.pad(x, ((0, n - len(x)), (0, 0)))), jnp.arange(n) < len(x)) for x in features]
    k = np.array([[pairwise(kernel, matching, x, y, rows, columns) for y, columns in padded] for x, rows in padded])
    return k / np.sqrt(np.outer(np.diag(k), np.diag(k))) if normalize else k


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_dscribe_features(name):
    file, info = oracle("dscribe_kernels")
    got = matrix(name, [file[f"{s}/soap_normalised"] for s in info["order"]])
    assert_below({name: np.max(np.abs(got - file[f"kernels/{name}"]))}, KERNELS[name][3])


def test_kernels_of_own_features():
    """From positions on: SOAP in DScribe's order, its rows divided by their norms."""
    file, info = oracle("dscribe_kernels")
    case = info["soap"]
    density = Density(("H", "C", "O"), Step(case["r_cut"]), SolidGTO(case["n_max"]), case["l_max"], sigma=case["sigma"])
    soap = SOAP(density, normalize=False)
    atoms = [Atoms(file[f"{s}/numbers"], file[f"{s}/positions"], cell=file[f"{s}/cell"], pbc=file[f"{s}/pbc"]) for s in info["order"]]
    batch = np.asarray(values(soap, stack([from_atoms(a, float(soap.reach)) for a in atoms])))
    features = [dscribe_spectrum(p[: len(a)], soap, 3) for p, a in zip(batch, atoms, strict=True)]
    features = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in features]
    errors = {s: relative(x, file[f"{s}/soap_normalised"]) for s, x in zip(info["order"], features, strict=True)}
    assert_below(errors, 1e-9)
    for name, (_, _, _, tolerance) in KERNELS.items():
        assert_below({name: np.max(np.abs(matrix(name, features) - file[f"kernels/{name}"]))}, max(tolerance, 1e-10))


@quick_jit
def global_values(descriptor, graphs):
    return jax.vmap(descriptor.features)(graphs)


def test_global_density():
    """DScribe's average "inner" is the spectrum of the mean of the densities, that of their sum divided by N²."""
    file, info = oracle("dscribe_soap")
    names = structures(file, "gto_inner/features")
    soap = dscribe_soap(info["cases"]["gto_inner"])
    descriptor = GlobalSOAP(soap.expansion, normalize=False)
    assert descriptor.n_features == soap.n_features and descriptor.labels() == soap.labels()
    graphs = [graph_of(file, name, soap.reach) for name in names]
    spectra = np.asarray(global_values(descriptor, stack(graphs)))
    errors = {}
    for name, graph, p in zip(names, graphs, spectra, strict=True):
        got = dscribe_spectrum(p[None], soap, n_elements(file, name))[0] / len(graph.numbers) ** 2
        errors[name] = relative(got, file[f"{name}/gto_inner/features"])
    assert len(errors) == 6
    assert_below(errors, 1e-9)
