"""Charged fragments pulled apart, on three rungs: a short-range model, charges of surroundings, products of a density and the potential of all atoms.

    JAXPOT_DATA=/path/to/shared python experiments/longrange/dimers.py                 # all sets; tens of minutes
    JAXPOT_DATA=/path/to/shared python experiments/longrange/dimers.py lode_CC --rungs 1 3

Binding energies and forces of pairs of rigid fragments, HSE06 + MBD in periodic boxes of 30 Å (data/charged_dimers). Every model is summed over the
same boxes. Tested on the largest distances; whatever is chosen is chosen by the largest distances of the training frames, left out. An energy is
that of the pair less those of its fragments alone. These are given, but not for all sets in the same boxes, so what they are wrong by may be fitted, one
number for every formula. Results go to `results/`.
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
from ase.data import atomic_numbers  # noqa: E402
from scipy.linalg import cho_factor, cho_solve  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import longrange  # noqa: E402
from jaxpot.cutoffs import CosineCutoff, PowerCutoff  # noqa: E402
from jaxpot.descriptors import Constant, Joined, MultiScale  # noqa: E402

SPECIES = ("C", "H", "N", "O")
SETS = ("charge_charge_130", "lode_CC", "lode_CA", "lode_PP", "lode_AA")
SETTINGS = {
    "sigma_energy": 0.005,  # eV
    "sigma_forces": 0.02,  # eV/Å
    "cutoff": 5.0,  # Å, of the short-range model, an ACE
    "n_radial": 6,
    "degrees": (8, 5),
    "l_max": 3,
    "scales": (0.3, 3.0, 30.0),  # eV, of its prior, among which is chosen
    "references": (0.0, 1.0),  # eV, of what the energies of fragments alone may be wrong by, among which is chosen
    "charge_cutoff": 2.5,  # Å, of the ACE of charges
    "charge_degrees": (5, 3),
    "charge_scales": (0.03, 0.3),  # e, of the prior of charges
    "accuracy": 1e-4,  # eV/Å, of the sums of charges
    "steps": 40,  # of the search for charges
    "near_cutoff": 3.0,  # Å, of the density
    "smearing": 2.0,  # Å, of the potential
    "waves": 1e-3,  # by which waves of the potential have decayed where they end
    "far_scales": (0.1, 1.0, 10.0),  # eV/Å, of the force that a product adds
}


class Pair(NamedTuple):
    """Frames of two fragments by increasing distance, the fragment of positive charge first.

    Args:
      frames: with energies and forces.
      n_first: how many atoms the first fragment has.
      charges: of both, in e.
    """

    frames: list[Atoms]
    n_first: int
    charges: tuple[int, int]

    @property
    def fragments(self) -> tuple[Atoms, Atoms]:
        """Each alone; they are rigid, and where they stand does not matter."""
        return self.frames[0][: self.n_first], self.frames[0][self.n_first :]

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """How many atoms each has, and their charge."""
        return (self.n_first, self.charges[0]), (len(self.frames[0]) - self.n_first, self.charges[1])

    @property
    def energies(self) -> np.ndarray:
        """Binding energies, [D], in eV."""
        return np.array([atoms.info["interaction_energy"] for atoms in self.frames])


def first_fragment(atoms: Atoms) -> np.ndarray:
    """Which atoms hang together with the first one, [N]."""
    bonded = atoms.get_all_distances() < 1.9
    found = np.arange(len(atoms)) == 0
    for _ in range(len(atoms)):
        found = bonded @ found
    return found


def pair_of(frames: list[Atoms]) -> Pair:
    """Its atoms in order, known by the frame of the largest distance."""
    frames = sorted(frames, key=lambda atoms: atoms.info["distance"])
    for atoms in frames:
        atoms.arrays["forces"] = atoms.get_forces()  # which go with the atoms
    first, charges = first_fragment(frames[-1]), [int(frames[0].info[name]) for name in ("chargeA", "chargeB")]
    if charges[0] < charges[1]:
        first, charges = ~first, charges[::-1]
    order = np.argsort(~first, kind="stable")
    return Pair([atoms[order] for atoms in frames], int(np.sum(first)), tuple(charges))


def pairs_of(name: str) -> tuple[list[Pair], int]:
    """The pairs of a set, and how many of their distances are of training."""
    if name == "charge_charge_130":
        frames = datasets.load(f"charged_dimers/{name}")
        return [pair_of(frames[k : k + 13]) for k in range(0, len(frames), 13)], 9
    train, test = (datasets.load(f"charged_dimers/{name}_{part}") for part in ("train", "test"))
    return [pair_of(train + test)], len(train)


def motions(pair: Pair, atoms: Atoms) -> np.ndarray:
    """How atoms move when the first fragment is shifted, when it is turned about its middle, and when the second one is, [9, N, 3]."""
    inside = np.arange(len(atoms)) < pair.n_first
    shifts = np.eye(3)[:, None, :] * inside[:, None]
    turns = []
    for part in (inside, ~inside):
        arms = (atoms.positions - atoms.positions[part].mean(axis=0)) * part[:, None]
        turns.append(np.cross(np.eye(3)[:, None, :], arms[None]))
    return np.concatenate([shifts, *turns])


class Labels(NamedTuple):
    """What all frames say, ten rows each: the energy, the force on the first fragment, and the torques on both.

    Args:
      values: [n], in eV, eV/Å and eV.
      sigma: noise levels, [n].
      rank: which distance of its pair a row is of, [n].
      kind: 0 of energies, 1 of forces, 2 of torques, [n].
    """

    values: np.ndarray
    sigma: np.ndarray
    rank: np.ndarray
    kind: np.ndarray

    @classmethod
    def of(cls, pairs: list[Pair], settings: dict) -> "Labels":
        forces = [np.einsum("tnx,nx->t", motions(pair, atoms), atoms.arrays["forces"]) for pair in pairs for atoms in pair.frames]
        energies = np.concatenate([pair.energies for pair in pairs])
        rank = np.repeat(np.concatenate([np.arange(len(pair.frames)) for pair in pairs]), 10)
        kind = np.tile([0, *[1] * 3, *[2] * 6], len(energies))
        sigma = np.where(kind == 0, settings["sigma_energy"], settings["sigma_forces"])
        return cls(np.concatenate([energies[:, None], forces], axis=1).ravel(), sigma, rank, kind)


class Structures(NamedTuple):
    """All frames of a set and the fragments alone, as structures of one shape, and how their atoms move.

    Args:
      graphs: of every pair its frames, then both fragments.
      motions: [9, N, 3] each; of fragments none.
    """

    graphs: list[jp.Graph]
    motions: list[np.ndarray]

    @classmethod
    def of(cls, pairs: list[Pair], reach: float) -> "Structures":
        graphs, moving = [], []
        for pair in pairs:
            charges = [*[sum(pair.charges)] * len(pair.frames), *pair.charges]
            graphs += [jp.from_atoms(a, reach, charge=float(q)) for a, q in zip([*pair.frames, *pair.fragments], charges, strict=True)]
            moving += [motions(pair, atoms) for atoms in pair.frames] + [np.zeros((9, pair.n_first, 3))] * 2
        stacked = jp.stack(graphs)
        n = stacked.numbers.shape[1]
        moving = [np.pad(t, ((0, 0), (0, n - t.shape[1]), (0, 0))) for t in moving]
        return cls([jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(len(graphs))], moving)


def with_slopes(function, graph: jp.Graph, motions: jax.Array):
    """What a function says of a structure, and how that changes when atoms move, [9, ...]."""
    return function(graph), jax.vmap(lambda t: jax.jvp(lambda x: function(graph.replace(positions=x)), (graph.positions,), (t,))[1])(motions)


def less_alone(pairs: list[Pair], found: list[np.ndarray]) -> np.ndarray:
    """Rows in the order of `Labels` [n, ...], of those of all structures, [10, ...] each: energies less those of the fragments."""
    rows, left = [], iter(found)
    for pair in pairs:
        own = np.stack([next(left) for _ in pair.frames])
        own[:, 0] -= next(left)[0] + next(left)[0]
        rows.append(own.reshape(-1, *own.shape[2:]))
    return np.concatenate(rows)


def design(model: jp.AtomicPotential, pairs: list[Pair]) -> np.ndarray:
    """The design matrix, [n, P]."""

    @jax.jit
    def rows(graph, moving):
        energy, slopes = with_slopes(lambda graph: jp.fit.design(model, graph).energy, graph, moving)
        return jnp.concatenate([energy[None], -slopes])

    return less_alone(pairs, [np.array(rows(*one)) for one in zip(*Structures.of(pairs, float(model.reach)), strict=True)])


def alone(pairs: list[Pair]) -> np.ndarray:
    """How many fragments of every formula there are where energies are, [n, F]: rows in the order of `Labels`, of energies of fragments alone."""
    found = [[str(fragment.symbols.get_chemical_formula()) for fragment in pair.fragments] for pair in pairs]
    formulas, rows = sorted({formula for of_pair in found for formula in of_pair}), []
    for pair, of_pair in zip(pairs, found, strict=True):
        own = np.zeros((len(pair.frames), 10, len(formulas)))
        own[:, 0] = [of_pair.count(formula) for formula in formulas]
        rows.append(own.reshape(-1, len(formulas)))
    return np.concatenate(rows)


class Projected:
    """Labels of which a linear model takes all that it can.

    Args:
      rows: of the model, [n, P], divided by the noise levels and multiplied by the scales of the prior.
    """

    def __init__(self, rows: np.ndarray):
        self.rows, self.factor = rows, cho_factor(rows @ rows.T + np.eye(len(rows)))

    def left(self, y: np.ndarray) -> np.ndarray:
        """What the most probable model leaves of labels divided by the noise levels, [n, ...], which is the inverse of their covariance times them."""
        return cho_solve(self.factor, y)

    def coefficients(self, y: np.ndarray) -> np.ndarray:
        """Of that model, [P, ...]."""
        return self.rows.T @ self.left(y)


def short_range(settings: dict) -> jp.AtomicPotential:
    radial = jp.radial.Agnesi(settings["n_radial"], nearest=1.1)
    density = jp.Density(SPECIES, PowerCutoff(settings["cutoff"]), radial, l_max=settings["l_max"], sigma=None, center_weight=0.0)
    ace = jp.ACE(density, jp.TotalDegree(tuple(settings["degrees"])))
    return jp.AtomicPotential(ace, jp.Linear(roughness=ace.smoothness()))


def products(frames: list[Atoms], settings: dict) -> jp.AtomicPotential:
    """A density times the potential of all atoms."""
    near = jp.Density(SPECIES, CosineCutoff(settings["near_cutoff"], width=0.5), jp.GTO(n_max=3), l_max=1, sigma=0.5)
    smearing = settings["smearing"]
    # their boxes do not change
    sum_ = longrange.field_sum_for(frames, sigma=smearing, accuracy=settings["waves"], growth=0.01)
    return jp.AtomicPotential(MultiScale(near, longrange.LODE(SPECIES, 2.0, jp.GTO(n_max=1), l_max=1, sigma=smearing, sum=sum_)), jp.Linear())


class Charges:
    r"""Electrostatic energies, forces and torques of charges of surroundings, which keep the charge of each fragment, and their slopes.

    Charges are :math:`q = q_0 + X c`, so all that depends on positions is made once: q₀, X, the potential Ψ of all charges, and how X and Ψ change
    when fragments move. It is what `potential` says, with how charges follow positions.
    """

    def __init__(self, pairs: list[Pair], settings: dict):
        radial = jp.radial.Agnesi(4, nearest=1.1)
        density = jp.Density(SPECIES, PowerCutoff(settings["charge_cutoff"]), radial, l_max=2, sigma=None, center_weight=0.0)
        ace = jp.ACE(density, jp.TotalDegree(tuple(settings["charge_degrees"])))
        self.descriptor, self.pairs = Joined((Constant(SPECIES), ace)), pairs
        self.scales = 1 / np.tile(np.concatenate([[0.1], ace.smoothness()]), len(SPECIES))
        self.sum = longrange.sum_for([atoms for pair in pairs for atoms in pair.frames], accuracy=settings["accuracy"], growth=0.01)
        groups = [groups for pair in pairs for groups in [*[pair.groups] * len(pair.frames), *[(group,) for group in pair.groups]]]
        self.parts = [self._parts(*one) for one in zip(*Structures.of(pairs, self.reach), groups, strict=True)]

    @property
    def reach(self) -> float:
        return max(float(self.descriptor.reach), float(self.sum.reach))

    def potential(self, pair: Pair, coefficients: np.ndarray) -> longrange.Electrostatics:
        """That of the frames of a pair."""
        members = (tuple(range(pair.n_first)), tuple(range(pair.n_first, len(pair.frames[0]))))
        totals = longrange.Fragments(members, charges=[float(pair.charges[0])])
        charges = longrange.LocalCharges(self.descriptor, jp.Linear(coefficients=coefficients), totals=totals)
        return longrange.Electrostatics(charges, self.sum, background=True)

    @functools.cached_property
    def _surroundings(self):
        def potential(graph):
            return jax.vmap(lambda q: self.sum.potential(longrange.Coulomb(), graph, q))(jnp.eye(len(graph.numbers)))

        return jax.jit(lambda graph, moving: (*with_slopes(self.descriptor, graph, moving), *with_slopes(potential, graph, moving)))

    def _parts(self, graph: jp.Graph, moving: np.ndarray, groups: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
        """q₀ [N], X [N, P], its changes [9, N, P], Ψ [N, N] and its changes [9, N, N], of atoms in groups of so many with such a charge."""
        x, dx, psi, dpsi = (np.asarray(part)[..., : sum(n for n, _ in groups), :] for part in self._surroundings(graph, moving))
        own, start = np.stack([graph.numbers[: len(x)] == atomic_numbers[symbol] for symbol in SPECIES], axis=1).astype(float), 0
        x, dx = (np.einsum("ns,...nf->...nsf", own, part).reshape(*part.shape[:-1], -1) for part in (x, dx))
        for n, _ in groups:
            for part in (x, dx):
                part[..., start : start + n, :] -= part[..., start : start + n, :].mean(axis=-2, keepdims=True)
            start += n
        return [np.concatenate([np.full(n, charge / n) for n, charge in groups]), x, dx, psi[:, :start], dpsi[..., :start]]

    def __call__(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [n] in the order of `Labels`, and their slopes by the coefficients, [n, P]."""
        values, slopes = [], []
        for shares, x, dx, psi, dpsi in self.parts:
            q, dq = shares + x @ coefficients, dx @ coefficients
            phi, dphi = psi @ q, dpsi @ q
            values.append(np.concatenate([[0.5 * q @ phi], -0.5 * dphi @ q - dq @ phi]))
            slopes.append(np.concatenate([(phi @ x)[None], -(dphi @ x + np.einsum("n,tnp->tp", phi, dx) + dq @ psi @ x)]))
        return less_alone(self.pairs, values), less_alone(self.pairs, slopes)


class Ladder:
    """The models of one set, fitted to some of its rows.

    Args:
      pairs: of the set.
      n_train: how many distances of each are of training; the largest two of these choose.
    """

    def __init__(self, pairs: list[Pair], n_train: int, settings: dict):
        self.pairs, self.settings, self.labels = pairs, settings, Labels.of(pairs, settings)
        self.train, self.inside = self.labels.rank < n_train, self.labels.rank < n_train - 2
        self.outside = self.train & ~self.inside & (self.labels.kind == 0)
        model = short_range(settings)
        self.near, self.alone = design(model, pairs) / np.sqrt(np.diag(model.precision())), alone(pairs)

    def short(self, scale: float, reference: float) -> np.ndarray:
        """Rows of the short-range model and of the energies of fragments alone, [n, P], with these scales of their priors."""
        return np.concatenate([scale * self.near, reference * self.alone], axis=1)

    def predicted(self, rows: np.ndarray, fixed: np.ndarray, of: np.ndarray) -> np.ndarray:
        """All rows [n], of a linear model and something fixed, fitted to some of them."""
        sigma = self.labels.sigma
        coefficients = Projected(rows[of] / sigma[of, None]).coefficients(((self.labels.values - fixed) / sigma)[of])
        return fixed + rows @ coefficients

    def best(self, predict, *scales) -> tuple[np.ndarray, dict]:
        """Rows of the scales that are best at what chooses, after a fit to all of training; and every error there, in eV."""
        grid = np.stack(np.meshgrid(*scales, indexing="ij"), axis=-1).reshape(-1, len(scales))
        errors = [rms((predict(self.inside, *own) - self.labels.values)[self.outside]) for own in grid]
        return predict(self.train, *grid[np.argmin(errors)]), dict(zip(map(str, map(tuple, grid.tolist())), errors, strict=True))

    def rung_1(self):
        def predict(of, scale, reference):
            return self.predicted(self.short(scale, reference), np.zeros(len(self.near)), of)

        return self.best(predict, self.settings["scales"], self.settings["references"])

    def rung_3(self):
        charges = Charges(self.pairs, self.settings)

        def predict(of, scale, reference, charge_scale):
            short = self.short(scale, reference)
            return self.predicted(short, charges(self.most_probable(charges, of, short, charge_scale * charges.scales))[0], of)

        return self.best(predict, *(self.settings[name] for name in ("scales", "references", "charge_scales")))

    def most_probable(self, charges: Charges, of: np.ndarray, short: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Coefficients of charges with all short-range models integrated out, [P], by steps of Gauss and Newton."""
        sigma = self.labels.sigma[of]
        short, damping, lowest = Projected(short[of] / sigma[:, None]), 1.0, np.inf
        # not from zero, which is stationary where fragments are neutral
        new = 0.3 * np.random.default_rng(0).normal(size=len(scales))
        for _ in range(self.settings["steps"]):
            values, slopes = charges(scales * new)
            y, slopes = (self.labels.values[of] - values[of]) / sigma, slopes[of] * scales / sigma[:, None]
            left = short.left(y)
            loss = 0.5 * (y @ left + new @ new)
            if loss < lowest:
                before, z, lowest, damping = lowest, new, loss, damping / 4
                gradient, curvature = z - slopes.T @ left, slopes.T @ short.left(slopes)
                if before - loss < 1e-4:
                    break
            else:
                damping *= 8
            new = z - np.linalg.solve(curvature + (1 + damping) * np.eye(len(z)), gradient)
        return scales * z

    def rung_6(self):
        far = design(products([atoms for pair in self.pairs for atoms in pair.frames], self.settings), self.pairs)
        size = np.sqrt(np.mean(far[self.train & (self.labels.kind == 1)] ** 2, axis=0))
        far = far / np.where(size > 1e-9 * np.max(size), size, np.inf)

        def predict(of, scale, reference, far_scale):
            return self.predicted(np.concatenate([self.short(scale, reference), far_scale * far], axis=1), np.zeros(len(far)), of)

        return self.best(predict, *(self.settings[name] for name in ("scales", "references", "far_scales")))


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def run(pairs: list[Pair], n_train: int, settings: dict, rungs: tuple[int, ...] = (1, 3, 6), show=lambda results: None) -> dict:
    """Errors beyond the distances of training: of energies in meV and in % of their standard deviation there, of forces in eV/Å."""
    ladder = Ladder(pairs, n_train, settings)
    labels, results = ladder.labels, {"pairs": len(pairs), "training distances": n_train}
    test, curve = ~ladder.train & (labels.kind == 0), [[atoms.info["distance"] for atoms in pair.frames] for pair in pairs]
    results |= {"distances": curve, "energies": labels.values[(labels.kind == 0)].tolist()}
    for rung in rungs:
        began = time.perf_counter()
        found, tried = getattr(ladder, f"rung_{rung}")()
        wrong = found - labels.values
        results[f"rung {rung}"] = {
            "energy, meV": 1e3 * rms(wrong[test]),
            "of the test's deviation, %": 100 * rms(wrong[test]) / float(np.std(labels.values[test])),
            "of the curves' deviation, %": 100 * rms(wrong[test]) / float(np.std(labels.values[(labels.kind == 0)])),
            "training energy, meV": 1e3 * rms(wrong[ladder.train & (labels.kind == 0)]),
            "forces, eV/Å": rms(wrong[~ladder.train & (labels.kind == 1)]),
            "tried": tried, "energies": found[(labels.kind == 0)].tolist(), "seconds": round(time.perf_counter() - began),
        }  # fmt: skip
        show(results)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--rungs", type=int, nargs="+", default=[1, 3, 6])
    arguments = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    for name in arguments.sets:
        path = HERE / "results" / f"{name}.json"

        def show(results, name=name, path=path):
            known = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(known | results, indent=1) + "\n")
            last = [key for key in results if key.startswith("rung")][-1]
            print(name, last, {key: value for key, value in results[last].items() if key != "energies"}, flush=True)

        run(*pairs_of(name), SETTINGS, tuple(arguments.rungs), show)
