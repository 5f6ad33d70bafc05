"""Table and figures of what run.py has left in `results/`.

    python experiments/carbon/figures.py
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import glass
import matplotlib.pyplot as plt
import melt_quench
import numpy as np

HERE = Path(__file__).resolve().parent
COLOURS = {0: "black", 1: "black", 2: "tab:red", 3: "tab:orange", 4: "tab:blue", 5: "tab:purple", 6: "tab:purple"}
NAMES = {2: "2 neighbours (sp)", 3: "3 (sp²)", 4: "4 (sp³)", 5: "5 or more"}


def errors_table(fits: dict[str, dict]) -> str:
    """Errors on the frames that were not fitted, of all and by configuration type."""
    kinds = list(dict.fromkeys(["all", *sorted(kind for fit in fits.values() for kind in fit["errors"])]))
    lines = ["| | " + " | ".join(f"{name}: energy, meV/atom | forces, eV/Å" for name in fits) + " |", "|---" * (1 + 2 * len(fits)) + "|"]
    for kind in kinds:
        cells = []
        for fit in fits.values():
            energy, forces = (fit["errors"][kind][name] for name in ("energy", "forces"))
            cells.append(f"{1e3 * energy['mae']:.1f} / {1e3 * energy['rmse']:.1f} | {forces['mae']:.3f} / {forces['rmse']:.3f}")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def melts_table(melts: dict[str, dict]) -> str:
    """What the glasses are like, one line each."""
    heads = ("", "g/cm³", "atoms", "sp, %", "sp², %", "sp³, %", "5-rings", "6-rings", "7-rings", "eV/atom", "K", "shortest pair, Å", "wall time, s")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, melt in melts.items():
        if "anneal" not in melt:
            lines.append(f"| {name} | {melt['density']:.2f} | {melt['atoms']} |" + f" not ended, {melt['blocks']} blocks |" + " – |" * (len(heads) - 4))
            continue
        end = melt["anneal"]
        shares = [f"{100 * end['coordination'][k]:.1f}" for k in (2, 3, 4)]
        rings = [f"{end['rings'][k]:.2f}" for k in (5, 6, 7)]
        rest = [f"{end['energy']:.3f}", f"{end['temperature']:.0f}", f"{melt['shortest distance']:.2f}", f"{melt['seconds']:.0f}"]
        lines.append("| " + " | ".join([name, f"{melt['density']:.2f}", str(melt["atoms"]), *shares, *rings, *rest]) + " |")
    return "\n".join(lines)


def draw_curves(melts: dict[str, dict], path: Path) -> None:
    """S(q) and g(r) of liquids, dashed, and glasses."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), constrained_layout=True)
    for k, (name, melt) in enumerate(melts.items()):
        for stage, style in (("liquid", "--"), ("anneal", "-")):
            if stage in melt:
                label = f"{name}, {'liquid' if stage == 'liquid' else 'amorphous'}"
                axes[0].plot(glass.WAVES, np.array(melt[stage]["S"]) + 1.5 * k, style, color=f"C{k}", lw=1, label=label)
                axes[1].plot(glass.RADII, np.array(melt[stage]["g"]) + 2 * k, style, color=f"C{k}", lw=1)
    axes[0].set(xlabel="q (1/Å)", ylabel="S(q), shifted by 1.5")
    axes[1].set(xlabel="r (Å)", ylabel="g(r), shifted by 2")
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_snapshots(folder: Path, melts: dict[str, dict], bond: float, path: Path) -> None:
    """The last frames, coloured by coordination, with the bonds that do not cross the cell."""
    shown = {name: melt for name, melt in melts.items() if "anneal" in melt}
    if not shown:
        return
    figure = plt.figure(figsize=(4.2 * len(shown), 4.6), constrained_layout=True)
    for k, name in enumerate(shown):
        atoms = melt_quench.read(folder / f"{name}.npz").atoms(-1)
        numbers = glass.coordination(atoms, bond)
        atoms.wrap()
        axis = figure.add_subplot(1, len(shown), k + 1, projection="3d")
        for i, vector in enumerate(atoms.positions):
            for j in range(i):
                if np.linalg.norm(vector - atoms.positions[j]) < bond:
                    axis.plot(*np.array([vector, atoms.positions[j]]).T, color="grey", lw=1)
        axis.scatter(*atoms.positions.T, c=[COLOURS[min(n, 6)] for n in numbers], s=60, depthshade=True, edgecolors="k", linewidths=0.3)
        axis.set(title=f"{name} g/cm³", aspect="equal")
        axis.set_axis_off()
    marks = [plt.Line2D([], [], ls="", marker="o", color=COLOURS[n], label=text) for n, text in NAMES.items()]
    figure.legend(handles=marks, loc="lower center", ncol=len(marks), fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_order(melts: dict[str, dict], path: Path) -> None:
    """Fourfold atoms against density, with the spread of frames, and rings."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    ended = {name: melt for name, melt in melts.items() if "anneal" in melt}
    for k, kind in enumerate(sorted({name.split("-")[0] for name in ended})):
        own = [melt for name, melt in ended.items() if name.split("-")[0] == kind]
        each = [100 * np.array(melt["anneal"]["sp3 of frames"]) for melt in own]
        at, mean, spread = [melt["density"] for melt in own], [x.mean() for x in each], [x.std() for x in each]
        axes[0].errorbar(at, mean, spread, fmt="o-", color=f"C{k}", capsize=3, label=kind)
    axes[0].set(xlabel="density (g/cm³)", ylabel="atoms with four neighbours (%)", ylim=(0, None))
    for k, (name, melt) in enumerate(ended.items()):
        rings = np.array(melt["anneal"]["rings"])[3:]
        axes[1].bar(np.arange(3, 3 + len(rings)) + 0.8 * (k + 0.5) / len(ended) - 0.4, rings, 0.8 / len(ended), label=f"{name} g/cm³")
    axes[1].set(xlabel="size of shortest-path rings", ylabel="rings for each atom")
    if ended:
        axes[0].legend()
        axes[1].legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _place(path: Path) -> tuple[str, float]:
    kind, density = path.stem.split("-")
    return kind, float(density)


def main(folder: Path, config: dict) -> None:
    """Prints and stores what there is."""
    fits = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path.stem in ("ACE", "GAP")}
    stages = [stage for stage, _ in melt_quench.schedule(config["protocol"], config["dynamics"]["interval"] * config["dynamics"]["timestep"])]
    melts = {path.stem: glass.described(melt_quench.read(path), stages, config["analysis"]) for path in sorted(folder.glob("*-*.npz"), key=_place)}
    (folder / "melts.json").write_text(json.dumps(melts, indent=1) + "\n")
    text = "\n\n".join([errors_table(fits)] * bool(fits) + [melts_table(melts)] * bool(melts))
    (folder / "table.md").write_text(text + "\n")
    print(text)
    draw_curves(melts, folder / "curves.png")
    draw_order(melts, folder / "order.png")
    draw_snapshots(folder, melts, config["analysis"]["bond"], folder / "snapshots.png")


if __name__ == "__main__":
    import tomllib

    import jax

    jax.config.update("jax_enable_x64", True)
    main(HERE / "results", tomllib.loads((HERE / "config.toml").read_text()))
