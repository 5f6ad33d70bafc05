"""A hundred steps of i-PI and of OpenMM end where ASE's do; both need their packages, `pip install 'jaxpot[drivers]'`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import ase.units
import numpy as np
import pytest
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

import jaxpot
from jaxpot.cutoffs import PolynomialCutoff
from jaxpot.empirical import LennardJones

ARGON = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(6.0, width=2.0))
STEPS, STEP = 100, 2.0  # fs


def crystal():
    """With velocities."""
    atoms = bulk("Ar", a=5.3, cubic=True).repeat((2, 2, 3))
    atoms.rattle(0.05, seed=0)
    momenta = np.sqrt(atoms.get_masses()[:, None] * 40 * ase.units.kB) * np.random.default_rng(0).normal(size=(len(atoms), 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    return atoms


def by_ase(atoms):
    atoms = atoms.copy()
    atoms.calc = jaxpot.Calculator(ARGON)
    VelocityVerlet(atoms, STEP * ase.units.fs).run(STEPS)
    return atoms


@pytest.mark.parametrize("periodic", [True, False])
def test_openmm(periodic):
    openmm = pytest.importorskip("openmm")
    from openmm import unit

    from jaxpot.openmm_force import openmm_force

    atoms = crystal()
    atoms.pbc = periodic
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    if periodic:
        system.setDefaultPeriodicBoxVectors(*(0.1 * row * unit.nanometer for row in atoms.cell.array))
    system.addForce(openmm_force(ARGON, atoms))
    context = openmm.Context(system, openmm.VerletIntegrator(1e-3 * STEP), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(0.1 * atoms.positions)
    state = context.getState(energy=True, forces=True)
    atoms.calc = jaxpot.Calculator(ARGON)
    assert abs(state.getPotentialEnergy()._value * jaxpot.units.KJ_PER_MOL - atoms.get_potential_energy()) < 1e-8
    np.testing.assert_allclose(np.asarray(state.getForces(asNumpy=True)._value) * jaxpot.units.KJ_PER_MOL / 10, atoms.get_forces(), rtol=0, atol=1e-8)
    # OpenMM's leapfrog has velocities half a step behind, which velocity Verlet has had half a kick before
    velocities = atoms.get_velocities() - 0.5 * STEP * ase.units.fs * atoms.get_forces() / atoms.get_masses()[:, None]
    context.setVelocities(0.1 * velocities * 1000 * ase.units.fs)
    context.getIntegrator().step(STEPS)
    found = 10 * np.asarray(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_allclose(found, by_ase(atoms).positions, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="periodic in all directions or in none"):
        atoms.pbc = (True, False, True)
        openmm_force(ARGON, atoms)


@pytest.mark.parametrize("way", ["ffdirect", "ffsocket"])
def test_ipi(tmp_path, way):
    """In i-PI's own process, and through a unix socket from a process of the driver."""
    pytest.importorskip("ipi")
    from jaxpot import ipi_driver

    atoms = crystal()
    ase.io.write(tmp_path / "start.xyz", atoms, format="extxyz")
    jaxpot.save(tmp_path / "argon.npz", ARGON)
    driver = ipi_driver.Driver(str(tmp_path / "start.xyz"), str(tmp_path / "argon.npz"))
    from ipi.utils.units import unit_to_internal

    pos, cell = (unit_to_internal("length", "angstrom", x) for x in (atoms.positions, atoms.cell.array.T))
    energy, forces, virial, _ = driver.compute_structure(cell, pos)
    atoms.calc = jaxpot.Calculator(ARGON)
    for found, expected, unit in (
        (energy, atoms.get_potential_energy(), ("energy", "electronvolt")), (forces, atoms.get_forces(), ("force", "ev/ang")),
        (virial, -atoms.get_volume() * atoms.get_stress(voigt=False), ("energy", "electronvolt")),
    ):  # fmt: skip
        np.testing.assert_allclose(found, unit_to_internal(*unit, expected), rtol=1e-12, atol=1e-12)
    bohr, proton = unit_to_internal("length", "angstrom", 1.0), unit_to_internal("mass", "dalton", 1.0)
    momenta = atoms.get_velocities() / (ase.units.Ang / ase.units.fs) * bohr / unit_to_internal("time", "femtosecond", 1.0)
    momenta = momenta * (proton * atoms.get_masses())[:, None]
    write_start(tmp_path / "init.xyz", atoms)
    address = f"jaxpot-{os.getpid()}"  # of a file in /tmp, where paths are short enough for sockets
    field = FIELDS[way].format(path=ipi_driver.__file__, address=address)
    text = INPUT.format(field=field, steps=STEPS, step=STEP, momenta="[" + ", ".join(map(repr, momenta.ravel().tolist())) + "]")
    (tmp_path / "input.xml").write_text(text)
    commands = Path(sys.executable).parent
    log = (tmp_path / "log").open("w+")
    server = subprocess.Popen([commands / "i-pi", "input.xml"], cwd=tmp_path, stdout=log, stderr=log)
    try:
        if way == "ffsocket":
            wait_for(Path(f"/tmp/ipi_{address}"), server)
            options = ["-u", "-a", address, "-m", "custom", "-P", ipi_driver.__file__, "-o", "template=start.xyz,model=argon.npz"]
            subprocess.run([commands / "i-pi-py_driver", *options], cwd=tmp_path, stdout=log, stderr=log, timeout=120, check=False)
        server.wait(timeout=120)
    finally:
        server.kill()
        log.seek(0)
        print(log.read()[-4000:])
    assert server.returncode == 0
    last = ase.io.read(next(tmp_path.glob("simulation.pos*")), -1)
    off = np.abs(last.positions - by_ase(atoms).positions).max()
    print(f"{off:.1e} Å")
    assert off < 1e-6


def wait_for(path, process, seconds=120):
    """Until a process has made a file."""
    end = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)


def write_start(path, atoms):
    lengths = " ".join(f"{x:.12f}" for x in atoms.cell.lengths())
    lines = [str(len(atoms)), f"# CELL(abcABC): {lengths} 90.0 90.0 90.0 positions{{angstrom}} cell{{angstrom}}"]
    lines += [f"{symbol} {x:.15f} {y:.15f} {z:.15f}" for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)]
    path.write_text("\n".join(lines) + "\n")


INPUT = """<simulation verbosity='low'>
  <output prefix='simulation'>
    <trajectory filename='pos' stride='{steps}' format='ase'> positions </trajectory>
  </output>
  <total_steps> {steps} </total_steps>
  <prng><seed> 1 </seed></prng>
  {field}
  <system>
    <initialize nbeads='1'>
      <file mode='xyz'> init.xyz </file>
      <momenta mode='manual'> {momenta} </momenta>
    </initialize>
    <forces> <force forcefield='jaxpot'/> </forces>
    <motion mode='dynamics'>
      <fixcom> False </fixcom>
      <dynamics mode='nve'> <timestep units='femtosecond'> {step} </timestep> </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 40 </temperature> </ensemble>
  </system>
</simulation>
"""

FIELDS = {
    "ffdirect": """<ffdirect name='jaxpot'>
    <pes> custom </pes>
    <pes_path> {path} </pes_path>
    <parameters> {{ template: start.xyz, model: argon.npz }} </parameters>
  </ffdirect>""",
    "ffsocket": "<ffsocket name='jaxpot' mode='unix'> <address> {address} </address> <latency> 1e-3 </latency> </ffsocket>",
}
