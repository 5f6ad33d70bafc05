"""Tables and plots of the results."""

import json
from pathlib import Path

from experiments.benchmarks.survey import sizes_of
from experiments.metals.run import PUBLISHED

METALS = Path(__file__).resolve().parent.parent / "metals/results/results.json"  # accuracies, where that experiment has run


def _with_spread(t: dict[str, float], digits: int = 1) -> str:
    return f"{t['median']:.{digits}f} ({t['lowest']:.{digits}f}–{t['highest']:.{digits}f})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)])


def tables(results: dict) -> str:
    """Everything as Markdown."""
    parts = [f"{results['date']}, " + ", ".join(f"{k} {v}" for k, v in results["machine"].items())]
    parts.append(", ".join(f"{k} {v}" for k, v in results["versions"].items()))
    for dtype, peak in results["peaks"].items():
        parts.append(f"{dtype}: " + ", ".join(f"{value:.0f} {name}" for name, value in peak.items()))
    if results["survey"]:
        parts += ["**jaxpot alone**, µs per atom, neighbour list at hand, median (lowest–highest):", survey(results["survey"])]
    if results["throughput"]:
        parts += ["**One large structure**:", throughput(results["throughput"])]
    if results["fits"]:
        parts += ["**Fits** of the project's silicon data, s, compiled:", fits(results["fits"])]
    for one in results["comparisons"]:
        parts += [f"**{one['name']}**, {one['atoms']} atoms, µs per atom:", comparison(one)]
    if results["ace fits"]:
        parts += ["**Fit of mlearn's silicon**, linear ACE, energies and forces:", ace_fits(results["ace fits"])]
    if results["memory"]:
        rows = [
            [m["family"], str(m["atoms"]), f"{m['bytes per atom'] / 1024:.2f}", f"{m['planned bytes per atom'] / 1024:.2f}",
             f"{m['neighbour list, bytes per atom'] / 1024:.2f}", f"{m['peak GiB of the process']:.1f}"] for m in results["memory"]
        ]  # fmt: skip
        head = ["family", "atoms", "KiB per atom, by the system", "as XLA plans", "neighbour list, KiB per atom", "peak of the process, GiB"]
        parts += ["**Memory** of energy, forces and virial beyond the neighbour list:", _table(head, rows)]
    if results["scaling"]:
        parts += ["**Parts on pretend devices** that share the cores of one machine:", scaling(results["scaling"])]
    parts += ["**Claims**", "\n".join(f"- {line}" for line in results["claims"])]
    if results["missing"]:
        parts += ["**Left out**", "\n".join(f"- {line}" for line in results["missing"])]
    return "\n\n".join(parts) + "\n"


def survey(rows: list[dict]) -> str:
    head = ["family", "quantity", "atoms", "precision", "elements", "µs per atom", "compilation, s"]
    head += ["kflop", "kB touched", "µs for these in the caches", "floor, µs", "times the floor"]
    lines = []
    for r in rows:
        extra = [""] * 5
        if "floor" in r:
            numbers = (r["flops per atom"] / 1e3, r["bytes per atom"] / 1e3, r["touched"], r["floor"], r["times the floor"])
            extra = [f"{x:.{digits}f}" for x, digits in zip(numbers, (0, 0, 1, 1, 1), strict=True)]
        lines.append([
            r["family"], r["quantity"], str(r["n_atoms"]), r["dtype"], str(r["n_species"]), _with_spread(r["microseconds per atom"]),
            f"{r['compile_seconds']:.1f}", *extra,
        ])  # fmt: skip
    return _table(head, lines)


def throughput(rows: list[dict]) -> str:
    head = ["family", "atoms", "precision", "", "µs per atom", "million atom-steps per s", "of the bandwidth", "of the arithmetic", "GiB"]
    lines = []
    for r in rows:
        for name, t in r["microseconds per atom"].items():
            used = [f"{r['of the bandwidth']:.0%}", f"{r['of the arithmetic']:.0%}", f"{r['temporary GiB']:.1f}"]
            steps = f"{r['million atom-steps per second'][name]:.3g}"
            lines.append([r["family"], str(r["atoms"]), r["dtype"], name, _with_spread(t, 4), steps, *(used if name != "NVT step" else [""] * 3)])
    return _table(head, lines)


def fits(rows: list[dict]) -> str:
    head = ["family", "structures, atoms", "coefficients", "fit", "evidence and its gradient", "squared error and its gradient"]
    return _table(head, [
        [r["family"], f"{r['structures']}, {r['atoms']}", str(r.get("coefficients", "")),
         *(_with_spread(r[name], 2) if name in r else "" for name in ("fit", "evidence gradient", "loss gradient"))] for r in rows
    ])  # fmt: skip


def comparison(one: dict) -> str:
    lines = [[name, _with_spread(t)] for name, t in one["microseconds per atom"].items()]
    text = _table(["", "median (lowest–highest)"], lines) if lines else ""
    checks = "; ".join(f"{what}: {found:.2g}" for what, found in one["checks"].items())
    return "\n\n".join(x for x in (text, f"Equal: {checks}." if checks else "", *one["missing"]) if x)


def ace_fits(fits: list[dict]) -> str:
    lines = []
    for fit in fits:
        for name in ("ace-jax", "jaxpot"):
            first, second = fit[name]["seconds"]
            errors = fit[name]["errors"]
            lines.append([str(fit["degree"]), name, f"{first:.1f}", f"{second:.1f}", f"{1e3 * errors['energy']:.2f}", f"{errors['forces']:.4f}"])
    return _table(["degree", "", "s, with compilation", "s, compiled", "energy, test RMSE, meV/atom", "forces, eV/Å"], lines)


def scaling(found: dict) -> str:
    one = sorted(found["seconds"]["one device, no parts"])[len(found["seconds"]["one device, no parts"]) // 2]
    lines = [["one device, no parts", str(found["atoms"]), f"{one:.3f}", f"{1e6 * one / found['atoms']:.1f}", "", ""]]
    for name, c in found["communication"].items():
        seconds = sorted(found["seconds"][name])
        median = seconds[len(seconds) // 2]
        sent = f"{c['bytes sent by a device'] / 1024:.0f}"
        lines.append([name, str(c["atoms"]), f"{median:.3f}", f"{1e6 * median / c['atoms']:.1f}", f"{c['ghosts per atom']:.2f}", sent])
    return _table(["devices", "atoms", "s", "µs per atom", "ghosts per own atom", "KiB sent by a device"], lines)


def draw(results: dict, folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if results["survey"]:
        figure, axis = plt.subplots(figsize=(6, 4.5))
        for color, family in enumerate(dict.fromkeys(r["family"] for r in results["survey"])):
            rows = sizes_of(results["survey"], family)
            sizes, times = [r["n_atoms"] for r in rows], [r["microseconds per atom"] for r in rows]
            spread = [[t["median"] - t["lowest"] for t in times], [t["highest"] - t["median"] for t in times]]
            axis.errorbar(sizes, [t["median"] for t in times], spread, marker="o", ms=4, capsize=2, color=f"C{color}", label=family)
        for number, (name, n_atoms, t) in enumerate(_of_peers(results)):
            axis.plot(n_atoms, t["median"], "x+1234*"[number % 7], color="k", label=name)
        axis.set(xscale="log", yscale="log", xlabel="atoms", ylabel="µs per atom")
        axis.legend(fontsize=6, ncol=2)
        figure.tight_layout()
        figure.savefig(folder / "cost_and_size.png", dpi=130)
    points = _accuracies(results)
    if points:
        figure, axis = plt.subplots(figsize=(6, 4.5))
        for name, cost, error in points:
            axis.plot(cost, error, "o")
            axis.annotate(name, (cost, error), fontsize=6, xytext=(3, 3), textcoords="offset points")
        axis.set(xscale="log", yscale="log", xlabel="µs per atom, energy and forces", ylabel="MAE of forces, test set of silicon (eV/Å)")
        figure.tight_layout()
        figure.savefig(folder / "accuracy_and_cost.png", dpi=130)


def _of_peers(results: dict) -> list[tuple[str, int, dict]]:
    """The codes that evaluate energies and forces, or gradients, with their sizes and times."""
    own = ("values", "energy", "as read", "tabulated", "exact", "list", "here")
    found = [(name, one["atoms"], t) for one in results["comparisons"] for name, t in one["microseconds per atom"].items() if not name.startswith(own)]
    return [(name, n, t) for name, n, t in found if "values" not in name]


def _accuracies(results: dict) -> list[tuple[str, float, float]]:
    """(name, µs per atom, MAE of forces) of silicon: the potentials of the experiment on metals at the cost found there, and the published
    SNAP and GAP at the cost found here, where GAP's is that of the one with 1000 points.
    """
    points = []
    if METALS.exists():
        for kind, one in json.loads(METALS.read_text())["results"].get("Si", {}).items():
            points.append((f"{kind.upper()}, jaxpot", one["microseconds_per_atom"], one["errors"]["all"]["forces"]["mae"]))
    for kind in ("SNAP", "GAP"):
        one = next((c for c in results["comparisons"] if f"{kind}, " in c["name"] and "elements" not in c["name"]), None)
        for name, t in one["microseconds per atom"].items() if one else ():
            if "searched" not in name and "as read" not in name and "calculator" not in name:
                points.append((f"{kind}, published, {name.replace('list at hand', 'jaxpot')}", t["median"], PUBLISHED["Si"][kind][1]))
    return points
