"""SOAP: smooth overlap of atomic positions, and λ-SOAP, its equivariants of degree λ."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.descriptors.density import power_spectrum
from jaxpot.descriptors.expansion import Expansion, Invariants
from jaxpot.math.coupling import clebsch_gordan
from jaxpot.math.linalg import einsum, unit
from jaxpot.math.spherical import by_degree
from jaxpot.trees import pytree, static

Array = jax.Array


@pytree
class SOAP(Invariants):
    r"""The power spectrum of the neighbour density.

    .. math:: \mathbf p \cdot \mathbf p' = \int dR \left| \int \rho(\mathbf r)\, \rho'(R \mathbf r)\, d\mathbf r \right|^2

    Args:
      expansion: of the neighbour density.
      normalize: divide by |p|, so that p·p = 1. With `center_weight` 0 an atom without neighbours has p = 0, and the normalised
        spectrum then jumps when the last neighbour leaves; give the centre a weight, as all codes do by default.

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, from_atoms
      >>> from ase.build import bulk
      >>> soap = SOAP(Density(("Si",), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5))
      >>> soap(from_atoms(bulk("Si"), cutoff=4.0)).shape
      (2, 40)

    References:
      Bartók, Kondor, Csányi, "On representing chemical environments", Phys. Rev. B 87, 184115 (2013).
    """

    expansion: Expansion
    normalize: bool = static(default=True)

    @property
    def n_features(self) -> int:
        q = self.expansion.n_channels
        return (self.expansion.l_max + 1) * q * (q + 1) // 2

    def labels(self) -> tuple[tuple[int, int, int], ...]:
        """(q, q', l) of every feature, where q = channel · n_max + n."""
        pairs = zip(*np.triu_indices(self.expansion.n_channels), strict=True)
        return tuple((int(a), int(b), l) for a, b in pairs for l in range(self.expansion.l_max + 1))

    def of(self, c: Array) -> Array:
        p = power_spectrum(c, self.expansion.l_max)
        return unit(p) if self.normalize else p


@pytree
class LambdaSOAP(Invariants):
    r"""The λ-SOAP power spectrum: features that turn like spherical harmonics of degree λ.

    .. math:: p^{\lambda\mu}_{(ql)(q'l')} = s\,\sqrt{\frac{8\pi^2}{2\lambda+1}} \sum_{mm'} C^{\lambda\mu}_{lm\,l'm'}\, c_{qlm}\, c_{q'l'm'},
       \qquad \mathbf p^{\lambda\mu} \cdot \mathbf p'^{\lambda\mu'}
       = \int dR\, D^\lambda_{\mu\mu'}(R) \left| \int \rho(\mathbf r)\, \rho'(R^{-1} \mathbf r)\, d\mathbf r \right|^2

    l + l' + λ is even for a true tensor, whose sign under inversion is (−1)^λ, and odd for a pseudotensor, which has the opposite
    sign; the integral holds for both together. Of each pair (ql), (q'l') one order is kept, with √2 where the two differ, so
    dot products are sums over all pairs; columns that vanish by antisymmetry are left out. The sign s = (−1)^((l+l'−λ)/2) of true
    tensors makes C^{λ0}_{l0 l'0} positive, and with it λ = 0 the power spectrum of `SOAP`.

    Args:
      expansion: of the neighbour density.
      lam: the degree λ.
      pseudo: False for true tensors, True for pseudotensors.
      normalize: divide by |p⁰|, the norm of the scalar power spectrum of the same density. It vanishes for an empty density only;
        |p^λ| vanishes wherever symmetry forbids a tensor, and p^λ/|p^λ| would jump there.

    Raises:
      ValueError: for a degree that is not an integer ≥ 0, or one that two harmonics up to l_max cannot couple to (a pseudoscalar
        never exists at second order).

    Example:
      >>> from jaxpot import CosineCutoff, Density, GTO, from_atoms
      >>> from ase.build import molecule
      >>> density = Density(("H", "O"), CosineCutoff(4.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5)
      >>> LambdaSOAP(density, lam=2)(from_atoms(molecule("H2O"), cutoff=4.0)).shape
      (3, 236, 5)

    References:
      Grisafi, Wilkins, Csányi, Ceriotti, "Symmetry-adapted machine learning for tensorial properties of atomistic systems",
      Phys. Rev. Lett. 120, 036002 (2018).
    """

    expansion: Expansion
    lam: int = static(most=50)
    pseudo: bool = static(default=False)
    normalize: bool = static(default=True)

    def __post_init__(self):
        if not (isinstance(self.lam, int) and self.lam >= 0):
            raise ValueError(f"LambdaSOAP: lam must be an integer ≥ 0, got {self.lam!r}")
        if not self.n_features:
            kind, l_max = "pseudotensor" if self.pseudo else "tensor", self.expansion.l_max
            reason = f"degrees up to {2 * l_max - self.pseudo}; raise l_max of the density" + self.pseudo * ", or its number of channels"
            reason = "true scalars only; write pseudo=False" if self.lam == 0 else reason
            raise ValueError(f"LambdaSOAP: no {kind} of degree {self.lam} can be made; two harmonics with l ≤ {l_max} couple to {reason}")

    def _blocks(self) -> tuple[tuple[int, int, np.ndarray, np.ndarray], ...]:
        """(l, l', q of every feature, q' of every feature) for every pair of degrees l ≤ l'."""
        q, l_max, blocks = self.expansion.n_channels, self.expansion.l_max, []
        for l in range(l_max + 1):
            for k in range(l, min(l_max, l + self.lam) + 1):
                if l + k >= self.lam and (l + k + self.lam) % 2 == self.pseudo:
                    # equal degrees couple symmetrically to a true tensor and antisymmetrically to a pseudotensor
                    first, second = np.triu_indices(q, int(self.pseudo)) if l == k else np.indices((q, q)).reshape(2, -1)
                    blocks.append((l, k, first, second))
        return tuple(blocks)

    @property
    def n_features(self) -> int:
        return sum(len(first) for _, _, first, _ in self._blocks())

    def labels(self) -> tuple[tuple[int, int, int, int], ...]:
        """(q, q', l, l') of every feature, where q = channel · n_max + n."""
        return tuple((int(a), int(b), l, k) for l, k, first, second in self._blocks() for a, b in zip(first, second, strict=True))

    def of(self, c: Array) -> Array:
        """Features of one atom, shape [F, 2λ + 1]."""
        parts = []
        for l, k, first, second in self._blocks():
            table = clebsch_gordan(l, k, self.lam) * np.sqrt(8 * np.pi**2 / (2 * self.lam + 1))
            if not self.pseudo:
                table = table * (-1) ** ((l + k - self.lam) // 2)
            a, b = c[:, l * l : (l + 1) ** 2], c[:, k * k : (k + 1) ** 2]
            coupled = einsum("qnu,pn->qpu", einsum("qm,mnu->qnu", a, jnp.asarray(table, a.dtype)), b)
            if l == k:
                weight = jnp.asarray(np.where(first == second, 1.0, np.sqrt(2.0))[:, None], a.dtype)
                parts.append(coupled[first, second] * weight)
            else:
                parts.append(coupled.reshape(-1, 2 * self.lam + 1) * np.sqrt(2.0).astype(a.dtype))
        p = jnp.concatenate(parts)
        if not self.normalize:
            return p
        square = scalar_square(c, self.expansion.l_max)
        is_zero = square == 0
        return jnp.where(is_zero, 0, p / jnp.sqrt(jnp.where(is_zero, 1, square)))

    def invariants(self, c: Array) -> Array:
        """The normalised scalar power spectrum of the same coefficients, for kernels of tensors."""
        return unit(power_spectrum(c, self.expansion.l_max))


def scalar_square(coefficients: Array, l_max: int) -> Array:
    """|p⁰|² of the scalar power spectrum, from [2l + 1, 2l + 1] products instead of its [Q, Q] features."""
    total = jnp.zeros((), coefficients.dtype)
    for l, c in enumerate(by_degree(coefficients, l_max)):
        product = einsum("qm,qn->mn", c, c)
        total = total + (8 * np.pi**2 / (2 * l + 1)) * jnp.sum(product * product)
    return total
