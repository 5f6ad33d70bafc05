"""How blocks.yaml was made, a file of pacemaker with B-functions of all orders, its .yace form and results_yaml.npz: by python-ace 0.4.0rc1.

Run here: `python make_yaml.py`. The numbers mean nothing. Tables of python-ace have a step of 1e-4 Å here.
"""

import itertools

import ase
import numpy as np
from pyace import PyACECalculator
from pyace.basis import ACEBBasisSet

STRUCTURES = dict(np.load("results.npz"))
rng = np.random.default_rng(1)
DEGREES = {
    1: [(0,)], 2: [(0, 0), (1, 1), (2, 2)], 3: [(1, 1, 2), (2, 2, 2)], 4: [(1, 1, 1, 1), (0, 1, 2, 1), (2, 1, 2, 1)], 5: [(1, 1, 1, 1, 2), (0, 1, 1, 2, 2)],
    6: [(1, 1, 1, 1, 1, 1), (0, 1, 1, 0, 2, 2)],
}  # fmt: skip


def ways(ls):
    """Degrees between that python-ace accepts for these."""
    for between in itertools.product(range(4), repeat=max(len(ls) - 2, 0)):
        results, fits = iter((*between, 0)), []

        def couple(a, b, results=results, fits=fits):
            c = next(results)
            fits.append(abs(a - b) <= c <= a + b)
            return c

        queue = [couple(*ls[i : i + 2]) for i in range(0, len(ls) - 1, 2)]
        while len(queue) > 1:
            queue.append(couple(queue.pop(0), queue.pop(0)))
        if len(ls) % 2 and len(ls) > 1:
            couple(queue.pop(0), ls[-1])
        if all(fits):
            yield between


def functions(elements, orders):
    found = []
    for order in orders:
        for ls in DEGREES[order]:
            neighbours = [elements[-1 - t % len(elements)] for t in range(order)]
            ns = rng.integers(1, 4 if order == 1 else 3, order)
            for between in list(ways(ls))[:3]:
                c = rng.normal(size=2) * 0.3 ** (order - 1)
                lint = f"lint: {list(between)}, " if between else ""
                skip = ", skip: true" if len(found) % 9 == 4 else ""
                found.append(f"      - {{type: {' '.join([elements[0], *neighbours])}, nr: {ns.tolist()}, nl: {list(ls)}, {lint}c: {c.tolist()}{skip}}}")
    return ["    nbody:", *found]


def radial(name, radius, flat=False, core=(40.0, 0.3), inner=1.4):
    table = np.round(rng.normal(size=(2, 3, 3)), 3)
    table = table.transpose(2, 0, 1).reshape(-1) if flat else table
    return [
        "    nradmaxi: 2", "    lmaxi: 2", f"    rcutij: {radius}", "    dcutij: 0.3", "    NameOfCutoffFunctionij: cos", f"    r_in: {inner}", "    delta_in: 0.4",
        "    inner_cutoff_type: distance", "    nradbaseij: 3", f"    radbase: {name}", "    radparameters: [2.5]", f"    radcoefficients: {table.tolist()}",
        f"    core-repulsion: [{core[0]}, {core[1]}]",
    ]  # fmt: skip


def embedding(name, parameters):
    return ["    ndensityi: 2", f"    npoti: {name}", f"    parameters: {parameters}", "    rho_core_cut: 6.0", "    drho_core_cut: 6.0"]


lines = [
    "global:", "  DeltaSplineBins: 0.0001", "metadata: {origin: made for tests}", "species:",
    "  - speciesblock: Si", *embedding("FinnisSinclairShiftedScaled", "[0.8, 1, 1.2, 0.6]"), *radial("ChebPow", 4.7, flat=True), *functions(["Si"], (1, 2, 3)),
    "  - speciesblock: C", *embedding("FinnisSinclair", "[1, 1, 1.1, 0.5]"), *radial("SBessel", 4.0), *functions(["C"], (1, 2, 3)),
    "  - speciesblock: C Si", *radial("ChebExpCos", 4.4), *functions(["C", "Si"], (1, 2, 3, 4, 5, 6)),
    "  - speciesblock: Si C", *functions(["Si", "C"], (1, 2, 3, 4)),
]  # fmt: skip
open("blocks.yaml", "w").write("\n".join(lines) + "\n")
basis = ACEBBasisSet("blocks.yaml")
basis.to_ACECTildeBasisSet().save_yaml("blocks.yace")
results, calculator = {key: value for key, value in STRUCTURES.items() if key.count("/") == 1}, PyACECalculator(basis)
for name in ("molecule", "cell"):
    of = {key: STRUCTURES[f"{name}/{key}"] for key in ("numbers", "positions", "cell", "pbc")}
    atoms = ase.Atoms(**of, calculator=calculator)
    results |= {f"{name}/energy": atoms.get_potential_energy(), f"{name}/forces": atoms.get_forces()}
    if all(atoms.pbc):
        results[f"{name}/virial"] = -atoms.get_volume() * atoms.get_stress(voigt=False)
np.savez_compressed("results_yaml.npz", **results)
print({key: value for key, value in results.items() if "energy" in key}, len(basis.basis[0]), len(basis.basis[1]))
