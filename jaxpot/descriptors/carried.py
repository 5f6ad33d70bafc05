"""Descriptors that see what atoms carry, such as their charges: the centre's own, and sums over neighbours that count by theirs."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import is_concrete, species_tuple
from jaxpot.descriptors.angular_pairs import Neighbors, Pairs
from jaxpot.descriptors.base import Descriptor, LocalDescriptor, features
from jaxpot.descriptors.blocks import block_size
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.descriptors.expansion import is_local
from jaxpot.descriptors.slopes import features_with_slopes
from jaxpot.descriptors.symmetry_functions import SymmetryFunctions
from jaxpot.graph import Environment
from jaxpot.leaves import Leaf
from jaxpot.trees import leaf, pytree, static

Array = jax.Array


def carried_channel(owner: str, carried: Array, channel: int) -> Array:
    """One channel of what atoms carry, [..., C] -> [...].

    Raises:
      ValueError: where they carry less.
    """
    if carried.shape[-1] <= channel:
        raise ValueError(
            f"{owner}: atoms carry {carried.shape[-1]} numbers, expected at least {channel + 1}; give the potential charges, by "
            "jaxpot.longrange.ChargedPotential(charges, (Carried(potential),))"
        )
    return carried[..., channel]


@pytree
class OwnCharge(LocalDescriptor):
    """What the centre itself carries, such as its charge, as a feature beside others.

    Args:
      species: chemical symbols.
      channel: which of the numbers that atoms carry, static; the charge is the first.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF, G2, Joined
      >>> Joined((ACSF(("H", "O"), (G2.centered(CosineCutoff(5.0), 4),)), OwnCharge(("H", "O")))).n_features
      11

    References:
      Ko, Finkler, Goedecker, Behler, "A fourth-generation high-dimensional neural network potential with accurate electrostatics including
      non-local charge transfer", Nat. Commun. 12, 398 (2021).
    """

    species: tuple[str, ...] = static()
    channel: int = static(default=0, most=100)

    def __post_init__(self):
        species_tuple(self.species, "OwnCharge")

    @property
    def n_features(self) -> int:
        return 1

    @property
    def reach(self) -> Array:
        return jnp.zeros(())

    def environment(self, env: Environment) -> Array:
        return carried_channel("OwnCharge", jnp.asarray(env.center_carried), self.channel)[None]


@pytree
class ChargePowers(LocalDescriptor):
    r"""Features times powers of what the centre carries, such as its charge: with a `Linear` head energies are polynomials of it.

    .. math:: x_{i, df} = (q_i - q^0_{z_i})^d\, x_{if}, \qquad d = 0 \dots D

    Args:
      descriptor: the features x.
      degree: D, static.
      origin: q⁰ of every element, shape [S], in e, near its usual charge, so that powers differ.
      channel: which of the numbers that atoms carry, static; the charge is the first.

    Raises:
      ValueError: for a descriptor that needs the whole structure.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF, G2
      >>> radial = ACSF(("Na", "Cl"), (G2.centered(CosineCutoff(5.0), 4),))
      >>> radial.n_features, ChargePowers(radial, degree=2, origin=[0.8, -0.8]).n_features
      (10, 30)
    """

    descriptor: Descriptor
    degree: int = static(most=20)
    origin: Leaf = leaf(shape="[S]")
    channel: int = static(default=0, most=100)

    def __post_init__(self):
        if not is_local(self.descriptor):
            raise ValueError(f"ChargePowers: {type(self.descriptor).__name__} does not follow from an atom's own neighbours; give one that does")
        if np.shape(self.origin) != (len(self.species),):
            raise ValueError(f"ChargePowers: expected a charge for each of {', '.join(self.species)}, got shape {np.shape(self.origin)}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.descriptor.species

    @property
    def reach(self) -> Array:
        return self.descriptor.reach

    @property
    def n_features(self) -> int:
        return (self.degree + 1) * self.descriptor.n_features

    def environment(self, env: Environment) -> Array:
        one = jax.tree_util.tree_map(lambda leaf: leaf[None], env)
        return self.times_powers(features(self.descriptor, one), one)[0]

    def times_powers(self, x: Array, envs: Environment) -> Array:
        """[n, F, ...] of a stack of atoms, times the powers of what they carry -> [n, (D + 1) F, ...]."""
        q = carried_channel("ChargePowers", jnp.asarray(envs.center_carried), self.channel) - jnp.asarray(self.origin)[envs.center]
        q = q.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.concatenate([q**d * x for d in range(self.degree + 1)], axis=1)


@features_with_slopes.register
def _at_the_charges(powers: ChargePowers, envs: Environment) -> tuple[Array, Array]:
    """A power is the same wherever the neighbours are."""
    return tuple(powers.times_powers(x, envs) for x in features_with_slopes(powers.descriptor, envs))


@block_size.register
def _of_features(powers: ChargePowers, n_neighbors: int) -> int:
    return block_size(powers.descriptor, n_neighbors)


@pytree
class CarriedFunctions(SymmetryFunctions):
    """Symmetry functions in which a neighbour counts by what it carries; a pair of neighbours by the product.

    Args:
      functions: such as G2 or G4.
      channel: which of the numbers that atoms carry, static; the charge is the first.

    Example:
      >>> from jaxpot import CosineCutoff
      >>> from jaxpot.descriptors import ACSF, G2
      >>> radial = G2.centered(CosineCutoff(5.0), 4)
      >>> ACSF(("H", "O"), (radial, CarriedFunctions(radial))).n_features
      20

    References:
      Xie, Persson, Small, "Incorporating electronic information into machine learning potential energy surfaces via approaching the
      ground-state electronic energy as a function of atom-based electronic populations", J. Chem. Theory Comput. 16, 4256 (2020).
    """

    functions: SymmetryFunctions
    channel: int = static(default=0, most=100)

    @property
    def mixing(self) -> Array | None:
        return self.functions.mixing

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.functions.sizes

    @property
    def reach(self) -> Array:
        return self.functions.reach

    @property
    def has_angles(self) -> bool:
        return self.functions.has_angles

    def channel_names(self, species: tuple[str, ...]) -> tuple[tuple, ...]:
        return self.functions.channel_names(species)

    def values(self, neighbors: Neighbors, pairs: Pairs | None) -> Array:
        weight = carried_channel("CarriedFunctions", neighbors.carried, self.channel)
        return self.functions.values(neighbors._replace(elements=neighbors.elements * weight[:, None]), pairs)


@pytree
class CarriedDensity(NeighborDensity):
    """A density in which a neighbour counts by what it carries, of which SOAP and ACE are made; the centre adds nothing.

    Args:
      density: such as a Density, without a Gaussian at the centre.
      channel: which of the numbers that atoms carry, static; the charge is the first.

    Raises:
      ValueError: for a density with a Gaussian at the centre.

    Example:
      >>> from jaxpot import Density, GTO, CosineCutoff
      >>> density = Density(("H", "O"), CosineCutoff(5.0, width=1.0), GTO(n_max=4), l_max=3, sigma=0.5, center_weight=0.0)
      >>> CarriedDensity(density).n_channels
      8
    """

    density: NeighborDensity
    channel: int = static(default=0, most=100)

    def __post_init__(self):
        weight = getattr(self.density, "center_weight", 0.0)
        if is_concrete(weight) and np.any(np.asarray(weight)):
            raise ValueError(f"CarriedDensity: the centre adds nothing; write center_weight=0.0 in its density, got {np.asarray(weight)}")

    @property
    def species(self) -> tuple[str, ...]:
        return self.density.species

    @property
    def l_max(self) -> int:
        return self.density.l_max

    @property
    def n_channels(self) -> int:
        return self.density.n_channels

    @property
    def n_max(self) -> int:
        return self.density.n_max

    @property
    def reach(self) -> Array:
        return self.density.reach

    def factors(self, env: Environment) -> tuple[Array, Array]:
        channels, harmonics = self.density.factors(env)
        weight = carried_channel("CarriedDensity", jnp.asarray(env.carried), self.channel)
        return channels * weight.astype(channels.dtype)[:, None, None], harmonics
