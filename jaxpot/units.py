"""Units: eV, Å, e, amu, and ASE's time Å√(amu/eV). Constants for readers; CODATA 2014, as in ASE."""

import numpy as np

SYMBOLS: tuple[str, ...] = (
    "X",
    *"H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru".split(),
    *"Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po".split(),
    *"At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og".split(),
)
ATOMIC_NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}

HARTREE = 27.211386024367243  # eV
BOHR = 0.5291772105638411  # Å
RYDBERG = HARTREE / 2  # eV
KCAL_PER_MOL = 0.04336410390059322  # eV
KJ_PER_MOL = 0.010364269574711572  # eV
GPA = 0.006241509125883258  # eV/Å³
KBAR = 0.1 * GPA  # eV/Å³
COULOMB = 14.399645  # e²/(4πε₀), eV Å
BOLTZMANN = 8.617330337217213e-05  # eV/K
FEMTOSECOND = 0.09822694788464063  # Å√(amu/eV)
PLANCK = 0.004135667662340164  # eV/THz
TERAHERTZ = 1000 * FEMTOSECOND / (2 * np.pi)  # of a frequency, of one radian per Å√(amu/eV)
DEBYE = 0.20819433442462576  # e Å


def species_table(species: tuple[str, ...]) -> np.ndarray:
    """The lookup from atomic number to index in `species`, shape [119]; -1 for elements that are not in it."""
    table = np.full(len(SYMBOLS), -1, dtype=np.int32)
    for index, symbol in enumerate(species):
        table[ATOMIC_NUMBERS[symbol]] = index
    return table
