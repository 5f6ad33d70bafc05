"""jaxpot against the other codes, turn by turn in one process, on equal descriptors and, where there is one, the same potential.

Every comparison first shows that the numbers are equal. jaxpot is timed with the neighbour list at hand (as in molecular dynamics, where a
skin spares the search), with the list searched anew on the host for every call, and as an ASE calculator whose list is kept.
"""

import dataclasses
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ase import Atoms

import jaxpot as jp
from experiments.benchmarks import models, peers, timing
from experiments.benchmarks.children import ask
from experiments.benchmarks.peers import Missing
from experiments.datasets import load
from jaxpot.io.gap import read_gap
from jaxpot.io.snap import read_snap, write_snap


@dataclasses.dataclass(frozen=True)
class Claim:
    """A ratio that is to be reached, and what was measured."""

    text: str
    measured: float
    asked: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.measured >= self.asked if self.at_least else self.measured <= self.asked

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        return f"claim: {self.text}: {self.measured:.3g} (asked {bound} {self.asked:g}){'' if self.met else ', NOT MET'}"


@dataclasses.dataclass
class Comparison:
    """Contenders at one job, what was equal, and what follows."""

    name: str
    n_atoms: int
    times: dict[str, timing.Times] = dataclasses.field(default_factory=dict)
    checks: dict[str, float] = dataclasses.field(default_factory=dict)
    claims: list[Claim] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)

    def check(self, what: str, found: float, allowed: float) -> None:
        """Raises:
        RuntimeError: if two codes do not agree, for their times would mean nothing."""
        self.checks[what] = found
        if not found <= allowed:
            raise RuntimeError(f"{self.name}: {what}: {found:.1e}, expected at most {allowed:.0e}")

    def try_to(self, make: Callable):
        """What a peer makes, or None with the reason noted."""
        try:
            return make()
        except Missing as reason:
            self.missing.append(str(reason))
            return None

    def faster(self, text: str, peer: str, here: str, asked: float) -> None:
        """A claim about a ratio of medians, where both were timed."""
        if peer in self.times and here in self.times:
            self.claims.append(Claim(f"{text}, {here}", self.times[peer].median / self.times[here].median, asked))

    def as_dict(self) -> dict:
        return {
            "name": self.name,
            "atoms": self.n_atoms,
            "microseconds per atom": {name: t.per(self.n_atoms) for name, t in self.times.items()},
            "checks": self.checks,
            "claims": [dataclasses.asdict(claim) | {"met": claim.met} for claim in self.claims],
            "missing": self.missing,
        }


def here(function: Callable, model, atoms: Atoms, cutoff: float, dtype: str = "float64") -> dict[str, timing.Timed]:
    """The two forms of a function of a model and a graph: list at hand, and list searched."""
    model = jax.device_put(jp.cast(model, dtype, insist=True))
    program = timing.program(function, model, jp.cast(jp.from_atoms(atoms, cutoff), dtype))

    def searched():
        return program.compiled(model, jp.cast(jp.from_atoms(atoms, cutoff), dtype))

    return {"list at hand": timing.Timed(program), "list searched": timing.Timed(searched)}


def calculator(model: jp.Potential, atoms: Atoms) -> timing.Timed:
    """An ASE calculator whose atoms move a little at every call, so that its list holds."""
    atoms = atoms.copy()
    atoms.calc, start, turns = jp.Calculator(model), atoms.positions.copy(), itertools.count()

    def moved():
        atoms.positions = start + 1e-3 * (next(turns) % 2)
        return atoms.get_forces()

    return timing.Timed(moved)


def soap(n_atoms: int, runs: int, species: tuple[str, ...]) -> Comparison:
    """Values, and energy and forces of a linear potential, of one power spectrum. QUIP's has other radial functions, and one element here."""
    name = f"SOAP, n_max 8, l_max 6, {len(species)} elements" if len(species) > 1 else "SOAP, n_max 8, l_max 6"
    result, atoms = Comparison(name, n_atoms), models.crystal(n_atoms, species)
    descriptor = jp.tabulate(models.soap(species), accuracy=models.TABLE)
    potential = models.for_dynamics(models.linear(models.soap(species)))
    contenders: dict[str, Callable[[], float]] = {}
    featomic, dscribe = result.try_to(peers.Featomic), result.try_to(lambda: peers.DScribe(species))
    if featomic:
        for what, run in (("values", featomic.values), ("gradients", featomic.gradients)):
            contenders[f"featomic, {what}"] = timing.Timed(lambda run=run: run(atoms))
    if featomic and len(species) == 1:
        few = models.crystal(64)
        found = np.asarray(jax.jit(lambda d, g: d(g))(descriptor, jp.from_atoms(few, models.CUTOFF))).reshape(64, 36, 7)
        expected = peers.Featomic(spline_accuracy=1e-12).features(few)
        worst = max(models.deviation(found[..., l], expected[..., l]) for l in range(7))
        result.check("features against featomic's, relative to the largest of each degree", worst, 1e-6)
    if dscribe:
        contenders["DScribe, values"] = timing.Timed(lambda: dscribe.values(atoms))
    quippy = result.try_to(peers.QuippySOAP) if len(species) == 1 else None
    if quippy:
        contenders["quippy, gradients"] = timing.Timed(lambda: quippy.gradients(atoms))
    for form, run in here(lambda d, g: d(g), descriptor, atoms, models.CUTOFF).items():
        contenders[f"values, {form}"] = run
    for dtype in ("float64", "float32"):
        for form, run in here(models.energy_and_forces, potential, atoms, models.CUTOFF, dtype).items():
            contenders[f"energy and forces, {dtype}, {form}"] = run
    contenders["energy and forces, float64, calculator"] = calculator(potential, atoms)
    result.times = times = timing.interleaved(contenders, runs)
    if len(species) > 1:
        return result
    for form in ("list at hand", "list searched"):
        result.faster("SOAP values against featomic", "featomic, values", f"values, {form}", 3)
        result.faster("SOAP values against DScribe", "DScribe, values", f"values, {form}", 3)
    for form in ("list at hand", "calculator", "list searched"):
        result.faster("linear potential on SOAP against featomic's gradients", "featomic, gradients", f"energy and forces, float64, {form}", 50)
        result.faster("linear potential on SOAP against quippy's gradients", "quippy, gradients", f"energy and forces, float64, {form}", 100)
    for form in ("list at hand", "list searched") if featomic else ():
        share = times[f"energy and forces, float32, {form}"].median / times["featomic, values"].median
        result.claims.append(Claim(f"energy and forces in float32, {form}, of featomic's time for values", share, 0.25, at_least=False))
    return result


def gap(n_atoms: int, runs: int, cache: Path, every: int) -> Comparison:
    """Energy and forces of one SOAP-GAP, fitted by gap_fit, in quippy and here."""
    result, atoms = Comparison(f"SOAP-GAP, {models.SPARSE_POINTS} sparse points", n_atoms), models.crystal(n_atoms)
    path = result.try_to(lambda: peers.gap_of_silicon(cache, every, models.SPARSE_POINTS))
    quippy = path and result.try_to(lambda: peers.QuippyGAP(path, atoms))
    if not quippy:
        return result
    read = read_gap(path)
    fast = models.for_dynamics(read)
    energy, forces = quippy()
    for name, model, allowed in (("as read", read, 1e-8), ("tabulated", fast, 1e-4)):
        found = jax.jit(jp.evaluate)(model, jp.from_atoms(atoms, models.CUTOFF))
        result.check(f"{name}: energy, eV per atom", abs(float(found.energy) - energy) / n_atoms, allowed)
        result.check(f"{name}: forces, eV/Å", float(np.max(np.abs(np.asarray(found.forces) - forces))), 10 * allowed)
    contenders = {"quippy": timing.Timed(quippy)}
    contenders |= {f"as read, {name}": run for name, run in here(models.energy_and_forces, read, atoms, models.CUTOFF).items()}
    contenders |= {f"tabulated, {name}": run for name, run in here(models.energy_and_forces, fast, atoms, models.CUTOFF).items()}
    contenders["tabulated, calculator"] = calculator(fast, atoms)
    result.times = timing.interleaved(contenders, runs)
    for form in list(contenders)[1:]:
        result.faster("SOAP-GAP against quippy", "quippy", form, 40)
    return result


def snap(n_atoms: int, runs: int, n_species: int, *, processes: int, program: str | None) -> Comparison:
    """Energy and forces of one SNAP with 2J = 8 in LAMMPS and here: the published one of silicon, or one of several elements, written here."""
    species = models.elements(n_species)
    result = Comparison(f"SNAP, 2J = 8, {'published, Si' if n_species == 1 else f'{n_species} elements'}", n_atoms)
    atoms = models.crystal(n_atoms, species)
    with tempfile.TemporaryDirectory() as folder:
        files = tuple(Path(folder) / f"made.{suffix}" for suffix in ("snapcoeff", "snapparam"))
        if n_species > 1:
            made = jp.descriptors.Bispectrum(species, models.CUTOFF, 8, weights=tuple(np.linspace(0.7, 1.0, n_species)))
            order = tuple(dict.fromkeys(atoms.get_chemical_symbols()))
            write_snap(*files, models.linear(made) + jp.IsolatedAtoms(dict.fromkeys(order, 0.0)))
        elif os.environ.get("JAXPOT_DATA"):
            stem = Path(os.environ["JAXPOT_DATA"]) / "potentials/lammps_snap/Si_Zuo_JPCA2020"
            files = tuple(stem.with_name(f"{stem.name}.{suffix}").resolve() for suffix in ("snapcoeff", "snapparam"))
        else:
            result.missing.append("the published SNAP is found through JAXPOT_DATA, which is not set")
            return result
        lammps = result.try_to(lambda: peers.LammpsSNAP(*files, atoms, processes, program))
        read = read_snap(*files)
        return _snap(result, read, lammps, atoms, runs, f"LAMMPS, {processes} processes") if lammps else result


def _snap(result: Comparison, read: jp.Potential, lammps: peers.LammpsSNAP, atoms: Atoms, runs: int, name: str) -> Comparison:
    cutoff = float(read.reach)
    found = jax.jit(jp.evaluate)(read, jp.from_atoms(atoms, cutoff))
    scale = float(np.max(np.abs(lammps.forces)))
    result.check("energy, eV per atom", abs(float(found.energy) - lammps.energy) / len(atoms), 1e-8 * max(1.0, scale))
    result.check("forces, relative to the largest", models.deviation(found.forces, lammps.forces), 1e-8)
    forms = here(models.energy_and_forces, models.for_dynamics(read), atoms, cutoff)
    result.times = timing.interleaved({name: lammps, **forms}, runs)
    for form in forms:
        result.faster("SNAP against LAMMPS", name, form, 1.5)
    return result


def ace(n_atoms: int, runs: int, family: str) -> Comparison:
    """Energy, forces and stress of a linear ACE of order three in ace-jax and here."""
    degree, atoms = models.ACE_DEGREES[family], models.crystal(n_atoms)
    result = Comparison(f"linear ACE, order 3, degree {degree}", n_atoms)
    contenders: dict[str, Callable[[], float]] = {}
    for name, table in (("ace-jax", False), ("ace-jax, radial table", True)):
        peer = result.try_to(lambda table=table: peers.AceJax(degree, atoms, radial_table=table))
        if peer:
            contenders[name], n_theirs = timing.Timed(peer), peer.n_functions
    model = models.FAMILIES[family](("Si",))
    if contenders:
        result.checks |= {"functions": model.n_coefficients, "functions of ace-jax": n_theirs}
    for kind, one in (("exact", jax.jit(lambda m: jp.prepare(m))(model)), ("tabulated", models.for_dynamics(model))):
        contenders |= {f"{kind}, {name}": run for name, run in here(jp.evaluate, one, atoms, models.CUTOFF).items()}
    contenders["tabulated, calculator"] = calculator(models.for_dynamics(model), atoms)
    result.times = timing.interleaved(contenders, runs)
    if "ace-jax" in contenders:
        best = min(("ace-jax", "ace-jax, radial table"), key=lambda name: result.times[name].median)
        for form in ("exact, list at hand", "tabulated, list at hand", "tabulated, calculator"):
            result.faster(f"ACE of {model.n_coefficients} functions against {best}", best, form, 1.5)
    return result


def ace_fit(degree: int) -> dict:
    """mlearn's silicon fitted by ace-jax and here, each twice in a process of its own, the second time without compilation."""
    peers.needed("ace_jax")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "test"):
            peers.write_frames(folder / f"{part}.xyz", load(f"mlearn/Si_{part}"))
        files = {part: str(folder / f"{part}.xyz") for part in ("train", "test")}
        theirs = ask("ace_jax_fit", **files, degree=degree, output=str(folder / "fit"))
        return {"degree": degree, "ace-jax": theirs, "jaxpot": ask("ace_fit", **files, degree=degree)}


def sgdml(runs: int, n_geometries: int = 1024) -> Comparison:
    """A published sGDML model of water: energies and forces of many geometries at once."""
    result = Comparison("sGDML, water, 1000 training points", 3 * n_geometries)
    path = Path(os.environ.get("JAXPOT_DATA", "")) / "data/water_sgdml/model_h2o_1body_train1000.npz"
    if not path.exists():
        result.missing.append("the published model is found through JAXPOT_DATA, which is not set")
        return result
    found = result.try_to(lambda: (peers.installed("sgdml"), ask("sgdml", path=str(path), n_geometries=n_geometries, runs=runs))[1])
    if found:
        for what, deviation in found["checks"].items():
            result.check(what, deviation, 1e-5)
        result.times = {name: timing.Times(tuple(seconds)) for name, seconds in found["seconds"].items()}
    return result
