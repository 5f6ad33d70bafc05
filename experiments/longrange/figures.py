"""Figures and tables of what charge_transfer.py and dimers.py have left in `results/`.

    python experiments/longrange/figures.py

The table of the ladder, and that of dimers, are printed.
"""

import itertools
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
SETS = ("ag3", "nacl", "carbon_chains", "au2_mgo")
FORMS = {"": "ACE", "_gap": "SOAP-GAP", "_network": "network"}  # endings of the names of results
DIMERS = ("charge_charge_130", "lode_CC", "lode_CA", "lode_PP", "lode_AA")


def rungs_of(found: dict) -> list[str]:
    return sorted(key for key in found if key.startswith("rung"))


def ladder(results: dict[str, dict], path: Path) -> None:
    """Errors of energy and forces of every rung and form of model, a column of panels for every set."""
    figure, axes = plt.subplots(2, len(SETS), figsize=(3.2 * len(SETS), 6), layout="constrained", sharex="col")
    bars = {}
    for column, name in zip(axes.T, SETS, strict=True):
        there = [(color, form, results[name + end]) for color, (end, form) in enumerate(FORMS.items()) if name + end in results]
        rungs = sorted({rung for *_, found in there for rung in rungs_of(found)})
        for axis, (kind, unit) in zip(column, (("energy", "meV/atom"), ("forces", "eV/Å")), strict=True):
            for k, (color, form, found) in enumerate(there):
                places = [rungs.index(rung) + 0.8 * ((k + 0.5) / len(there) - 0.5) for rung in rungs_of(found)]
                values = [found[rung]["all"][kind] for rung in rungs_of(found)]
                bars[form] = axis.bar(places, values, width=0.8 / len(there), color=f"C{color}")
            labels = [rung.removeprefix("rung ").replace(", ", ",\n") for rung in rungs]
            axis.set(ylabel=f"RMSE of {kind}, {unit}", xticks=range(len(rungs)), xticklabels=labels)
        column[0].set(title=name, yscale="log" if name == "ag3" else "linear")
        column[1].set_xlabel("rung")
    figure.legend(bars.values(), bars, loc="outside upper center", ncols=len(bars))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def table(results: dict[str, dict]) -> str:
    """Errors of energy (meV/atom), forces (eV/Å) and charges (me), and the first two over those of rung 1."""
    head = ("set", "model", "rung", "stride", "coefficients", "energy, meV/atom", "forces, eV/Å", "charges, me", "energy over rung 1", "forces over rung 1")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, end in itertools.product(SETS, FORMS):
        found = results.get(name + end, {})
        for rung in rungs_of(found):
            own, short = found[rung]["all"], found["rung 1"]["all"]
            charges = f"{own['charges']:.1f}" if "charges" in own else ""
            ratios = [f"{own[kind] / short[kind]:.3g}" if rung != "rung 1" else "" for kind in ("energy", "forces")]
            sizes = [found[rung][key] for key in ("stride", "coefficients")]
            cells = (name, FORMS[end], rung.removeprefix("rung "), *sizes, f"{own['energy']:.3g}", f"{own['forces']:.3g}", charges, *ratios)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def dissociation(results: dict[str, dict], path: Path) -> None:
    """Binding energies of the first pair of every set over distance, from the smallest of training on, and where training ends."""
    figure, axes = plt.subplots(1, len(results), figsize=(3.2 * len(results), 3), constrained_layout=True, squeeze=False)
    for axis, (name, found) in zip(axes[0], results.items(), strict=True):
        distances, n = found["distances"][0], found["training distances"]
        axis.plot(distances, found["energies"][: len(distances)], "ko", label="HSE06 + MBD")
        for rung in rungs_of(found):
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
        for rung in rungs_of(found):
            lines.append("| " + " | ".join([name, rung, *(f"{found[rung][key]:.3g}" for key in names)]) + " |")
    return "\n".join(lines)


def results_of(names: tuple[str, ...]) -> dict[str, dict]:
    """What there is."""
    return {name: json.loads(path.read_text()) for name in names if (path := HERE / "results" / f"{name}.json").exists()}


if __name__ == "__main__":
    if results := results_of(tuple(name + end for name in SETS for end in FORMS)):
        ladder(results, HERE / "ladder.png")
        print(table(results))
    if results := results_of(DIMERS):
        dissociation(results, HERE / "dimers.png")
        print(table_of_dimers(results))
