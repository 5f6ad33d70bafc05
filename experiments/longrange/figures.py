"""Figures of the results that charge_transfer.py and ion_gas.py have left in `results/`.

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


if __name__ == "__main__":
    results = {name: json.loads(path.read_text()) for name in SETS if (path := HERE / "results" / f"{name}.json").exists()}
    ladder(results, HERE / "ladder.png")
