"""Point defects, surfaces, faults and barriers of the crystal of nearest-neighbour bonds: counts of broken bonds."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from springs_of import A0, ALPHA, CUBIC, DEPTH, MORSE, R0

from jaxpot.cutoffs import PolynomialCutoff, Step
from jaxpot.empirical import LennardJones, StillingerWeber
from jaxpot.observables import (
    grain_boundary_energy,
    interface_energy,
    interstitial_energy,
    migration_path,
    stacking_fault_energy,
    surface_energy,
    vacancy_energy,
)


def bond(r):
    """The energy of one."""
    return DEPTH * (np.exp(-2 * ALPHA * (r - R0)) - 2 * np.exp(-ALPHA * (r - R0)))


def test_vacancy():
    """Twelve bonds are broken and six of the crystal gained; nothing relaxes, since neighbours are at their own minimum."""
    crystal = CUBIC * 2
    ideal, relaxed = (vacancy_energy(MORSE, crystal, relaxed=relaxed) for relaxed in (False, True))
    assert abs(ideal.energy - 6 * DEPTH) < 1e-9 and len(ideal.atoms) == len(crystal) - 1
    assert abs(relaxed.energy - ideal.energy) < 1e-5 and relaxed.energy != ideal.energy
    assert abs(vacancy_energy(MORSE, crystal, relaxed=False, reservoir=0.0).energy - 12 * DEPTH) < 1e-9


def test_interstitial():
    crystal = CUBIC * 2
    found = interstitial_energy(MORSE, crystal, [A0 / 2, 0, 0], relaxed=False)
    assert abs(found.energy - 6 * (bond(A0 / 2) + DEPTH)) < 1e-9
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    with pytest.raises(ValueError, match='write symbol="Na"'):
        interstitial_energy(MORSE, salt, [0, 0, 1.4])


def test_surfaces():
    """An atom at (100) lacks four bonds, at (111) three."""
    for miller, bonds, area in (((1, 0, 0), 4, A0**2 / 2), ((1, 1, 1), 3, A0**2 * np.sqrt(3) / 4)):
        found = surface_energy(MORSE, CUBIC, miller, layers=4)
        assert abs(found.energy - bonds * DEPTH / 2 / area) < 1e-9, miller
        assert abs(found.joules - found.energy * 16.021766208) < 1e-12
    with pytest.raises(ValueError, match="not of the composition"):
        interface_energy(MORSE, CUBIC, bulk("NaCl", "rocksalt", a=5.6))


def test_stacking_fault():
    """Nearest neighbours alone do not see it; shifted the other way, an atom has one near neighbour across instead of three."""
    crystal = fcc111("Cu", (1, 1, 6), a=A0, periodic=True)
    crystal.cell[2] = [0, 0, 6 * A0 / np.sqrt(3)]
    crystal.wrap()
    shift = (crystal.cell[0] + crystal.cell[1]) / 3
    assert abs(stacking_fault_energy(MORSE, crystal, shift).energy) < 1e-9
    assert abs(stacking_fault_energy(MORSE, crystal, crystal.cell[0]).energy) < 1e-9
    near = A0 / np.sqrt(3)
    assert abs(stacking_fault_energy(MORSE, crystal, -shift).energy - (3 * DEPTH + bond(near)) / (A0**2 * np.sqrt(3) / 4)) < 1e-9
    with pytest.raises(ValueError, match="leaves the plane"):
        stacking_fault_energy(MORSE, crystal, [0, 0, 0.1])


def test_twins():
    """Of cubic close packing: two planes on, atoms are on top of each other once in a twin and twice in a stacking fault. Of diamond, nearest
    neighbours and their angles do not see it."""
    argon, a = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=PolynomialCutoff(7.0, width=2.0)), 5.3
    crystal = fcc111("Ar", (1, 1, 6), a=a, periodic=True)
    crystal.cell[2] = [0, 0, 6 * a / np.sqrt(3)]
    fault = stacking_fault_energy(argon, crystal, (crystal.cell[0] + crystal.cell[1]) / 3).energy
    twin = grain_boundary_energy(argon, bulk("Ar", a=a, cubic=True), (1, 1, 1), layers=5)
    assert abs(fault) > 1e-6 and abs(twin.energy - fault / 2) < 1e-9 * 0.0104
    silicon = StillingerWeber(("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0)
    diamond = bulk("Si", a=5.431, cubic=True)
    diamond.translate(-0.5)  # cut through single bonds
    diamond.wrap()
    assert abs(grain_boundary_energy(silicon, diamond, (1, 1, 1), layers=3, gap=5.431 * 3**0.5 / 4).energy) < 1e-9
    open_ = grain_boundary_energy(silicon, diamond, (1, 1, 1), layers=3, gap=20.0).energy
    assert abs(open_ - 2 * surface_energy(silicon, diamond, (1, 1, 1), layers=3).energy) < 1e-9
    with pytest.raises(ValueError, match="gap must be 0 or a positive number"):
        grain_boundary_energy(argon, bulk("Ar", a=a, cubic=True), (1, 1, 1), gap=-1.0)
    with pytest.raises(ValueError, match="is a single plane; write more layers"):
        grain_boundary_energy(argon, bulk("Ar", a=a), (1, 0, 0), layers=1)


def test_migration():
    """An atom passes between two others; at the saddle all lie on a line, with an energy in closed form."""
    argon, r = LennardJones(("Ar",), epsilon=0.0104, sigma=3.405, cutoff=Step(9.0)), 2 ** (1 / 6) * 3.405
    start, end = (Atoms("Ar3", positions=[[0, h, 0], [-r / 2, 0, 0], [r / 2, 0, 0]]) for h in (0.75**0.5 * r, -(0.75**0.5) * r))
    path = migration_path(argon, start, end, images=3, tolerance=1e-4)
    saddle = -((2 + 2.0**-6) ** 2) / (2 + 2.0**-12)
    assert abs(path.barrier / 0.0104 - (saddle + 3)) < 1e-4 and np.argmax(path.energies) == 2 and abs(path.energies[-1]) < 1e-9
    assert path.plot().get_ylabel() == "energy (eV)"
    with pytest.raises(RuntimeError, match="has not come to rest after 1 steps"):
        migration_path(argon, start, end, images=1, tolerance=1e-4, most=1)
    start.rattle(0.1, seed=0)
    with pytest.raises(ValueError, match="the largest force of the start"):
        migration_path(argon, start, end, tolerance=1e-4)
