"""Table and figure of what run.py has left in `results/`.

    python experiments/silicon_properties/figures.py
"""

import json
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from silicon_models import TEACHER

HERE = Path(__file__).resolve().parent

# Bartók, Kermode, Bernstein, Csányi, Phys. Rev. X 8, 041048 (2018), as stored with the silicon testing framework (doi 10.5281/zenodo.1250555):
# Å, GPa, eV, eV/Å². DFT is CASTEP with PW91.
_ROWS = ("a0", "B", "c11", "c12", "c44", "vacancy", "hexagonal interstitial", "tetrahedral interstitial", "dumbbell interstitial",
         "(100) surface", "(110) surface", "(111) surface", "stacking fault", "highest phonon", "phonons from DFT")  # fmt: skip
_NONE = float("nan")
PUBLISHED = {
    name: dict(zip(_ROWS, values, strict=True))
    for name, values in {
        "DFT": (5.4610, 88.60, 153.29, 56.25, 72.18, 3.673, 3.724, 3.910, 3.662, 0.1356, _NONE, _NONE, 0.00291, 15.09, 0.0),
        "GAP, published": (5.4608, 88.81, 151.38, 57.52, 67.86, 3.527, 3.626, 3.714, 3.680, 0.0804, 0.0939, 0.0941, 0.00706, 14.76, 0.14),
        "Tersoff, published": (5.4321, 97.9, 142.5, 75.6, 65.3, 4.155, 4.726, 3.622, 4.851, 0.1416, 0.0944, 0.0743, 0.0, _NONE, 0.93),
        "SW, published": (5.4309, 101.5, 151.3, 76.5, 53.4, 2.691, 6.583, 4.999, 4.466, 0.1470, 0.1035, 0.0844, 0.0, _NONE, 1.56),
        "EDIP, published": (5.4288, 100.6, 171.1, 65.3, 69.4, 3.227, 4.227, 4.166, 3.524, 0.1320, 0.0813, 0.0646, 0.0, _NONE, _NONE),
    }.items()
}
DIGITS = {"Å": 4, "GPa": 1, "eV": 2, "eV/Å²": 4, "THz": 2}
TOLERANCES = {"a0": 0.003, "c11": 0.1, "c12": 0.1, "c44": 0.1, "vacancy": 0.3}  # of the teacher's value; of the vacancy eV


def units(name: str) -> str:
    """Of a row."""
    return {"a0": "Å", "B": "GPa", "c11": "GPa", "c12": "GPa", "c44": "GPa", "highest phonon": "THz", "phonons from DFT": "THz"}.get(
        name, "eV/Å²" if name.endswith(("surface", "fault")) else "eV"
    )


def stored_bands(who: str) -> np.ndarray:
    """Published frequencies of DFT ("CASTEP_ASE") or the GAP ("GAP") along Γ, X, Γ, L, ascending, shape [150, 6], in THz."""
    file = Path(os.environ["JAXPOT_DATA"]) / "data" / "Si_gap2018" / "phonon_diamond_castep_gap.json"
    return np.sort(np.concatenate(json.loads(file.read_text())[who]["phonon_diamond"]["phonon_diamond_band_frequencies"]), axis=1)


def columns(results: dict[str, dict], dft: np.ndarray) -> dict[str, dict[str, float]]:
    """Published and measured values; the last is the mean absolute deviation of the phonons from DFT."""
    own = {}
    for name, result in results.items():
        own[name] = dict(result["values"])
        if "bands" in result:
            own[name]["phonons from DFT"] = float(np.mean(np.abs(np.array(result["bands"]) - dft)))
    return PUBLISHED | own


def table(of: dict[str, dict[str, float]]) -> str:
    """Rows of properties, a dash where there is none."""
    rows = list(dict.fromkeys([*_ROWS, *(row for values in of.values() for row in values)]))
    lines = ["| | unit | " + " | ".join(of) + " |", "|---" * (2 + len(of)) + "|"]
    for row in rows:
        cells = [f"{values[row]:.{DIGITS[units(row)]}f}" if np.isfinite(values.get(row, np.nan)) else "–" for values in of.values()]
        lines.append(f"| {row} | {units(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def of_teacher(of: dict[str, dict[str, float]]) -> list[str]:
    """How the models fitted to the teacher's labels differ from it, one line each, and whether within the tolerances."""
    lines, teacher = [], of.get(TEACHER, {})
    for name in (name for name in of if name.endswith("of the teacher")):
        for row, tolerance in TOLERANCES.items():
            if row not in of[name] or row not in teacher:
                lines.append(f"{name}: {row}: not found")
                continue
            off = of[name][row] - teacher[row]
            found, unit = (off, " eV") if row == "vacancy" else (100 * off / teacher[row], " %")
            bound = tolerance if row == "vacancy" else 100 * tolerance
            lines.append(f"{name}: {row}: {found:+.3g}{unit} (at most {bound:g}{unit}){'' if abs(found) <= bound else ', MISSED'}")
    return lines


def draw(results: dict[str, dict], of: dict[str, dict[str, float]], dft: np.ndarray, path: Path) -> None:
    """Phonons of every potential over those of DFT, and energies of point defects."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), constrained_layout=True)
    for k, result in enumerate(results.values()):
        if "bands" in result:
            axes[0].plot(result["bands"], f"C{k % 10}", lw=0.7, alpha=0.8)
    axes[0].plot(dft, "k", lw=1.3)
    axes[0].set(ylabel="frequency, THz", xticks=(0, 50, 100, 149), xticklabels=("Γ", "X", "Γ", "L"), title="phonons; black: DFT")
    defects = [row for row in _ROWS if row.endswith("interstitial") or row == "vacancy"]
    shown = {"DFT": of["DFT"], "GAP, published": of["GAP, published"]} | {name: of[name] for name in results}
    for k, (name, values) in enumerate(shown.items()):
        style = dict(color="k", marker="os"[k]) if k < 2 else dict(color=f"C{(k - 2) % 10}", marker="^v<>"[(k - 2) // 10])
        axes[1].plot(range(len(defects)), [values.get(row, np.nan) for row in defects], ls=":" if k else "-", ms=5, label=name, **style)
    axes[1].set(ylabel="energy of formation, eV", xticks=range(len(defects)), xticklabels=[row.removesuffix(" interstitial") for row in defects])
    axes[1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(folder: Path = HERE / "results") -> None:
    """Prints and stores what there is."""
    results = {result["name"]: result for path in sorted(folder.glob("*.json")) for result in [json.loads(path.read_text())]}
    dft = stored_bands("CASTEP_ASE")
    of = columns(results, dft)
    failed = [f"{name}: {row}: {why}" for name, result in results.items() for row, why in result["failed"].items()]
    text = "\n\n".join(part for part in (table(of), "\n".join(of_teacher(of)), *failed) if part)
    (folder / "table.md").write_text(text + "\n")
    print(text)
    draw(results, of, dft, folder / "silicon.png")


if __name__ == "__main__":
    main()
