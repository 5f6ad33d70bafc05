"""How the files of this folder were made: parts of pace_sic_ms.yace with other bonds and embeddings, evaluated by python-ace 0.4.0rc1.

Run here: `python make.py`. The numbers mean nothing; only their prediction is compared. Tables of python-ace have a step of 1e-4 Å here.
"""


import numpy as np
from ase import Atoms
from pyace import PyACECalculator

BASE = open("../pace_sic_ms.yace").read()
RADII = {(0, 0): 4.0, (0, 1): 4.4, (1, 0): 4.4, (1, 1): 4.7}
INNER = {(0, 0): 1.3, (0, 1): 1.5, (1, 0): 1.45, (1, 1): 1.7}
STRUCTURES = {
    "molecule": Atoms("CSiCSi", positions=[[0, 0, 0], [1.25, 0.3, 0.1], [0.4, 1.5, -0.6], [-0.6, -0.9, 1.3]]),
    "cell": Atoms("SiC", positions=[[0.1, 0.2, 0.3], [1.5, 0.9, 0.8]], cell=[[3.1, 0.2, -0.1], [0.7, 2.9, 0.3], [-0.4, 0.5, 3.3]], pbc=True),
}


def functions():
    """Some functions of every number of factors, for both centres."""
    kept, count = [], 0
    for line in BASE[BASE.index("functions:") :].splitlines():
        count += 1
        if "mu0" not in line or "rank: 1" in line or count % 7 == 0:
            kept.append(line)
    return kept


def bond(pair, *, name, lam, width=0.3, prefactor=0.0, exponent=1.1, inner=(0.0, 0.0), kind="distance", table=None):
    n = 5
    table = np.eye(n)[:2, None].repeat(3, axis=1) if table is None else table
    rows = ", ".join("[" + ", ".join("[" + ", ".join(repr(float(x)) for x in row) + "]" for row in of_n) + "]" for of_n in table)
    n_mixed, n_l, n_base = table.shape
    return (
        f"  [{pair[0]}, {pair[1]}]: {{nradmax: {n_mixed}, lmax: {n_l - 1}, nradbasemax: {n_base}, radbasename: {name}, radparameters: [{lam}], "
        f"radcoefficients: [{rows}], prehc: {prefactor}, lambdahc: {exponent}, rcut: {RADII[pair]}, dcut: {width}, rcut_in: {inner[0]}, "
        f"dcut_in: {inner[1]}, inner_cutoff_type: {kind}}}"
    )


def write(name, bonds, *, embedding="FinnisSinclairShiftedScaled", parameters=("[1, 1, 1, 0.5]", "[0.8, 1, 1.2, 0.6]"), core=(100000, 250)):
    lines = ["elements: [C, Si]", "E0: [-1.5, 0.25]", "deltaSplineBins: 0.0001", "embeddings:"]
    for mu in range(2):
        lines.append(
            f"  {mu}: {{ndensity: 2, FS_parameters: {parameters[mu]}, npoti: {embedding}, rho_core_cutoff: {core[0]}, drho_core_cutoff: {core[1]}}}"
        )
    lines += ["bonds:", *bonds, *functions()]
    open(f"{name}.yace", "w").write("\n".join(lines) + "\n")
    return evaluate(name)


def evaluate(name):
    found, calculator = {}, PyACECalculator(f"{name}.yace")
    for key, atoms in STRUCTURES.items():
        atoms = atoms.copy()
        atoms.calc = calculator
        found[f"{key}/energy"], found[f"{key}/forces"] = atoms.get_potential_energy(), atoms.get_forces()
        if all(atoms.pbc):
            found[f"{key}/virial"] = -atoms.get_volume() * atoms.get_stress(voigt=False)
    return {f"{name}/{key}": value for key, value in found.items()}


rng = np.random.default_rng(0)
results = {f"{key}/{field}": getattr(atoms, field) if field != "cell" else atoms.cell.array for key, atoms in STRUCTURES.items() for field in ("numbers", "positions", "cell", "pbc")}
tables = {pair: 0.7 * rng.normal(size=(2 + (pair == (1, 1)), 3, 5 - (pair == (0, 1)))) for pair in RADII}
results |= write("mixed", [bond(pair, name="ChebExpCos" if sum(pair) == 1 else "ChebPow", lam=2.5 - 0.3 * pair[0], table=tables[pair]) for pair in RADII])
results |= write(
    "density", [bond(pair, name="SBessel", lam=1.0, prefactor=30.0 + 5 * pair[0], kind="density") for pair in RADII], core=(9.0, 7.0)
)  # fmt: skip
results |= write(
    "distance",
    [bond(pair, name="ChebExpCos", lam=2.0, prefactor=40.0 * (pair != (1, 1)), exponent=0.3, inner=(INNER[pair], 0.4) if pair != (0, 0) else (0, 0)) for pair in RADII],
    core=(6.0, 6.0),
)  # fmt: skip
results |= write(
    "zbl", [bond(pair, name="ChebPow", lam=3.0, width=2.0, prefactor=1.0 - 0.1 * pair[0], inner=(INNER[pair] + 0.2, 0.3 + 0.1 * pair[1]), kind="zbl") for pair in RADII]
)  # fmt: skip
results |= write(
    "linear", [bond(pair, name="ChebLinear", lam=1.0) for pair in RADII], embedding="FinnisSinclair", parameters=("[1, 1, 1.1, 0.5]", "[1, 1, 0.9, 0.7]")
)  # fmt: skip
results |= evaluate("house")  # written by jaxpot: write_yace("house.yace", fitted_here()) of ../test_pace.py
np.savez_compressed("results.npz", **results)
for key, value in results.items():
    if key.endswith("energy"):
        print(key, value)
