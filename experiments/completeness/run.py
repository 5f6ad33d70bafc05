"""Which descriptors tell apart which environments, and what it costs a fit when they do not.

    python experiments/completeness/run.py             # pairs, then the CH4 manifold
    python experiments/completeness/run.py --no-fits   # pairs only

Pairs of environments that agree in all correlations of one, two or three neighbours are built from formulas; every descriptor is
evaluated on both members. Then models that see the carbon atom only, or all atoms, are fitted to the CH4 manifold of Pozdnyakov et
al. (DFT where JAXPOT_DATA has it, a synthetic energy otherwise), on which one line is degenerate for the power spectrum.
"""

import argparse
import functools
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402

EQUAL, SEPARATED = 1e-12, 1e-5  # relative; nothing may lie between
CUTOFF = 5.0
SIZE = 2.0  # Å; every pair is scaled so that its farthest neighbour is here, and all atoms are within the cutoff of each other
MAX_ATOMS = 8

# ---- pairs, as (A, B) of positions; the centre comes first


def around_centre(*parts) -> np.ndarray:
    return np.concatenate([np.zeros((1, 3)), *(np.atleast_2d(np.asarray(p, float)) for p in parts)])


def on_circle(degrees, height: float = 0.0) -> np.ndarray:
    """Unit radius, around the y axis."""
    a = np.radians(degrees)
    return np.stack([np.cos(a), np.full(len(a), height), np.sin(a)], axis=1)


SCALENE = np.array([0.0, 80.0, 200.0])
APEX = np.array([[0.0, 1.0, 0.0]])


def _turned(points, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(points, float) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T


def _isosceles(height: float) -> np.ndarray:
    return np.array([[3, height, -4], [0, height, 5], [-3, height, -4]], float)


class Pair(NamedTuple):
    """Two structures of one element, the centre first, and the first order ν whose functions of the centre differ; None: no order."""

    a: np.ndarray
    b: np.ndarray
    even: int | None  # true scalars
    odd: int | None  # pseudoscalars


def pairs() -> dict[str, Pair]:
    """The counter-examples of Pozdnyakov et al. and of Bartók et al., with scalene triangles: with isosceles ones they are congruent."""
    shared = [[5, 0, 5], [5, 5, 5], [-5, -5, 5]]
    four = around_centre(shared, [0, 5, 5]), around_centre(shared, [0, -5, 5])
    plane = (around_centre(on_circle(45 * np.array(a))) for a in ([0, 1, 3, 4], [0, 1, 2, 5]))
    cone = (around_centre(on_circle(45 * np.array(a), 0.5)) for a in ([0, 1, 3, 4], [0, 1, 2, 5]))
    twisted = np.concatenate([on_circle(SCALENE, 0.5), on_circle(SCALENE + 25, -0.5)])
    two_rings = np.concatenate([_isosceles(2), _turned(_isosceles(-2), 36)])
    return {
        "power spectrum, 4 neighbours": Pair(*four, even=3, odd=None),  # each member has a mirror plane, so nothing odd exists
        "power spectrum, in a plane": Pair(*plane, even=3, odd=None),
        "power spectrum, on a cone": Pair(*cone, even=3, odd=None),
        "bispectrum, 7 neighbours": Pair(around_centre(twisted, APEX), around_centre(twisted, -APEX), even=4, odd=4),
        "mirror images": Pair(around_centre(on_circle(SCALENE), APEX), around_centre(on_circle(SCALENE), -APEX), even=None, odd=4),
        "congruent, 7 neighbours": Pair(around_centre(two_rings, 5 * APEX), around_centre(two_rings, -5 * APEX), even=None, odd=None),
        "congruent, 4 neighbours": Pair(around_centre(_isosceles(0), 5 * APEX), around_centre(_isosceles(0), -5 * APEX), even=None, odd=None),
    }


def trapezoid_and_kite() -> tuple[np.ndarray, np.ndarray]:
    """Equal distances, no centre."""
    base = [[-2, 0, 0], [2, 0, 0]]
    return np.array([*base, [-1, 1, 0], [1, 1, 0]], float), np.array([*base, [-1, 1, 0], [-1, -1, 0]], float)


# ---- descriptors, one compiled function each; a column is one order of one of them

ELEMENTS = ("B", "C", "H", "O")
CHANNELS = np.array([[0.7], [1.3], [1.0], [-0.6]])  # elements differ, at the size of one channel
ORDERS = {False: ((3, 3, 2, 1, 1), (0, 5, 4, 4, 3)), True: ((1, 1, 2, 1, 1), (0, 0, 4, 4, 3))}  # n_max, l_max of ν = 1 … 5; odd or not


def density(smeared: bool) -> jp.Density:
    if smeared:
        return jp.Density(ELEMENTS, jp.CosineCutoff(CUTOFF, width=0.5), jp.GTO(3), 5, sigma=0.4, channels=CHANNELS)
    return jp.Density(ELEMENTS, jp.cutoffs.PowerCutoff(CUTOFF), jp.radial.Agnesi(3, nearest=1.5), 5, sigma=None, center_weight=0.0, channels=CHANNELS)


@functools.cache
def descriptors() -> dict[str, jp.LocalDescriptor]:
    made = {}
    for smeared, suffix in ((False, ""), (True, ", smeared")):
        made["SOAP" + suffix] = jp.SOAP(density(smeared), normalize=False)
        made["ACE" + suffix] = jp.ACE(density(smeared), jp.descriptors.PerOrder(*ORDERS[False]))
        made["ACE odd" + suffix] = jp.ACE(density(smeared), jp.descriptors.PerOrder(*ORDERS[True]), pseudo=True)
    return made


_QUICK = {"xla_backend_optimization_level": 0}  # these programs take longer to compile than to run
_features = jax.jit(lambda descriptor, graph: descriptor(graph), compiler_options=_QUICK)

SHARP = ("distances", "ν=1", "SOAP", "ν=2", "ν=3", "ν=4", "ν=5", "ν=3 odd", "ν=4 odd", "ν=5 odd")
SMEARED = ("SOAP, smeared", "ν=2, smeared", "ν=3, smeared", "ν=4, smeared", "ν=5, smeared", "ν=3 odd, smeared", "ν=4 odd, smeared", "ν=5 odd, smeared")
COLUMNS = SHARP + SMEARED


def features(positions: np.ndarray, symbols: list[str]) -> dict[str, np.ndarray]:
    """Column -> features of every atom, [N, F]; distances are those to all other atoms, sorted."""
    n = len(positions)
    graph = jp.from_atoms(Atoms(symbols, positions=positions), CUTOFF, max_atoms=MAX_ATOMS, max_neighbors=MAX_ATOMS - 1)
    out = {"distances": np.sort(np.linalg.norm(positions[:, None] - positions[None], axis=-1), axis=1)[:, 1:]}
    for name, descriptor in descriptors().items():
        values = np.asarray(_features(descriptor, graph))[:n].reshape(n, descriptor.n_features)
        suffix = ", smeared" if name.endswith("smeared") else ""
        if name.startswith("SOAP"):
            out["SOAP" + suffix] = values
            continue
        orders = np.array([len(factors) for factors, _ in descriptor.labels()])
        for order in sorted(set(orders.tolist())):
            out[f"ν={order}{' odd' if descriptor.pseudo else ''}{suffix}"] = values[:, orders == order]
    return {column: out[column] for column in COLUMNS}


def _scale(column: str, *members: dict[str, np.ndarray]) -> float:
    """The largest feature of both; for odd ones also of the even ones of that order, as symmetry may leave no odd feature at all."""
    columns = {column, column.replace(" odd", "")}
    return max(float(np.max(np.abs(member[c]))) for member in members for c in columns)


def _matched(a: np.ndarray, b: np.ndarray) -> float:
    """Largest deviation between two sets of rows, matched as well as they can be."""
    from scipy.optimize import linear_sum_assignment

    cost = np.max(np.abs(a[:, None] - b[None]), axis=-1)
    return float(np.max(cost[linear_sum_assignment(cost)]))


def normalised(a: np.ndarray, b: np.ndarray, centred: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Both scaled alike: the farthest neighbour at SIZE, or the largest distance at twice that."""
    largest = (
        max(np.max(np.linalg.norm(x, axis=1)) for x in (a, b)) if centred else max(np.max(np.linalg.norm(x[:, None] - x, axis=-1)) for x in (a, b)) / 2
    )
    return a * SIZE / largest, b * SIZE / largest


def compare(a: np.ndarray, b: np.ndarray, symbols: list[str] | None = None, center: int = 0, centred: bool = True) -> dict[str, dict[str, float]]:
    """max |p − p'| / max |p| by column: of the centre, of all atoms as a set, and of the sum over atoms."""
    a, b = normalised(a, b, centred)
    symbols = ["H"] * len(a) if symbols is None else symbols
    p, q = features(a, symbols), features(b, symbols)
    result = {"centre": {}, "all atoms": {}, "sum": {}}
    for column in COLUMNS:
        scale = _scale(column, p, q)
        x, y = p[column], q[column]
        result["centre"][column] = float(np.max(np.abs(x[center] - y[center]))) / scale if centred else None
        result["all atoms"][column] = _matched(x, y) / scale
        if column == "distances":  # of a structure: all of them, sorted
            x, y = (np.sort(z.ravel())[None] for z in (x, y))
            result["sum"][column] = float(np.max(np.abs(x - y))) / scale
        else:
            result["sum"][column] = float(np.max(np.abs(x.sum(axis=0) - y.sum(axis=0)))) / scale
    return result


def order_of(column: str) -> int:
    return {"distances": 1, "SOAP": 2, "SOAP, smeared": 2}.get(column) or int(column.split("=")[1][0])


def separates(pair: Pair, column: str) -> bool:
    """Whether a column must tell the members of a pair apart at their centre."""
    first = pair.odd if "odd" in column else pair.even
    return first is not None and order_of(column) >= first


def wrong(differences: dict[str, float], expected: dict[str, bool], equal: float = EQUAL) -> list[str]:
    """What is neither equal nor separated as expected, in words."""
    return [
        f"{column}: {differences[column]:.1e}, expected {f'> {SEPARATED:.0e}' if expected[column] else f'< {equal:.0e}'}"
        for column in expected
        if not (differences[column] > SEPARATED if expected[column] else differences[column] < equal)
    ]


def evaluated_pairs() -> dict[str, dict]:
    """Name -> `compare` of every pair, the trapezoid and the kite last."""
    table = {name: compare(pair.a, pair.b) for name, pair in pairs().items()}
    return table | {"trapezoid and kite": compare(*trapezoid_and_kite(), centred=False)}


def wrong_verdicts(table: dict[str, dict]) -> list[str]:
    problems = []
    for name, pair in pairs().items():
        problems += [f"{name}: {problem}" for problem in wrong(table[name]["centre"], {c: separates(pair, c) for c in COLUMNS})]
        if pair.even is None and pair.odd is None:
            problems += [f"{name}, {part}: {p}" for part in ("all atoms", "sum") for p in wrong(table[name][part], dict.fromkeys(COLUMNS, False))]
    # all distances are those of the other member, so sums over atoms of functions of one neighbour are; planar, so nothing is odd
    kite = {c: "odd" not in c and c not in ("distances", "ν=1") for c in COLUMNS}
    return problems + [f"trapezoid and kite, sum: {problem}" for problem in wrong(table["trapezoid and kite"]["sum"], kite)]


def published_verdicts() -> Path | None:
    """The file of verdicts beside the published pairs, if both are here."""
    found = datasets.locate("degenerate/counterexample_pairs")
    path = found and found[1].with_name("counterexample_pairs_check.json")
    return path if path and path.is_file() else None


def disagreements() -> list[str]:
    """Descriptors of the published pairs against the verdicts that come with them, reached without descriptors; needs the data set.

    The file holds eight decimals, so equal features differ by up to 1e-8.
    """
    frames = datasets.load("degenerate/counterexample_pairs")
    verdicts = json.loads(published_verdicts().read_text())
    problems = []
    for a, b in zip(frames[::2], frames[1::2], strict=True):
        name, verdict = a.info["pair"], verdicts[a.info["pair"]]
        assert b.info["pair"] == name and list(a.symbols) == list(b.symbols)
        center = int(a.info["center"])
        got = compare(a.positions - a.positions[center], b.positions - b.positions[center], list(a.symbols), center)
        equal = {int(k.split()[2][0]): v for k, v in verdict.items() if k.startswith("centre: equal") and "sign" not in k}
        together = {int(k.split()[-2]): v for k, v in verdict.items() if "over all centres" in k}
        expected = {("centre", f"ν={n}{tail}"): not v for n, v in equal.items() for tail in ("", ", smeared") if n > 1 or not tail}
        expected |= {("all atoms", f"ν={n}"): not v for n, v in together.items()}
        expected |= {("centre", column): not equal[2] for column in ("SOAP", "SOAP, smeared")}
        expected["sum", "distances"] = not verdict["structure: equal multiset of all distances"]
        if verdict["centre: equal 3-neighbour correlations incl. sign of triple product"]:
            expected["centre", "ν=3 odd"] = False
        if verdict["centre: congruent by rotation or reflection"]:
            expected |= {("centre", c): False for c in COLUMNS if "odd" not in c}
            expected["centre", "ν=4 odd"] = not verdict["centre: congruent by a proper rotation"]
        flat = {(part, c): got[part][c] for part, c in expected}
        problems += [f"{name}, {problem}" for problem in wrong(flat, expected, equal=1e-7)]
    return problems


# ---- the CH4 manifold: three hydrogens fixed, the fourth at (theta, phi); at theta = 90° the two branches agree in all angles

BOND = 1.09
FIXED = ((22.5, 180.0), (120.0, -36.0), (60.0, 36.0))
THETA, PHI = np.linspace(72, 108, 9), np.linspace(126, 162, 9)
METHANE = ("C", "H")
REACH = 4.0
NOISE = {"energy": 0.005, "forces": 0.02}  # eV, eV/Å
SEEDS = 3


def direction(theta: float, phi: float) -> np.ndarray:
    theta, phi = np.radians(theta), np.radians(phi)
    return np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])


def methane(theta: float, phi: float) -> Atoms:
    hydrogens = [BOND * direction(*angles) for angles in (*FIXED, (theta, phi))]
    return Atoms("CH4", positions=[np.zeros(3), *hydrogens], info={"theta_deg": theta, "phi_deg": phi})


def manifold() -> list[Atoms]:
    """81 structures with phi < 0, then 81 with phi > 0; those with equal theta and |phi| are partners."""
    return [methane(theta, sign * phi) for sign in (-1, 1) for phi in PHI for theta in THETA]


def synthetic_energy(positions: jax.Array) -> jax.Array:
    """Pairs of hydrogens, bonds, and squared triple products of unit vectors: of order ν = 3 around the carbon atom. In eV."""
    bonds = positions[1:] - positions[:1]
    lengths = jnp.sqrt(jnp.sum(bonds**2, axis=1))
    u, stretch = bonds / lengths[:, None], jnp.exp(1 - lengths / BOND)
    i, j = np.triu_indices(4, 1)
    repulsion = 4.0 * jnp.sum(jnp.exp(-jnp.sqrt(jnp.sum((bonds[i] - bonds[j]) ** 2, axis=1)) / 0.6))
    a, b, c = np.array([(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]).T
    triple = jnp.sum(u[a] * jnp.cross(u[b], u[c]), axis=1) ** 2 * stretch[a] * stretch[b] * stretch[c]
    return repulsion + 5.0 * jnp.sum((lengths - BOND) ** 2) + 6.0 * jnp.sum(triple)


def labelled(synthetic: bool) -> list[Atoms]:
    """The manifold with energies and forces: DFT, or the synthetic ones."""
    if not synthetic:
        return datasets.load("degenerate/ch4_manifold_dft")
    frames, both = manifold(), jax.jit(jax.vmap(jax.value_and_grad(synthetic_energy)))
    energies, gradients = both(jnp.asarray(np.stack([atoms.positions for atoms in frames])))
    for atoms, energy, gradient in zip(frames, np.asarray(energies), np.asarray(gradients), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=-gradient)
    return frames


@jp.pytree
class CarbonOnly(jp.LinearHead):
    """`Linear` for the carbon centres; hydrogen centres have no energy.

    Args:
      scale: prior standard deviation, in eV per unit of the feature.
      roughness: divides it feature by feature, shape [F].
    """

    scale: jax.Array = jp.positive()
    roughness: jax.Array = jp.positive(shape="[F]")
    coefficients: jax.Array | None = None

    @property
    def n_coefficients(self) -> int:
        return self.roughness.shape[0]

    def basis(self, features, species):
        return jnp.where((species == METHANE.index("C"))[:, None], features, 0)

    def precision(self):
        return jnp.diag((jnp.asarray(self.roughness) / self.scale) ** 2)


def _ace(degrees, n_max: int, l_max: int, carbon_only: bool) -> jp.AtomicPotential:
    channels = np.array([[0.0], [1.0]]) if carbon_only else None  # around carbon there is only hydrogen
    radial = jp.radial.Agnesi(n_max, nearest=1.2)
    sharp = jp.Density(METHANE, jp.cutoffs.PowerCutoff(REACH), radial, l_max, sigma=None, center_weight=0.0, channels=channels)
    ace = jp.ACE(sharp, jp.TotalDegree(degrees))
    return jp.AtomicPotential(ace, (CarbonOnly if carbon_only else jp.Linear)(scale=10.0, roughness=ace.smoothness(1.0)))


def _gp(frames, counts: dict[str, int], length: float) -> jp.AtomicPotential:
    soap = jp.SOAP(jp.Density(METHANE, jp.CosineCutoff(REACH, width=1.0), jp.GTO(4), 4, sigma=0.3))
    data = jp.Dataset.from_atoms(frames, REACH, sigma=jp.noise_levels(NOISE["energy"]))
    points = jp.fit.select_environments(soap, data, counts, key=jax.random.key(0), method="fps")
    return jp.AtomicPotential(soap, jp.SparseGP(jp.kernels.SquaredExponential(length), delta=3.0)).with_points(points)


def models(frames) -> dict[str, jp.AtomicPotential]:
    """A GP without sparse points of hydrogen gives hydrogen centres no energy. Of the 162 carbon environments 153 have different spectra."""
    return {
        "power spectrum, carbon (GP)": _gp(frames, {"C": 153}, length=0.03),
        "ACE ν ≤ 3, carbon (linear)": _ace((4, 10, 9), 5, 8, carbon_only=True),
        "ACE ν ≤ 4, carbon (linear)": _ace((4, 8, 9, 9), 5, 8, carbon_only=True),
        "ACE ν ≤ 2, all atoms (linear)": _ace((5, 10), 6, 8, carbon_only=False),
        "power spectrum, all atoms (GP)": _gp(frames, {"C": 80, "H": 200}, length=0.3),
    }


_design = jax.jit(jp.fit.design)


def rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


class Fits:
    """Fits of one model to many subsets: its rows are made once."""

    def __init__(self, model: jp.AtomicPotential, frames):
        rows = [_design(model, jp.from_atoms(atoms, REACH, max_neighbors=4)) for atoms in frames]
        self.energy = np.stack([row.energy for row in rows])
        self.forces = np.stack([row.forces for row in rows])
        self.root = np.linalg.cholesky(np.asarray(model.precision())).T
        self.true_energy = np.array([atoms.get_potential_energy() for atoms in frames])
        self.true_forces = np.stack([atoms.get_forces() for atoms in frames])

    def errors(self, train, forces: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Errors of all energies [n] and forces [n, 5, 3] after a fit to these structures, as `jaxpot.fit.linear` does it."""
        from scipy.linalg import solve_triangular

        shift, p = self.true_energy[train].mean(), self.energy.shape[1]
        rows, targets = [self.energy[train] / NOISE["energy"]], [(self.true_energy[train] - shift) / NOISE["energy"]]
        if forces:
            rows.append(self.forces[train].reshape(-1, p) / NOISE["forces"])
            targets.append(self.true_forces[train].ravel() / NOISE["forces"])
        rows, targets = np.concatenate([*rows, self.root]), np.concatenate([*targets, np.zeros(p)])
        triangle = np.linalg.qr(np.column_stack([rows, targets]), mode="r")[:p]
        w = solve_triangular(triangle[:, :p], triangle[:, p])
        return self.energy @ w + shift - self.true_energy, self.forces @ w - self.true_forces


def floor(frames) -> float:
    """Least rms error of any function of the distances and angles at the carbon atom, on the 18 degenerate structures, in eV."""
    line = {(a.info["phi_deg"] > 0, round(abs(a.info["phi_deg"]), 6)): a.get_potential_energy() for a in frames if abs(a.info["theta_deg"] - 90) < 1e-6}
    return rms([(line[True, phi] - line[False, phi]) / 2 for phi in PHI.round(6)])


def fit_manifold(frames, sizes=(20, 40, 80, 140), chosen=None) -> dict:
    """Errors by theta after a fit to all energies, and errors of the structures left out after fits to energies and forces."""
    theta = np.array([atoms.info["theta_deg"] for atoms in frames])
    everything, results = np.arange(len(frames)), {}
    for name, model in models(frames).items():
        if chosen and name not in chosen:
            continue
        start, fits = time.perf_counter(), Fits(model, frames)
        errors, _ = fits.errors(everything, forces=False)
        by_theta = {float(t): rms(errors[np.abs(theta - t) < 1e-6]) for t in THETA}
        curve = {}
        for size in sizes:
            runs = []
            for seed in range(SEEDS):
                order = np.random.default_rng(seed).permutation(len(frames))
                energy, forces = fits.errors(order[:size])
                runs.append((rms(energy[order[size:]]), rms(forces[order[size:]])))
            curve[size] = dict(zip(("energy", "forces"), np.mean(runs, axis=0).tolist(), strict=True))
        results[name] = {"functions": fits.energy.shape[1], "by_theta": by_theta, "curve": curve, "seconds": time.perf_counter() - start}
    return results


# ---- output


def _number(x: float | None) -> str:
    return "–" if x is None else "0" if x == 0 else f"{x:.0e}"


def print_table(table: dict[str, dict], part: str, columns) -> None:
    print(f"{part:<30}" + "".join(f"{column.replace(', smeared', ' ~'):>11}" for column in columns))
    for name, result in table.items():
        if result[part][columns[0]] is not None:
            print(f"{name:<30}" + "".join(f"{_number(result[part][column]):>11}" for column in columns))
    print()


def draw_pairs(table: dict[str, dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    parts = {"centre": "central atom", "all atoms": "all atoms as a set", "sum": "sum over all atoms"}
    figure, axes = plt.subplots(len(parts), 1, figsize=(13, 11), sharex=True, layout="constrained")
    for axis, (part, title) in zip(axes, parts.items(), strict=True):
        names = [name for name in table if table[name][part]["distances"] is not None]
        values = np.array([[table[name][part][column] for column in COLUMNS] for name in names])
        image = axis.imshow(np.log10(np.maximum(values, 1e-17)), vmin=-17, vmax=0, cmap="viridis", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            axis.text(j, i, _number(value), ha="center", va="center", fontsize=7, color="black" if value > 1e-6 else "white")
        axis.set(yticks=range(len(names)), yticklabels=names, title=title)
        axis.axvline(len(SHARP) - 0.5, color="white", lw=2)
    axes[-1].set_xticks(range(len(COLUMNS)), [c.removesuffix(", smeared") for c in COLUMNS], rotation=45, ha="right")
    axes[-1].set_xlabel("sharp density (left of the line), Gaussian-smeared density (right)")
    figure.colorbar(image, ax=axes, label="log10 of max |p − p'| / max |p|")
    figure.savefig(path, dpi=120)


def draw_manifold(results: dict, lowest: float, title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(15, 5.2), layout="constrained")
    for name, result in results.items():
        axes[0].semilogy(list(result["by_theta"]), list(result["by_theta"].values()), "o-", label=name)
        for axis, quantity in ((axes[1], "energy"), (axes[2], "forces")):
            axis.loglog(list(result["curve"]), [row[quantity] for row in result["curve"].values()], "o-", label=name)
            axis.set_xticks(list(result["curve"]), list(result["curve"]))
            axis.minorticks_off()
    axes[0].plot(90, lowest, "k*", ms=14, zorder=3, label="least error of any function of carbon's power spectrum")
    axes[0].set(xlabel="theta (degrees)", ylabel="rms energy error (eV)", title="fit to the energies of all 162 structures", xticks=THETA[::2])
    axes[1].set(xlabel="training structures", ylabel="rms energy error of the others (eV)", title="fit to energies and forces")
    axes[2].set(xlabel="training structures", ylabel="rms force error of the others (eV/Å)", title="fit to energies and forces")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder for results")
    parser.add_argument("--no-fits", action="store_true", help="only the pairs")
    parser.add_argument("--synthetic", action="store_true", help="fit the synthetic energy even where the DFT data are at hand")
    arguments = parser.parse_args()
    started = time.perf_counter()
    arguments.output.mkdir(parents=True, exist_ok=True)

    table = evaluated_pairs()
    print("max |p − p'| / max |p| of the two members of a pair (~: Gaussian-smeared density)\n")
    for part in ("centre", "all atoms", "sum"):
        for columns in (SHARP, SMEARED):
            print_table(table, part, columns)
    problems = wrong_verdicts(table)
    if published_verdicts():
        problems += disagreements()
        print("published pairs: compared with the verdicts that come with them")
    print("\n".join(problems) if problems else f"all verdicts as expected: equal below {EQUAL:.0e}, else above {SEPARATED:.0e}")
    results = {"pairs": table, "problems": problems, "pair_seconds": time.perf_counter() - started}
    draw_pairs(table, arguments.output / "pairs.png")

    if not arguments.no_fits:
        synthetic = arguments.synthetic or not datasets.available("degenerate/ch4_manifold_dft")
        target = "synthetic energy" if synthetic else "DFT"
        frames = labelled(synthetic)
        fits, lowest = fit_manifold(frames), floor(frames)
        print(f"\nCH4 manifold, {target}")
        print("first line: rms energy error (eV) by theta after a fit to all energies; the least that a function of carbon's power spectrum")
        print(f"can have at 90° is {lowest:.4f}; second line: errors of the structures left out, by number of training structures")
        for name, result in fits.items():
            print(f"{name:<32}{result['functions']:>5} functions " + " ".join(f"{t:g}°: {e:.4f}" for t, e in result["by_theta"].items()))
            print(f"{'':<32}" + "   ".join(f"{n}: {row['energy']:.4f} eV, {row['forces']:.3f} eV/Å" for n, row in result["curve"].items()))
        results["manifold"] = {"target": target, "floor": lowest, "fits": fits}
        draw_manifold(fits, lowest, f"CH4 manifold, {target}", arguments.output / "manifold.png")
    results["seconds"] = time.perf_counter() - started
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1))
    print(f"\n{results['seconds']:.0f} s in all; figures and numbers in {arguments.output}")
    if problems:
        sys.exit("some verdicts are not as expected")


if __name__ == "__main__":
    main()
