"""Systems with global charge transfer on four rungs: no charges, local charges, equilibrated charges, charges of a minimum.

    python experiments/longrange/charge_transfer.py ag3 nacl carbon_chains au2_mgo

For each set the factors of hardness and widths are chosen on one trajectory of the training frames; errors are those of the set's own test
frames. What of config.toml was changed after a first look at them is in README.md. Needs the data sets (JAXPOT_DATA). Results go to `results/`, set by set.
"""

import argparse
import itertools
import json
import sys
import time
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from tqdm import tqdm  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import datasets  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import longrange  # noqa: E402
from jaxpot.cutoffs import PowerCutoff  # noqa: E402
from jaxpot.descriptors import ChargePowers, Constant, Joined, OwnCharge  # noqa: E402
from jaxpot.heads import SharedLinear  # noqa: E402

KEYS = {"energy": "energy", "forces": "forces", "charges": "mulliken_charge", "charge": "total_charge"}
LEFT_OUT = 6  # the trajectory on which settings are chosen; of frames without one, every seventh


class Ladder:
    """The models of one set.

    Args:
      frames: training frames, of which the elements, mean charges and mean energies are taken.
      settings: of the set, as in config.toml.
    """

    def __init__(self, frames: list[Atoms], settings: dict):
        self.settings, self.species = settings, tuple(settings["hardness"])
        radial = jp.radial.Agnesi(settings["n_radial"], nearest=settings["nearest"])
        density = jp.Density(self.species, PowerCutoff(settings["cutoff"]), radial, l_max=settings["l_max"], sigma=None, center_weight=0.0)
        self.ace, self.constant = jp.ACE(density, jp.TotalDegree(tuple(settings["degrees"]))), Constant(self.species)
        charges = {symbol: np.concatenate([a.arrays["mulliken_charge"][a.symbols == symbol] for a in frames]) for symbol in self.species}
        self.origin = np.array([np.mean(charges[symbol]) for symbol in self.species])
        counts = np.array([[np.sum(a.symbols == symbol) for symbol in self.species] for a in frames], float)
        means = np.linalg.lstsq(counts, np.array([a.get_potential_energy() for a in frames]), rcond=None)[0]
        self.atoms = jp.IsolatedAtoms(dict(zip(self.species, means, strict=True)))

    def linear(self, scale: float, copies: int = 1) -> jp.Linear:
        return jp.Linear(scale=scale, roughness=np.tile(self.ace.smoothness(), copies))

    def constants(self) -> jp.AtomicPotential:
        return jp.AtomicPotential(self.constant, jp.Linear(scale=10.0))

    def equilibrated(self, hardness: float, sigma: float) -> longrange.QEq:
        """Not fitted, with these factors of hardness and widths."""
        chi = self.constants() + jp.AtomicPotential(self.ace, self.linear(self.settings["scale_charges"]))
        columns = (factor * np.array(list(self.settings[name].values())) for factor, name in ((hardness, "hardness"), (sigma, "sigma")))
        return longrange.QEq(self.species, chi, *columns, longrange.Direct())

    def local(self) -> longrange.LocalCharges:
        head = jp.Linear(scale=0.1 * self.settings["scale_charges"], roughness=np.concatenate([[0.1], self.ace.smoothness()]))
        return longrange.LocalCharges(Joined((self.constant, self.ace)), head)

    def short(self) -> jp.potentials.Sum:
        """Rung 1."""
        return self.atoms + self.constants() + jp.AtomicPotential(self.ace, self.linear(self.settings["scale_energy"]))

    def with_charges(self, charges: longrange.LocalCharges, interaction: longrange.GaussianCoulomb) -> jp.potentials.Sum:
        """Rung 3: beside the electrostatics of local charges."""
        return self.short() + longrange.Electrostatics(charges, longrange.Direct(), interaction)

    def of_charges(self, charges: longrange.ChargeModel, interaction: longrange.GaussianCoulomb) -> jp.potentials.Sum:
        """Rung 4: energies that are polynomials of an atom's own charge, beside electrostatics."""
        degree = self.settings["powers"]
        constant = jp.AtomicPotential(ChargePowers(self.constant, degree, self.origin), jp.Linear(scale=10.0))
        ace = jp.AtomicPotential(ChargePowers(self.ace, degree, self.origin), self.linear(self.settings["scale_energy"], degree + 1))
        pairs = longrange.PairsOfCharges(self.species, longrange.Direct(), interaction)
        return self.atoms + longrange.ChargedPotential(charges, (longrange.Carried(constant), longrange.Carried(ace), pairs))

    def of_minimum(self, qeq: longrange.QEq) -> jp.potentials.Sum:
        """Rung 5: beside the energy that charges minimise, whose electronegativities charges say up to a constant."""
        constant = jp.AtomicPotential(OwnCharge(self.species), SharedLinear(scale=10.0))
        return self.short() + longrange.ChargeEquilibration(qeq) + longrange.ChargedPotential(qeq, (longrange.Carried(constant),))


def dataset(frames: list[Atoms], settings: dict, *names: str) -> jp.Dataset:
    """With labels of these names."""

    def sigma(atoms):
        levels = {"energy": settings["sigma_energy"] * len(atoms), "forces": settings["sigma_forces"], "charges": settings["sigma_charges"]}
        return jp.Properties(**{name: levels[name] for name in names})

    return jp.Dataset.from_atoms(frames, settings["cutoff"], sigma=sigma, keys=KEYS)


def errors(model: jp.potentials.base.Model, frames: list[Atoms], settings: dict) -> dict:
    """Root mean square errors: meV/atom, eV/Å of a component, me; of all frames and by total charge or system."""
    found = jp.fit.predict(model, dataset(frames, settings, "energy", "forces", "charges"), progress=False)
    parts: dict[str, dict] = {}
    for atoms, one in zip(frames, found, strict=True):
        n = len(atoms)
        for group in ("all", atoms.info["system"]):
            own = parts.setdefault(group, {})
            if one.energy is not None:
                own.setdefault("energy", []).append([1e3 * (float(one.energy) - atoms.get_potential_energy()) / n])
                own.setdefault("forces", []).append(np.ravel(np.asarray(one.forces)[:n] - atoms.get_forces()))
            if one.charges is not None:
                own.setdefault("charges", []).append(1e3 * (np.asarray(one.charges)[:n] - atoms.arrays["mulliken_charge"]))
    return {group: {name: float(np.sqrt(np.mean(np.concatenate(x) ** 2))) for name, x in own.items()} for group, own in parts.items()}


def chosen(ladder: Ladder, frames: list[Atoms]) -> tuple[longrange.QEq, dict]:
    """The equilibration whose fitted charges are best on the trajectory that is left out, not fitted; and all errors, in me."""
    settings = ladder.settings
    without = [a.info.get("trajectory", k % 7) == LEFT_OUT for k, a in enumerate(frames)]
    inside = dataset([a for a, out in zip(frames, without, strict=True) if not out], settings, "charges")
    outside = [a for a, out in zip(frames, without, strict=True) if out]
    tried = {}
    for factors in tqdm(list(itertools.product(settings["factors"], repeat=2)), desc="hardness, widths"):
        fitted = jp.fit.linear(ladder.equilibrated(*factors), inside, method="cholesky", progress=False)
        tried[factors] = errors(fitted, outside, settings)["all"]["charges"]
    best = min(tried, key=tried.get)
    return ladder.equilibrated(*best), {f"hardness × {j}, widths × {s}": error for (j, s), error in tried.items()}


def run(train: list[Atoms], test: list[Atoms], settings: dict, rungs: tuple[int, ...] = (1, 3, 4, 5), show=lambda results: None) -> dict:
    """Errors of the rungs on the test frames."""
    frames = train[:: settings["stride"]]
    ladder, results, began = Ladder(frames, settings), {"training frames": len(frames), "test frames": len(test)}, time.perf_counter()

    def fitted(model, *names):
        return jp.fit.linear(model, dataset(frames, settings, *names), method="cholesky")

    def keep(name, model, found):
        results[name] = found | {"coefficients": model.n_coefficients, "seconds": round(time.perf_counter() - began, 1)}
        show(results)

    qeq, results["tried"] = chosen(ladder, frames)
    qeq = fitted(qeq, "charges")
    keep("equilibrated charges", qeq, errors(qeq, test, settings))
    if 1 in rungs:
        short = fitted(ladder.short(), "energy", "forces")
        keep("rung 1", short, errors(short, test, settings))
    if 4 in rungs:
        model = fitted(ladder.of_charges(qeq, qeq.interaction), "energy", "forces")
        keep("rung 4", model, errors(model, test, settings))
    if 3 in rungs:
        local = fitted(ladder.local(), "charges")
        model = fitted(ladder.with_charges(local, qeq.interaction), "energy", "forces")
        keep("rung 3", model, errors(model, test, settings))
    if 5 in rungs:
        model = fitted(ladder.of_minimum(qeq), "energy", "forces")
        # its charges are those of rung 4; a Sum adds up what its two terms with charges say
        found = errors(model, test, settings)
        keep("rung 5", model, {group: {name: own[name] for name in ("energy", "forces")} for group, own in found.items()})
    return results


def settings_of(name: str) -> dict:
    config = tomllib.loads((HERE / "config.toml").read_text())
    return config["defaults"] | config[name]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--rungs", type=int, nargs="+", default=[1, 3, 4, 5])
    arguments = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    for name in arguments.sets:

        def show(results, name=name):
            (HERE / "results" / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
            print(name, json.dumps({key: value for key, value in results.items() if key != "tried"}, indent=1), flush=True)

        train, test = (datasets.load(f"xtb_charge_transfer/{name}_{part}") for part in ("train", "val"))
        run(train, test, settings_of(name), tuple(arguments.rungs), show)
