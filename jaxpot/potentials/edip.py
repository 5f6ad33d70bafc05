"""EDIP, the environment-dependent interatomic potential: bonds and angles that depend on the coordination of an atom."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.linalg import einsum
from jaxpot.potentials.angles import AngularPotential, distances_and_units, ending, of_angles, over_angles
from jaxpot.potentials.base import Chunked
from jaxpot.trees import leaf, pytree, static

Array = jax.Array


@pytree
class EDIP(AngularPotential, Chunked):
    r"""EDIP with tables of the elements, as LAMMPS's `edip/multi`.

    .. math:: \epsilon_i &= \sum_j A \left[(B/r_{ij})^\rho - e^{-\beta Z_i^2}\right] h_{ij}(\sigma) + \sum_{j<k} h_{ij}(\gamma) h_{ik}(\gamma)
       \lambda \left[1 - e^{-x} + \eta x\right], \qquad h_{ij}(w) = \exp\frac{w}{r_{ij} - a} \quad (r_{ij} < a) \\
       x &= Q_0 e^{-\mu Z_i} \left(\cos\theta_{jik} + u_1 + u_2 (u_3 e^{-u_4 Z_i} - e^{-2 u_4 Z_i})\right)^2 \\
       Z_i &= \sum_j f(r_{ij}), \qquad f(r) = \exp\frac{\alpha}{1 - y^{-3}}, \quad y = \frac{r - c}{a - c} \quad (c < r < a), \text{ 1 before, 0 behind}

    An angle belongs to the atom at its apex, and has the mean of the entries [i, j, k] and [i, k, j].

    Args:
      species: chemical symbols, S of them.
      A: shape [] or [S, S], the atom first, in eV; B, a, c, sigma and gamma likewise, in Å; alpha, beta and rho likewise.
      lam: λ, shape [] or [S, S, S], the apex first, in eV; eta, mu, Q0, u1, u2, u3 and u4 likewise.
      chunk: atoms per checkpointed block, which bounds memory; None goes by the number of neighbours.

    Raises:
      ValueError: for tables of other shapes or not finite, or lengths other than 0 ≤ c < a, or negative ones.

    Example:
      >>> silicon = EDIP(("Si",), A=7.982173, B=1.5075463, a=3.121382, c=2.5609104, alpha=3.1083847, beta=0.0070975, eta=0.2523244, gamma=1.1247945,
      ...                lam=1.4533108, mu=0.6966326, rho=1.2085196, sigma=0.5774108, Q0=312.1341346, u1=-0.165799, u2=32.557, u3=0.286198, u4=0.66)
      >>> float(silicon.reach)
      3.121382

    References:
      Justo, Bazant, Kaxiras, Bulatov, Yip, "Interatomic potential for silicon defects and disordered phases", Phys. Rev. B 58, 2539 (1998);
      Lucas, Bertolus, Pizzagalli, "An environment-dependent interatomic potential for silicon carbide", J. Phys.: Condens. Matter 22, 035802 (2010).
    """

    species: tuple[str, ...] = static()
    A: Leaf = leaf(shape="[] or [S, S]")
    B: Leaf = leaf(shape="[] or [S, S]")
    a: Leaf = leaf(shape="[] or [S, S]")
    c: Leaf = leaf(shape="[] or [S, S]")
    alpha: Leaf = leaf(shape="[] or [S, S]")
    beta: Leaf = leaf(shape="[] or [S, S]")
    eta: Leaf = leaf(shape="[] or [S, S, S]")
    gamma: Leaf = leaf(shape="[] or [S, S]")
    lam: Leaf = leaf(shape="[] or [S, S, S]")
    mu: Leaf = leaf(shape="[] or [S, S, S]")
    rho: Leaf = leaf(shape="[] or [S, S]")
    sigma: Leaf = leaf(shape="[] or [S, S]")
    Q0: Leaf = leaf(shape="[] or [S, S, S]")
    u1: Leaf = leaf(shape="[] or [S, S, S]")
    u2: Leaf = leaf(shape="[] or [S, S, S]")
    u3: Leaf = leaf(shape="[] or [S, S, S]")
    u4: Leaf = leaf(shape="[] or [S, S, S]")
    chunk: int | None = static(default=None)

    pair_tables = ("A", "B", "a", "c", "alpha", "beta", "gamma", "rho", "sigma")
    triplet_tables = ("eta", "lam", "mu", "Q0", "u1", "u2", "u3", "u4")

    def __post_init__(self):
        species_tuple(self.species, "EDIP")
        for name in ("B", "c", "alpha", "gamma", "sigma"):
            value = getattr(self, name)
            if is_concrete(value) and np.any(np.asarray(value) < 0):
                raise ValueError(f"EDIP: {name} must not be negative, got {np.asarray(value)}")
        if is_concrete(self.a) and is_concrete(self.c) and not np.all(np.asarray(self.c) < np.asarray(self.a)):
            raise ValueError(f"EDIP: c must be less than a, got {np.asarray(self.c)} and {np.asarray(self.a)}")
        self._check_chunk()

    @property
    def reach(self) -> Array:
        return jnp.max(jnp.asarray(self.a))

    def atom(self, table: dict[str, Array], env: Environment) -> Array:
        i, j = env.center, env.species
        of = {name: table[name][i][j] for name in self.pair_tables}
        triplet = {name: of_angles(table[name], env) for name in self.triplet_tables}
        r, unit = distances_and_units(env)
        depth = of["a"] - r
        cube = jnp.clip((r - of["c"]) / (of["a"] - of["c"]), 0, 1) ** 3
        z = jnp.sum(ending(of["alpha"] * cube, 1 - cube))
        near = jnp.where(depth <= 0, of["a"], r)
        pair = of["A"] * ((of["B"] / near) ** of["rho"] - jnp.exp(-of["beta"] * z**2)) * ending(of["sigma"], depth)
        shift = triplet["u1"] + triplet["u2"] * (triplet["u3"] * jnp.exp(-triplet["u4"] * z) - jnp.exp(-2 * triplet["u4"] * z))
        x = triplet["Q0"] * jnp.exp(-triplet["mu"] * z) * (einsum("jx,kx->jk", unit, unit) + shift) ** 2
        angles = over_angles(ending(of["gamma"], depth), triplet["lam"] * (1 - jnp.exp(-x) + triplet["eta"] * x))
        return jnp.sum(pair) + angles
