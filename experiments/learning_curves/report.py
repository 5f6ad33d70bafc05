"""Results as files, tables and figures."""

import json
from pathlib import Path


def store(folder: Path, part: str, name: str, result: dict) -> None:
    """One file for each representation or molecule."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}-{name}.json").write_text(json.dumps(result, indent=1))


def load(folder: Path, part: str) -> dict[str, dict]:
    return {path.stem.split("-", 1)[1]: json.loads(path.read_text()) for path in sorted(folder.glob(f"{part}-*.json"))}


def show(folder: Path) -> None:
    """Prints what there is, and draws it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = load(folder, "qm7")
    if found:
        figure, axis = plt.subplots(figsize=(5, 4))
        for i, (name, one) in enumerate(sorted(found.items(), key=lambda item: -min(item[1]["errors"].values()))):
            sizes = [int(n) for n in one["errors"]]
            axis.plot(sizes, list(one["errors"].values()), "os^vDP*"[i % 7] + "-", label=name)
            print(f"{name:<7}" + "".join(f"{n:>7}: {e:6.2f}" for n, e in one["errors"].items()) + f"   ({one['seconds']:.0f} s, {one['peak_gib']:.1f} GiB)")
        axis.set(xscale="log", yscale="log", xlabel="training molecules", ylabel="MAE of the energy (kcal/mol)", title="QM7, 2000 test molecules")
        axis.legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(folder / "qm7.png", dpi=130)
    found = load(folder, "rmd17")
    if found:
        figure, axes = plt.subplots(1, len(found), figsize=(3.6 * len(found), 3.6), squeeze=False)
        for axis, (molecule, one) in zip(axes[0], found.items(), strict=True):
            for i, (model, curve) in enumerate(one["models"].items()):
                sizes = [int(n) for n in curve]
                axis.plot(sizes, [1e3 * e["forces"] for e in curve.values()], "os^"[i] + "-", label=model)
                text = "".join(f"{n:>6}: {1e3 * e['energy']:6.2f} / {1e3 * e['forces']:5.1f}" for n, e in curve.items())
                print(f"{molecule:<14} {model:<10}{text}   (meV, meV/Å)")
            for i, (who, (_, error)) in enumerate(one["published"].items()):
                axis.plot([1000], [error], "x+1234"[i], color="k", label=f"{who}, published")
            axis.set(xscale="log", yscale="log", xlabel="training structures", ylabel="MAE of forces (meV/Å)", title=molecule)
        axes[0, 0].legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(folder / "rmd17.png", dpi=130)
