"""Permutation-invariant polynomials of the distances within clusters of atoms: atomic body orders."""

from jaxpot.descriptors.cluster_polynomials import ClusterPolynomials, Kinds
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.polynomials import exchanges, pairs
from jaxpot.math.transforms import DistanceTransform
from jaxpot.trees import pytree, static


@pytree
class ClusterPIP(ClusterPolynomials):
    r"""Atomic permutation-invariant polynomials (aPIP): a function of N atoms for every N atoms that are all within the cutoff of each other.

    .. math:: V_N = \sum_{i_1 < \dots < i_N} \sum_f w_f\, P_f(x_{i_1 i_2}, x_{i_1 i_3}, \dots) \prod_{a<b} f_c(r_{i_a i_b}), \qquad x = x(r)

    P_f are all polynomials of the N (N − 1) / 2 variables up to a total degree that do not change when atoms of one element are exchanged.
    Each kind of cluster (AAA, AAB, …) has its own. A cluster is counted once; it is seen from its atoms of the rarest element, to
    which its energy belongs in equal parts. A model is a sum over orders, fitted together:
    `IsolatedAtoms(...) + AtomicPotential(ClusterPIP(..., order=2, ...), SharedLinear()) + ...` up to order 4 (5 is costly).

    Args:
      species: chemical symbols.
      cutoff: cutoff function of all distances; `TwoSided` has an inner one.
      transform: the variables, functions of the distances.
      order: N, the number of atoms.
      degree: highest total degree of the polynomials.
      kinds: elements of the clusters, in any order; None takes all.

    Raises:
      TypeError: for what is no cutoff or transform.
      ValueError: for another order, a degree that is not an integer ≥ 0, kinds of other elements, or one kind twice.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.radial import MorseTransform
      >>> pip = ClusterPIP(("H", "O"), CosineCutoff(4.0, width=1.0), MorseTransform(1.0, decay=2.0), order=3, degree=4, kinds=(("H", "O", "H"),))
      >>> pip.kinds, pip.n_features, pip.labels()[-1]
      ((('O', 'H', 'H'),), 22, (('O', 'H', 'H'), (0, 0, 4)))

    References:
      van der Oord, Dusson, Csányi, Ortner, "Regularised atomic body-ordered permutation-invariant polynomials for the construction of
      interatomic potentials", Mach. Learn.: Sci. Technol. 1, 015004 (2020).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    transform: DistanceTransform
    order: int = static(most=10)
    degree: int = static(most=50)
    kinds: Kinds | None = static(default=None)

    def __post_init__(self):
        self.check(least=2)

    @staticmethod
    def name(kind):
        return tuple(sorted(kind, key=lambda s: (kind.count(s), s)))

    @staticmethod
    def symmetry(kind):
        return exchanges(kind)

    @staticmethod
    def share(kind):
        return 1 / kind.count(kind[0])

    @property
    def n_cut(self):
        return len(pairs(self.order))


@pytree
class StarPIP(ClusterPolynomials):
    r"""Permutation-invariant polynomials of the distances among a centre and its neighbours, cut at the distances from the centre.

    .. math:: \epsilon_i = \sum_{j_1 < \dots < j_{N-1}} \sum_f w_f\, P_f(x_{i j_1}, \dots, x_{j_1 j_2}, \dots) \prod_a f_c(r_{i j_a})

    P_f do not change when neighbours of one element are exchanged; the centre is not. So there are more of them than of `ClusterPIP`, and
    they reach twice as far with the same neighbours: angles at an atom, for instance.

    Args:
      species: chemical symbols.
      cutoff: cutoff function of the distances from the centre.
      transform: the variables, functions of all distances.
      order: N, the number of atoms, 3 to 5. For pairs there is `ClusterPIP`.
      degree: highest total degree of the polynomials.
      kinds: elements of the clusters, the centre first; None takes all.

    Raises:
      TypeError: for what is no cutoff or transform.
      ValueError: for another order, a degree that is not an integer ≥ 0, kinds of other elements, or one kind twice.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.radial import MorseTransform
      >>> StarPIP(("Si",), CosineCutoff(4.0, width=1.0), MorseTransform(2.35, decay=1.5), order=3, degree=4).n_features
      22
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    transform: DistanceTransform
    order: int = static(most=10)
    degree: int = static(most=50)
    kinds: Kinds | None = static(default=None)

    def __post_init__(self):
        self.check(least=3)

    @staticmethod
    def name(kind):
        return (kind[0], *sorted(kind[1:], key=lambda s: (kind[1:].count(s), s)))

    @staticmethod
    def symmetry(kind):
        return exchanges(("", *kind[1:]))

    @staticmethod
    def share(kind):
        return 1.0

    @property
    def n_cut(self):
        return self.order - 1
