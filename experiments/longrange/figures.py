"""Figures and tables of the results that charge_transfer.py and dimers.py have left in `results/`.

    python experiments/longrange/figures.py
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).resolve().parent
SETS = ("ag3", "nacl", "carbon_chains", "au2_mgo")
OTHER_FORMS = tuple(f"{name}_{form}" for name in SETS for form in ("gap", "network"))
DIMERS = ("charge_charge_130", "lode_CC", "lode_CA", "lode_PP", "lode_AA")


def ladder(results: dict[str, dict], path: Path) -> None:
    """Errors of energy and forces of every rung, set by set."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), constrained_layout=True)
    for axis, (name, unit) in zip(axes, (("energy", "meV/atom"), ("forces", "eV/Å")), strict=True):
        rungs = sorted({rung for found in results.values() for rung in found if rung.startswith("rung")})
        for k, rung in enumerate(rungs):
            there = [(place, found[rung]["all"][name]) for place, found in enumerate(results.values()) if rung in found]
            places, values = np.transpose(there)
            axis.bar(places + 0.8 * (k / len(rungs) - 0.4), values, width=0.8 / len(rungs), label=rung)
        axis.set(yscale="log", ylabel=f"RMSE of {name}, {unit}", xticks=range(len(results)), xticklabels=list(results))
    axes[0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def table(results: dict[str, dict]) -> str:
    """Errors of energy (meV/atom), forces (eV/Å) and charges (me), and the first two over those of rung 1."""
    head = ("set", "model", "coefficients", "energy, meV/atom", "forces, eV/Å", "charges, me", "energy over rung 1", "forces over rung 1")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, found in results.items():
        for rung in sorted(key for key in found if key.startswith("rung")):
            own, short = found[rung]["all"], found["rung 1"]["all"]
            charges = f"{own['charges']:.1f}" if "charges" in own else ""
            ratios = [f"{own[kind] / short[kind]:.3g}" if rung != "rung 1" else "" for kind in ("energy", "forces")]
            cells = (name, rung, found[rung]["coefficients"], f"{own['energy']:.3g}", f"{own['forces']:.3g}", charges, *ratios)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def dissociation(results: dict[str, dict], path: Path) -> None:
    """Binding energies of the first pair of every set over distance, from the smallest of training on, and where training ends."""
    figure, axes = plt.subplots(1, len(results), figsize=(3.2 * len(results), 3), constrained_layout=True, squeeze=False)
    for axis, (name, found) in zip(axes[0], results.items(), strict=True):
        distances, n = found["distances"][0], found["training distances"]
        axis.plot(distances, found["energies"][: len(distances)], "ko", label="HSE06 + MBD")
        for rung in sorted(key for key in found if key.startswith("rung")):
            axis.plot(distances, found[rung]["energies"][: len(distances)], label=rung, color=f"C{rung[-1]}")
        axis.axvline(0.5 * (distances[n - 1] + distances[n]), color="gray", linestyle=":")
        axis.set(title=name, xlabel="distance, Å")
    axes[0, 0].set_ylabel("binding energy, eV")
    axes[0, 0].legend()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def table_of_dimers(results: dict[str, dict]) -> str:
    """Errors beyond the distances of training: meV, % of the deviation of the test's energies and of all of the curves', eV/Å."""
    names = ("energy, meV", "of the test's deviation, %", "of the curves' deviation, %", "forces, eV/Å")
    head = ("set", "model", *names)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, found in results.items():
        for rung in sorted(key for key in found if key.startswith("rung")):
            lines.append("| " + " | ".join([name, rung, *(f"{found[rung][key]:.3g}" for key in names)]) + " |")
    return "\n".join(lines)


def results_of(names: tuple[str, ...]) -> dict[str, dict]:
    """What there is."""
    return {name: json.loads(path.read_text()) for name in names if (path := HERE / "results" / f"{name}.json").exists()}


if __name__ == "__main__":
    if results := results_of(SETS):
        ladder(results, HERE / "ladder.png")
        print(table(results | results_of(OTHER_FORMS)))
    if results := results_of(DIMERS):
        dissociation(results, HERE / "dimers.png")
        print(table_of_dimers(results))
