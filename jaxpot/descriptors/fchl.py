"""FCHL19: distances and angles of one atom on radial grids, scaled by powers of the distances."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import species_tuple
from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.triangles import triples
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.math.cutoffs import Cutoff
from jaxpot.math.linalg import einsum, safe_norm
from jaxpot.trees import positive, pytree, static

Array = jax.Array


@pytree
class FCHL19(LocalDescriptor):
    r"""FCHL19 of one atom.

    .. math:: G_2(R) = \sum_j r_{ij}^{-N_2} f_c(r_{ij}) \frac{1}{R s \sqrt{2\pi}} \exp\left(-\frac{(\ln R - \mu)^2}{2 s^2}\right), \qquad
       s^2 = \ln(1 + \eta_2/r_{ij}^2), \quad \mu = \ln\left(r_{ij}/\sqrt{1 + \eta_2/r_{ij}^2}\right)

    .. math:: G_3(R, o) = w_3 \sqrt{\eta_3/\pi} \sum_{j<k} \frac{1 + 3 \cos\theta_i \cos\theta_j \cos\theta_k}{(r_{ij} r_{ik} r_{jk})^{N_3}}\,
       e^{-\eta_3 (\frac12 (r_{ij} + r_{ik}) - R)^2} f_c(r_{ij}) f_c(r_{ik})\; 2 e^{-(\zeta o)^2/2} \{\cos o\theta_i, \sin o\theta_i\}

    for every element of the neighbour and unordered pair of elements of two, on grids of R from cutoff/n to the cutoff, o = 1, 3, …. Kernels
    compare centres of one element. The sine has a kink where three atoms lie on a line; its derivative there is 0.

    Args:
      species: chemical symbols.
      cutoff: of distances; CosineCutoff(8.0) is the published one.
      angle_cutoff: of the distances of an angle from its apex, likewise.
      eta2: η₂, in Å².
      eta3: η₃, in 1/Å².
      zeta: ζ, in rad.
      power2: N₂.
      power3: N₃.
      weight3: w₃.
      n_r2: points of the radial grid of G₂.
      n_r3: points of the radial grid of G₃.
      n_fourier: how many o.

    Raises:
      ValueError: for unknown species or empty grids.

    Example:
      >>> from jaxpot import CosineCutoff, from_atoms
      >>> from ase.build import molecule
      >>> fchl = FCHL19(("H", "C", "N", "O", "S"), CosineCutoff(8.0), CosineCutoff(8.0))
      >>> fchl(from_atoms(molecule("H2O"), cutoff=8.0)).shape
      (3, 720)

    References:
      Christensen, Bratholm, Faber, von Lilienfeld, "FCHL revisited: faster and more accurate quantum machine learning",
      J. Chem. Phys. 152, 044107 (2020).
    """

    species: tuple[str, ...] = static()
    cutoff: Cutoff
    angle_cutoff: Cutoff
    eta2: Leaf = positive(default=0.32)
    eta3: Leaf = positive(default=2.7)
    zeta: Leaf = positive(default=np.pi)
    power2: Leaf = positive(default=1.8)
    power3: Leaf = positive(default=0.57)
    weight3: Leaf = positive(default=13.4)
    n_r2: int = static(default=24, most=1000)
    n_r3: int = static(default=20, most=1000)
    n_fourier: int = static(default=1, most=1000)

    def __post_init__(self):
        species_tuple(self.species, "FCHL19")
        for name in ("n_r2", "n_r3", "n_fourier"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"FCHL19: {name} must be a whole number from 1 on, got {getattr(self, name)!r}")

    @property
    def reach(self) -> Array:
        return jnp.maximum(jnp.asarray(self.cutoff.radius), self.angle_cutoff.radius)

    @property
    def n_features(self) -> int:
        s = len(self.species)
        return s * self.n_r2 + s * (s + 1) * self.n_r3 * self.n_fourier

    def labels(self) -> tuple[tuple, ...]:
        """(element, point) or (element, element, point, o, "cos" or "sin") of every feature."""
        pairs = [(self.species[a], self.species[b]) for a, b in zip(*np.triu_indices(len(self.species)), strict=True)]
        two = tuple((s, n) for s in self.species for n in range(self.n_r2))
        return two + tuple((*p, n, 2 * o + 1, f) for p in pairs for n in range(self.n_r3) for o in range(self.n_fourier) for f in ("cos", "sin"))

    def environment(self, env: Environment) -> Array:
        dtype, s = env.vectors.dtype, len(self.species)
        eta2, eta3, zeta, power2, power3, weight3 = (
            jnp.asarray(getattr(self, name), dtype) for name in ("eta2", "eta3", "zeta", "power2", "power3", "weight3")
        )
        grid2, grid3 = (
            jnp.asarray(cutoff.radius, dtype) * jnp.asarray(np.arange(1, n + 1) / n, dtype)
            for cutoff, n in ((self.cutoff, self.n_r2), (self.angle_cutoff, self.n_r3))
        )
        r = safe_norm(env.vectors)
        variance = jnp.log1p(eta2 / r**2)
        mean = jnp.log(r) - 0.5 * variance
        x = (jnp.log(grid2)[None, :] - mean[:, None]) ** 2 / (2 * variance)[:, None]
        lines = jnp.exp(-x) / (grid2[None, :] * jnp.sqrt(2 * np.pi * variance)[:, None])
        weight = jnp.where(env.mask, r**-power2 * self.cutoff(r), 0)
        two = einsum("ks,kn->sn", jax.nn.one_hot(env.species, s, dtype=dtype) * weight[:, None], lines)

        t = triples(env, s)
        strength = weight3 * jnp.sqrt(eta3 / np.pi) * (1 + 3 * jnp.prod(t.cosines, axis=0)) * jnp.prod(t.sides, axis=0) ** -power3
        strength = strength * jnp.prod(self.angle_cutoff(t.sides[:2]), axis=0)
        radial = jnp.exp(-eta3 * (0.5 * (t.sides[0] + t.sides[1])[:, None] - grid3[None, :]) ** 2)
        # cos oθ and sin oθ of odd o as polynomials of cos θ and sin θ, of which the angle itself would have no derivative at 0 and π
        c, sine, waves = t.cosines[0], t.sine, []
        cosine2, sine2 = c * c - sine * sine, 2 * c * sine
        for o in range(1, 2 * self.n_fourier, 2):
            waves += [2 * jnp.exp(-0.5 * (zeta * o) ** 2) * wave for wave in (c, sine)]
            c, sine = c * cosine2 - sine * sine2, sine * cosine2 + c * sine2
        three = einsum("tp,tn,tw->pnw", t.elements * strength[:, None], radial, jnp.stack(waves, axis=1))
        return jnp.concatenate([two.reshape(-1), three.reshape(-1)])
