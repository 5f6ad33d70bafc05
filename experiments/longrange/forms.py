"""What an ACE, a GAP and a network differ by on the ladder of charge_transfer.py: features, a head on them, and how both are fitted."""

import abc
import functools

import jax
import numpy as np
import optax
from ase import Atoms

import jaxpot as jp
from jaxpot import longrange
from jaxpot.cutoffs import PowerCutoff
from jaxpot.descriptors import CarriedDensity, ChargePowers, Constant, Joined, OwnCharge
from jaxpot.descriptors.base import Descriptor, features_of_stack
from jaxpot.descriptors.density import NeighborDensity
from jaxpot.graph import environments
from jaxpot.heads import Head
from jaxpot.math.kernels import PolynomialKernel
from jaxpot.passes import prepare
from jaxpot.trees import walk


class Form(abc.ABC):
    """Interface: a form of model, of one set.

    Args:
      frames: training frames, of which environments and mean charges are taken.
      settings: of the set, as in config.toml.

    Attributes:
      descriptor: features of every atom.
      factors: of hardness and widths, among which is chosen.
    """

    descriptor: Descriptor

    def __init__(self, frames: list[Atoms], settings: dict):
        self.settings, self.species, self.factors = settings, tuple(settings["hardness"]), settings["factors"]
        self.data = jp.Dataset.from_atoms(frames, settings["cutoff"], sigma=jp.Properties(energy=1.0), keys={"energy": "energy", "charge": "total_charge"})
        charges = {symbol: np.concatenate([a.arrays["mulliken_charge"][a.symbols == symbol] for a in frames]) for symbol in self.species}
        self.origin = np.array([np.mean(charges[symbol]) for symbol in self.species])
        self.constant = Constant(self.species)

    @property
    def _density(self) -> jp.Density:
        """Of an atom's neighbours, of which an ACE is made."""
        radial = jp.radial.Agnesi(self.settings["n_radial"], nearest=self.settings["nearest"])
        return jp.Density(self.species, PowerCutoff(self.settings["cutoff"]), radial, l_max=self.settings["l_max"], sigma=None, center_weight=0.0)

    @abc.abstractmethod
    def head(self, descriptor: Descriptor, scale: float, charges: longrange.ChargeModel | None) -> Head:
        """A head on this descriptor, of atoms with these charges; the prior deviation of coefficients or energies is the scale."""

    @abc.abstractmethod
    def fit(self, model: jp.potentials.base.Model, data: jp.Dataset) -> jp.potentials.base.Model:
        """To the labels of the data; charges that a potential is made of stay as they are."""

    @abc.abstractmethod
    def size(self, model: jp.potentials.base.Model) -> int:
        """How many numbers are fitted."""

    def terms(self, scale: float, charges: longrange.ChargeModel | None = None) -> tuple[jp.AtomicPotential, ...]:
        """Atomic energies of surroundings and, with charges, of the atom's own one; beside a constant per element."""
        constant, descriptor = (self.constant, self.descriptor) if charges is None else map(self._powers, (self.constant, self.descriptor))
        return jp.AtomicPotential(constant, jp.Linear(scale=10.0)), jp.AtomicPotential(descriptor, self.head(descriptor, scale, charges))

    def local(self, scale: float) -> longrange.LocalCharges:
        """Charges of surroundings."""
        descriptor = Joined((self.constant, self.descriptor))
        return longrange.LocalCharges(descriptor, self.head(descriptor, scale, None))

    def _powers(self, descriptor: Descriptor) -> ChargePowers:
        return ChargePowers(descriptor, self.settings["powers"], self.origin)


class LinearForm(Form):
    """Interface: with a linear head."""

    def fit(self, model, data):
        return jp.fit.linear(model, data, method="cholesky")

    def size(self, model):
        shares = getattr(model, "correction", None)
        return model.n_coefficients + (shares.logarithm.n_coefficients if isinstance(shares, longrange.Weighted) else 0)


class LinearACE(LinearForm):
    """A linear ACE; with charges also a smaller one times powers of the atom's own, and one of neighbours that count by theirs."""

    def __init__(self, frames: list[Atoms], settings: dict):
        super().__init__(frames, settings)
        self.descriptor = ace(self._density, settings["degrees"])

    def terms(self, scale, charges=None):
        constant, own = super().terms(scale, charges)
        if charges is None:
            return constant, own
        charged, neighbors, powers = (self.settings[name] for name in ("charged", "neighbors", "powers"))
        of_itself = (self._term(self.descriptor, scale), self._term(ace(self._density, charged), scale, powers)) if charged else (own,)
        seen = (self._term(ace(CarriedDensity(self._density), neighbors), scale),) if neighbors else ()
        return constant, *of_itself, *seen

    def head(self, descriptor, scale, charges):
        smooth = self.descriptor.smoothness()
        copies, others = divmod(descriptor.n_features, len(smooth))
        return jp.Linear(scale=scale, roughness=np.concatenate([np.full(others, 0.1), np.tile(smooth, copies)]))

    def _term(self, one: jp.ACE, scale: float, powers: int = 0) -> jp.AtomicPotential:
        """Linear, times powers of the atom's own charge up to this one."""
        descriptor = ChargePowers(one, powers, self.origin) if powers else one
        return jp.AtomicPotential(descriptor, jp.Linear(scale=scale, roughness=np.tile(one.smoothness(), powers + 1)))


class GAP(LinearForm):
    """SOAP and a sparse Gaussian process."""

    def __init__(self, frames: list[Atoms], settings: dict):
        super().__init__(frames, settings)
        soap = settings["soap"]
        cutoff = jp.CosineCutoff(settings["cutoff"], width=1.0)
        self.descriptor = jp.SOAP(jp.Density(self.species, cutoff, jp.GTO(n_max=soap["n_max"]), l_max=soap["l_max"], sigma=soap["sigma"]))

    def head(self, descriptor, scale, charges):
        gap = self.settings["gap"]
        points = jp.fit.select_environments(descriptor, self.data, gap["points"], key=jax.random.key(0), charges=charges)
        return jp.SparseGP(PolynomialKernel(gap["zeta"]), delta=scale, jitter=1e-8 * scale**2).with_points(points)


class Network(Form):
    """A network of the features of the ACE; hardness and widths are trained with it."""

    def __init__(self, frames: list[Atoms], settings: dict):
        super().__init__(frames, settings)
        self.descriptor, self.factors = ace(self._density, settings["degrees"]), [1.0]

    def terms(self, scale, charges=None):
        descriptor = self.descriptor if charges is None else Joined((self.descriptor, OwnCharge(self.species)))
        return (jp.AtomicPotential(descriptor, self.head(descriptor, scale, charges)),)

    def head(self, descriptor, scale, charges):
        shift, deviation = moments(descriptor, self.data, charges)
        return jp.MLP(tuple(self.settings["network"]["hidden"]), shift=shift, scale=deviation)

    def fit(self, model, data):
        if isinstance(model, longrange.ChargeModel):
            # what is trained is a potential, of which the labels say the charges
            return self.fit(longrange.Electrostatics(model, longrange.Direct()), data).charges
        network = self.settings["network"]
        rate = optax.cosine_decay_schedule(network["rate"], network["steps"])
        optimizer = optax.chain(optax.clip_by_global_norm(network["clip"]), optax.adam(rate))
        settings = {name: network[name] for name in ("steps", "batch")}
        return jp.fit.train(model, data, optimizer, where=trained(model), key=jax.random.key(1), **settings)[0]

    def size(self, model):
        return sum(np.size(value) for path, value, _ in walk(model) if path in trained(model))


def trained(model: jp.potentials.base.Model) -> tuple[str, ...]:
    """Paths of the leaves that a network's fit moves: not those of charges that a term of a potential is made of."""

    def moves(path: str) -> bool:
        parts = path.split(".")
        named = {"weights", "biases", "coefficients", "hardness", "sigma"} & set(parts)
        return bool(named) and not {"expansion", "interaction"} & set(parts) and "charges" not in parts[1:]

    return tuple(path for path, *_ in walk(model) if moves(path))


FORMS = {"ace": LinearACE, "gap": GAP, "network": Network}


def ace(expansion: NeighborDensity, degrees: list[int]) -> jp.ACE:
    """Of every set."""
    return jp.ACE(expansion, jp.TotalDegree(tuple(degrees)))


def moments(descriptor: Descriptor, data: jp.Dataset, charges: longrange.ChargeModel | None) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations of features, element of the centre by element, [S, F] each, of atoms with the charges of a model."""
    own, features = functools.partial(_features, descriptor), []
    for frame, structure in data.structures():
        x, center = own(charges, structure.graphs)
        features.append((np.asarray(x)[: data.n_atoms[frame]], np.asarray(center)[: data.n_atoms[frame]]))
    x, center = map(np.concatenate, zip(*features, strict=True))
    elements = range(len(descriptor.species))
    shift, deviation = (np.stack([getattr(x[center == k], name)(axis=0) for k in elements]) for name in ("mean", "std"))
    return shift, np.where(deviation > 1e-10 * np.max(deviation, axis=1, keepdims=True), deviation, 1.0)


@jax.jit
def _features(descriptor, charges, graph):
    carried = None if charges is None else charges.charges(graph)[:, None]
    stack = environments(graph, descriptor.reach, descriptor.species, carried)
    return features_of_stack(prepare(descriptor), stack), stack.center
