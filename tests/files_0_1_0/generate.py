"""Writes the model files of this folder and `expected.npz`; ran once with jaxpot 0.1.0 (commit 69dfbe4), whose format they keep.

The numbers are those of the models before they were saved: energy, forces and virial, or the tensor, of one structure of the catalogue.
`mbtr-first.npz` and its numbers are of the same release, before MBTR had a choice of distances and angles (commit baabd6c).
"""

import sys
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
jax.config.update("jax_enable_x64", True)

import catalog  # noqa: E402
from catalog import ALCHEMICAL, COSINE, SPECIES, _fitted, _random, _whole  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot.math import activations  # noqa: E402
from jaxpot.potentials.core import ScreenedCore  # noqa: E402

# differ from others by numbers alone
LEFT_OUT = {
    "soap-no-center", "soap-equispaced", "soap-sharp", "ace-alchemical", "gp-matern-5/2", "structure-best-match", "chunked", "finnis-sinclair",
    "coulomb-spectrum", "sine-spectrum", "gp-polynomial-offset", "tabulated", "bag-of-bonds", "linen", "structure-average", "soap-unnormalized",
    "gp-squared-exponential", "gp-matern-3/2", "bispectrum-by-element",
}
SMALL = jp.SOAP(jp.Density(SPECIES, COSINE, jp.GTO(2), 1, sigma=0.5))
VECTOR, MATRIX = (jp.LambdaSOAP(SMALL.density, lam) for lam in (1, 2))


def _labelled(seed):
    atoms, rng = catalog.rattled(seed), np.random.default_rng(seed)
    atoms.info["energy"], atoms.arrays["forces"] = rng.normal(), rng.normal(size=(5, 3))
    return atoms


def _with_covariance(terms):
    data = jp.Dataset.from_atoms([_labelled(seed) for seed in range(3)], catalog.LIST, sigma=jp.Properties(energy=0.05, forces=0.3))
    return jp.fit.linear(terms, data, covariance=True)


def _points():
    envs = jp.environments(catalog.graph("slab"), SMALL.reach, SPECIES)
    return jax.tree_util.tree_map(lambda x: np.asarray(x)[:3], envs)


def _gp():
    return jp.AtomicPotential(SMALL, jp.SparseGP(jp.PolynomialKernel(2.0), delta=0.7, jitter=1e-6)).with_points(_points())


def _tabulated():
    density = jp.Density(SPECIES, COSINE, jp.GTO(2), 1, sigma=0.5, channels=ALCHEMICAL[:, :1])
    return jp.tabulate(_fitted(jp.AtomicPotential(jp.SOAP(density), jp.Linear())), accuracy=1e-4)


def _lambda_gp():
    return _fitted(jp.Polarizability(scalar=SMALL, tensor=MATRIX, head={0: _gp().head, 2: jp.tensors.LambdaGP(jp.kernels.LambdaKernel(2.0), delta=0.5)}).with_points(_points()))


def _network(activation):
    return jp.AtomicPotential(SMALL, jp.MLP((3,), activation=activation, shift=np.zeros((2, SMALL.n_features)), scale=np.ones((2, SMALL.n_features))))


EXTRA = {
    "covariance": lambda: _with_covariance(_gp() + jp.AtomicPotential(SMALL, jp.Linear(scale=0.2)) + jp.IsolatedAtoms({"C": 0.0, "Si": -1.0})),
    "covariance-frozen": lambda: jp.freeze(_with_covariance(_gp())),
    "covariance-quadratic": lambda: _with_covariance(jp.AtomicPotential(jp.descriptors.Bispectrum(SPECIES, 3.1, 1), jp.heads.Quadratic())),
    "collapsed": lambda: jp.tabulate(_fitted(_gp()), accuracy=1e-4),
    "tabulated-small": _tabulated,
    "committee": lambda: jp.potentials.Committee((catalog.potential("lennard-jones"), catalog.potential("zbl"))),
    "by-distance": lambda: jp.empirical.Switched(catalog.potential("lennard-jones"), ScreenedCore(SPECIES, 2.0, 0.5), jp.empirical.ByDistance(1.4, 0.5)),
    "laplacian": lambda: _whole(jp.descriptors.BagOfBonds(SPECIES, (3, 2)), jp.kernels.Laplacian(30.0)),
    "cheb-linear": lambda: _fitted(jp.AtomicPotential(jp.ACE(jp.descriptors.BondDensity(SPECIES, [[2.8, 3.1], [3.1, 3.2]], (jp.radial.ChebLinear(2), jp.radial.SBessel(2)), 1, kinds=((0, 1), (1, 0))), jp.TotalDegree((2, 2))), jp.Linear())),
    "listed": lambda: _fitted(jp.AtomicPotential(jp.ACE(jp.Density(SPECIES, jp.cutoffs.PowerCutoff(3.2), jp.radial.Agnesi(2, 1.6), 1, sigma=None, center_weight=0.0), jp.descriptors.Listed(((((0, 0),), ((1, 0),))), )), jp.Linear())),
    "activation": lambda: _network(activations.Gaussian()),
    "shifted-power": lambda: jp.AtomicPotential(SMALL, jp.heads.Embedding(_random(2, 2 * SMALL.n_features), [1.0, 0.5], [1.0, 0.7], power=jp.heads.ShiftedPower())),
    "dipole": lambda: _fitted(jp.tensors.Dipole(tensor=VECTOR, charges=SMALL)),
    "polarizability": lambda: _fitted(jp.Polarizability(scalar=SMALL, tensor=MATRIX)),
    "polarizability-gp": _lambda_gp,
    "dipole-gp-frozen": lambda: jp.freeze(_fitted(jp.tensors.Dipole(tensor=VECTOR, head=jp.tensors.LambdaGP(jp.kernels.LambdaKernel(2.0))).with_points(_points()))),
    "tensor": lambda: _fitted(jp.tensors.Tensor(VECTOR, (0,), per_atom=True)),
    "descriptor": lambda: SMALL,
    "points": _points,
    "graph": lambda: catalog.graph("slab"),
}


def structure_of(name):
    cell = catalog.CELL if name in catalog.CRYSTALLINE else None
    return catalog.to_graph(catalog.rattled(3, cell)) if name in (*catalog.MOLECULAR, *catalog.CRYSTALLINE, "laplacian", "dipole") else catalog.graph("slab")


def numbers_of(name, model):
    """Energy, forces and virial of a potential, also the variance where its covariance is known, or what a tensor or descriptor gives; one row."""
    graph, found = structure_of(name), ()
    if isinstance(model, jp.Potential):
        of = catalog.evaluate(model, graph)
        found = (of.energy, of.forces, of.virial, *((catalog.quick_jit(jp.fit.variance)(model, graph),) if name.startswith("covariance") else ()))
    elif hasattr(model, "reach"):
        found = (catalog.quick_jit(lambda model, graph: model(graph))(model, graph),)
    return np.concatenate([np.zeros(0), *(np.ravel(x) for x in found)])


def write(name, model):
    """As `jaxpot.save`, and compressed, so that all files are small together."""
    path = jp.save(HERE / f"{name.replace('/', '-')}.npz", model)
    with np.load(path) as file:
        content = {key: file[key] for key in file.files}
    np.savez_compressed(path, **content)


if __name__ == "__main__":
    numbers = {}
    for name, make in {**catalog.POTENTIALS, **catalog.MOLECULAR, **catalog.CRYSTALLINE, **EXTRA}.items():
        if name not in LEFT_OUT:
            model = make()
            write(name, model)
            numbers[name.replace("/", "-")] = numbers_of(name, model)
    np.savez_compressed(HERE / "expected.npz", **numbers)
