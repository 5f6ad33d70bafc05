"""What is kept of an experiment, its tables beside the published figures, and its figures."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

# RMSE of energies (meV per molecule) and forces (meV/Å) of models trained at 300 K, recalled in data/acac/README.md and data/3BPA/README.md
# from Batatia et al., Nat. Mach. Intell. 7, 56 (2025), and Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021)
PUBLISHED = {
    "acac": {
        "MACE": {"300 K": (0.9, 5.1), "600 K": (4.6, 22.4)},
        "NequIP": {"300 K": (0.81, 5.90), "600 K": (6.04, 27.8)},
        "BOTNet": {"300 K": (0.89, 6.3), "600 K": (6.2, 29.8)},
    },
    "3BPA": {
        "ACE": {"300 K": (7.1, 27.1)},
        "sGDML": {"300 K": (9.1, 46.2)},
        "GAP": {"300 K": (22.8, 87.3)},
        "force field": {"300 K": (60.8, 302.8)},
        "ANI": {"300 K": (23.5, 42.8)},
        "ANI-2x": {"300 K": (38.6, 84.4)},
        "NequIP": {"300 K": (3.28, 10.77)},
        "BOTNet": {"300 K": (3.1, 11.0)},
        "Allegro": {"300 K": (3.84, 12.98)},
        "MACE": {"300 K": (3.0, 8.8)},
    },
}
FAR = 1.0  # novelty beyond which a frame is unlike the training set


@dataclasses.dataclass
class Store:
    """One JSON file of results; what is put is on disk at once."""

    path: Path

    @classmethod
    def of(cls, folder: Path, data: str, kind: str) -> "Store":
        return cls(Path(folder) / f"{data}-{kind.replace(' ', '-')}.json")

    def all(self) -> dict:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get(self, name: str, otherwise=None):
        return self.all().get(name, otherwise)

    def put(self, **values) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({**self.all(), **values}, indent=1))
        os.replace(partial, self.path)


def found(folder: Path, data: str) -> dict[str, dict]:
    """Results by model, of those that are finished."""
    out = {}
    for path in sorted(Path(folder).glob(f"{data}-*.json")):
        results = json.loads(path.read_text())
        if results.get("errors"):
            out[path.stem.removeprefix(f"{data}-")] = results
    return out


def show(folder: Path) -> None:
    for data in PUBLISHED:
        results = found(folder, data)
        if results:
            print("\n" + table(data, results))
            if any(one["profiles"] for one in results.values()):
                novelty = Store.of(folder, data, "novelty").all()
                print("\n" + profile_table(results, novelty))
                draw_profiles(results, novelty, Path(folder) / f"{data}-profiles.png")
            if any(one["dimers"] for one in results.values()):
                draw_dimers(results, Path(folder) / f"{data}-dimers.png")


def table(data: str, results: dict) -> str:
    columns = ["300 K", "600 K"] if data == "acac" else ["300 K"]
    lines = [f"| {data}, RMSE E (meV) / F (meV/Å) | {' | '.join(columns)} | coefficients | frames | fit, CPU s |", "|---" * (len(columns) + 4) + "|"]
    for kind, one in results.items():
        cells = [f"{1e3 * e['energy']:.1f} / {1e3 * e['forces']:.1f}" if (e := one["errors"].get(c)) else "–" for c in columns]
        lines.append(f"| {kind} | {' | '.join(cells)} | {one['coefficients']} | {one['frames']} | {one['seconds']['processor']:.0f} |")
    for who, of in PUBLISHED[data].items():
        lines.append(f"| {who}, published | {' | '.join('{:g} / {:g}'.format(*of[c]) for c in columns)} | | | |")
    return "\n".join(lines)


def profile_table(results: dict, novelty: dict) -> str:
    names = list(dict.fromkeys(name for one in results.values() for name in one["profiles"]))
    lines = [f"| RMSE (meV), unphysical minima | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for kind, one in results.items():
        lines.append(f"| {kind} | {' | '.join(_profile(one['profiles'].get(n), novelty.get('novelty', {}).get(n)) for n in names)} |")
    return "\n".join(lines)


def _profile(one: dict | None, novelty: list | None) -> str:
    if one is None:
        return "–"
    words = [f"{1e3 * one['rmse']:.1f}"]
    for minimum in one["minima"]:
        i = minimum["point"]
        text = f"point {i}: {1e3 * minimum['depth']:.0f} deep"
        text += f", {1e3 * minimum['below']:.0f} below the reference's" if minimum["below"] else ""
        text += f", novelty {novelty[i]:.1f}" if novelty else ""
        text += f", own deviation {1e3 * one['deviation'][i]:.0f}" if "deviation" in one else ""
        words.append(text)
    return "; ".join(words)


def _figure(*shape, **options):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(*shape, layout="constrained", **options)


def draw_profiles(results: dict, novelty: dict, path: Path) -> None:
    names = list(dict.fromkeys(name for one in results.values() for name in one["profiles"]))
    figure, axes = _figure(2, len(names), figsize=(5.5 * len(names), 6.5), height_ratios=(3, 1), sharex="col", squeeze=False)
    for (axis, below), name in zip(axes.T, names, strict=True):
        for i, (kind, one) in enumerate(results.items()):
            if name not in one["profiles"]:
                continue
            profile = one["profiles"][name]
            energy, x = 1e3 * np.array(profile["energy"]), np.arange(len(profile["energy"]))
            axis.plot(x, energy, color=f"C{i}", label=kind)
            if "deviation" in profile:
                axis.fill_between(x, *(energy + s * 1e3 * np.array(profile["deviation"]) for s in (-1, 1)), color=f"C{i}", alpha=0.15, lw=0)
            for minimum in profile["minima"]:
                axis.plot(minimum["point"], energy[minimum["point"]], "v", color=f"C{i}")
        reference = 1e3 * np.array(profile["reference"])
        axis.plot(x, reference, "k--", label="DFT")
        room = 0.5 * np.ptp(reference)
        axis.set(title=name, ylabel="energy (meV)", ylim=(reference.min() - room, reference.max() + room))
        if name in novelty.get("novelty", {}):
            below.plot(novelty["novelty"][name], "k-")
            below.axhline(FAR, color="grey", lw=0.8)
        below.set(xlabel="point of the path", ylabel="novelty")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def draw_dimers(results: dict, path: Path) -> None:
    from profiles import DISTANCES

    pairs = list(next(one["dimers"] for one in results.values() if one["dimers"]))
    columns = min(5, max(3, len(pairs) // 2))
    rows = -(-len(pairs) // columns)
    figure, axes = _figure(rows, columns, figsize=(3.4 * columns, 3 * rows), sharex=True, squeeze=False)
    for axis, pair in zip(axes.flat, pairs, strict=False):
        for i, (kind, one) in enumerate(results.items()):
            if one["dimers"]:
                axis.plot(DISTANCES, one["dimers"][pair], color=f"C{i}", label=kind)
        axis.axhline(0, color="grey", lw=0.8)
        axis.set(title=pair, ylim=(-20, 20), xlabel="r (Å)", ylabel="energy (eV)")
    axes.flat[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)
