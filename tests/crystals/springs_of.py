"""A crystal whose every property has a closed form: fcc, in which nearest neighbours alone are bound, by a Morse potential."""

import numpy as np
from ase.build import bulk

from jaxpot.cutoffs import Step
from jaxpot.empirical import Morse

DEPTH, ALPHA, R0 = 0.3, 1.5, 2.5
A0 = R0 * np.sqrt(2)
MORSE = Morse(("Cu",), depth=DEPTH, alpha=ALPHA, minimum=R0, cutoff=Step(3.0))  # the second neighbours are 3.5 Å away
STIFFNESS = 2 * DEPTH * ALPHA**2  # eV/Å²
PRIMITIVE, CUBIC = bulk("Cu", "fcc", a=A0), bulk("Cu", "fcc", a=A0, cubic=True)
