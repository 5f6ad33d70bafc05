"""Systems with global charge transfer: no charges, local charges, equilibrated charges, charges of a minimum, products with the potential of all atoms.

    python experiments/longrange/charge_transfer.py ag3 nacl carbon_chains au2_mgo
    python experiments/longrange/charge_transfer.py ag3 nacl --form network --stride 4
    python experiments/longrange/charge_transfer.py au2_mgo --form gap --rungs 6       # beside what `results/` has of the other rungs

Models are linear ACE, unless another form is asked for: SOAP-GAP ("gap") or a network. For each set the factors of hardness and widths are
chosen on one trajectory of the training frames, and so is the prior of products; errors are those of the set's own test frames. What of config.toml
was changed after a first look at them is in README.md. Needs the data sets (JAXPOT_DATA). Results go to `results/`, set by set.
"""

import argparse
import functools
import itertools
import json
import operator
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
sys.path[:0] = [str(HERE), str(HERE.parent)]

import datasets  # noqa: E402
from forms import FORMS  # noqa: E402
from sharing import Sharing  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import longrange  # noqa: E402
from jaxpot.descriptors import MultiScale, OwnCharge  # noqa: E402
from jaxpot.heads import SharedLinear  # noqa: E402

KEYS = {"energy": "energy", "forces": "forces", "charges": "mulliken_charge", "charge": "total_charge"}
LEFT_OUT = 6  # the trajectory on which settings are chosen; of frames without one, every seventh


class Ladder:
    """The models of one set, of one form.

    Args:
      frames: training frames, of which the elements, mean charges and mean energies are taken.
      settings: of the set, as in config.toml.
      form: "ace", "gap" or "network".
    """

    def __init__(self, frames: list[Atoms], settings: dict, form: str = "ace"):
        self.settings, self.form = settings, FORMS[form](frames, settings)
        self.species = self.form.species
        counts = np.array([[np.sum(a.symbols == symbol) for symbol in self.species] for a in frames], float)
        means = np.linalg.lstsq(counts, np.array([a.get_potential_energy() for a in frames]), rcond=None)[0]
        self.atoms = jp.IsolatedAtoms(dict(zip(self.species, means, strict=True)))

    def equilibrated(self, hardness: float, sigma: float) -> longrange.QEq:
        """Not fitted, with these factors of hardness and widths."""
        chi = functools.reduce(operator.add, self.form.terms(self.settings["scale_charges"]))
        columns = (factor * np.array(list(self.settings[name].values())) for factor, name in ((hardness, "hardness"), (sigma, "sigma")))
        return longrange.QEq(self.species, chi, *columns, longrange.Direct())

    @property
    def covalent(self) -> longrange.GaussianCoulomb:
        """Between charges with the widths of config.toml, which are covalent radii: what is not equilibrated chooses none."""
        return longrange.GaussianCoulomb(self.species, np.array(list(self.settings["sigma"].values())))

    def local(self) -> longrange.LocalCharges:
        return self.form.local(0.1 * self.settings["scale_charges"])

    def short(self) -> jp.potentials.Sum:
        """Rung 1."""
        return functools.reduce(operator.add, self.form.terms(self.settings["scale_energy"]), self.atoms)

    def with_charges(self, charges: longrange.LocalCharges, interaction: longrange.GaussianCoulomb) -> jp.potentials.Sum:
        """Rung 3: beside the electrostatics of local charges."""
        return self.short() + longrange.Electrostatics(charges, longrange.Direct(), interaction)

    def of_charges(self, charges: longrange.ChargeModel, interaction: longrange.GaussianCoulomb) -> jp.potentials.Sum:
        """Rung 4: energies that see an atom's own charge, beside electrostatics."""
        own = map(longrange.Carried, self.form.terms(self.settings["scale_energy"], charges))
        pairs = longrange.PairsOfCharges(self.species, longrange.Direct(), interaction)
        return self.atoms + longrange.ChargedPotential(charges, (*own, pairs))

    def of_minimum(self, qeq: longrange.QEq) -> jp.potentials.Sum:
        """Rung 5: beside the energy that charges minimise, whose electronegativities charges say up to a constant."""
        constant = jp.AtomicPotential(OwnCharge(self.species), SharedLinear(scale=10.0, coefficients=np.zeros(1)))
        return self.short() + longrange.ChargeEquilibration(qeq) + longrange.ChargedPotential(qeq, (longrange.Carried(constant),))

    def with_products(self, scale: float) -> jp.potentials.Sum:
        """Rung 6: beside products of a density and the potential of all atoms, each of which gives forces of this size a priori, in eV/Å."""
        return self.short() + self._products.replace(head=self._products.head.replace(scale=scale))

    @functools.cached_property
    def _products(self) -> jp.AtomicPotential:
        far = self.settings["far"]
        near = jp.Density(self.species, jp.CosineCutoff(self.settings["near_cutoff"], width=0.5), jp.GTO(n_max=far["n_max"]), l_max=1, sigma=far["sigma"])
        field = longrange.LODE(self.species, far["radius"], jp.GTO(n_max=1), l_max=1, sigma=far["smearing"], sum=longrange.AllPairs())
        potential = jp.AtomicPotential(MultiScale(near, field), jp.Linear())
        return potential.replace(head=potential.head.replace(roughness=jp.fit.force_scales(potential, self.form.data, progress=False)))


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


def left_out(frames: list[Atoms]) -> np.ndarray:
    """Which frames are those on which settings are chosen, [n]."""
    return np.array([a.info.get("trajectory", k % 7) == LEFT_OUT for k, a in enumerate(frames)])


def chosen(ladder: Ladder, frames: list[Atoms]) -> tuple[longrange.QEq, dict]:
    """The equilibration whose fitted charges are best on the trajectory that is left out, not fitted; and all errors, in me."""
    settings, without = ladder.settings, left_out(frames)
    inside = dataset([a for a, out in zip(frames, without, strict=True) if not out], settings, "charges")
    outside = [a for a, out in zip(frames, without, strict=True) if out]
    tried = {}
    for factors in tqdm(list(itertools.product(ladder.form.factors, repeat=2)), desc="hardness, widths"):
        fitted = ladder.form.fit(ladder.equilibrated(*factors), inside)
        tried[factors] = errors(fitted, outside, settings)["all"]["charges"]
    best = min(tried, key=tried.get)
    return ladder.equilibrated(*best), {f"hardness × {j}, widths × {s}": error for (j, s), error in tried.items()}


def of_products(ladder: Ladder, frames: list[Atoms]) -> tuple[jp.potentials.Sum, dict]:
    """Rung 6 of the prior whose forces are best on the trajectory that is left out, not fitted; and all errors, in eV/Å."""
    settings, without, tried = ladder.settings, left_out(frames), {}
    inside = dataset([a for a, out in zip(frames, without, strict=True) if not out], settings, "energy", "forces")
    outside = [a for a, out in zip(frames, without, strict=True) if out]
    for scale in tqdm(settings["far"]["scales"], desc="products"):
        tried[scale] = errors(ladder.form.fit(ladder.with_products(scale), inside), outside, settings)["all"]["forces"]
    return ladder.with_products(min(tried, key=tried.get)), tried


def shared(ladder: Ladder, frames: list[Atoms]) -> tuple[longrange.LocalCharges, dict]:
    """Local charges whose excess is shared, fitted; and the errors on the trajectory that is left out by the scale of the shares' prior, in me."""
    settings, without = ladder.settings, left_out(frames)
    logarithm = functools.reduce(operator.add, ladder.form.terms(1.0))
    sharing = Sharing(ladder.local(), logarithm, dataset(frames, settings, "charges"))
    outside, tried = [a for a, out in zip(frames, without, strict=True) if out], {}
    for scale in tqdm(settings["sharing"], desc="shares"):
        fitted = sharing(np.flatnonzero(~without), scale, settings["sharing_steps"])
        tried[scale] = errors(fitted, outside, settings)["all"]["charges"]
    return sharing(np.arange(len(frames)), min(tried, key=tried.get), settings["sharing_steps"]), tried


def run(
    train: list[Atoms], test: list[Atoms], settings: dict, form: str = "ace", rungs: tuple[int, ...] = (1, 3, 4, 5, 6), show=lambda results: None
) -> dict:
    """Errors of the rungs on the test frames."""
    frames = train[:: settings["stride"]]
    ladder, results, began = Ladder(frames, settings, form), {"training frames": len(frames), "test frames": len(test)}, time.perf_counter()

    def fitted(model, *names):
        return ladder.form.fit(model, dataset(frames, settings, *names))

    def keep(name, model, found):
        known = {"coefficients": ladder.form.size(model), "stride": settings["stride"], "seconds": round(time.perf_counter() - began, 1)}
        results[name] = found | known
        show(results)

    if {3, 4, 5} & set(rungs):
        qeq, results["tried"] = chosen(ladder, frames)
        qeq = fitted(qeq, "charges")
        keep("equilibrated charges", qeq, errors(qeq, test, settings))
    if 1 in rungs:
        short = fitted(ladder.short(), "energy", "forces")
        keep("rung 1", short, errors(short, test, settings))
    if 4 in rungs:
        model = fitted(ladder.of_charges(qeq, qeq.interaction), "energy", "forces")
        keep("rung 4", model, errors(model, test, settings))
    if 4 in rungs and settings["sharing"] and form != "network":
        charges, results["tried shares"] = shared(ladder, frames)
        keep("shared charges", charges, errors(charges, test, settings))
        model = fitted(ladder.of_charges(charges, ladder.covalent), "energy", "forces")
        keep("rung 4, shared", model, errors(model, test, settings))
    if 3 in rungs:
        local = fitted(ladder.local(), "charges")
        model = fitted(ladder.with_charges(local, qeq.interaction), "energy", "forces")
        keep("rung 3", model, errors(model, test, settings))
    if 5 in rungs:
        model = fitted(ladder.of_minimum(qeq), "energy", "forces")
        # its charges are those of rung 4; a Sum adds up what its two terms with charges say
        found = errors(model, test, settings)
        keep("rung 5", model, {group: {name: own[name] for name in ("energy", "forces")} for group, own in found.items()})
    if 6 in rungs and form != "network":
        model, results["tried products"] = of_products(ladder, frames)
        model = fitted(model, "energy", "forces")
        keep("rung 6", model, errors(model, test, settings))
    return results


def settings_of(name: str) -> dict:
    config = tomllib.loads((HERE / "config.toml").read_text())
    return config["defaults"] | config[name]


def results_file(name: str, form: str) -> Path:
    return HERE / "results" / (f"{name}.json" if form == "ace" else f"{name}_{form}.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--form", choices=FORMS, default="ace")
    parser.add_argument("--rungs", type=int, nargs="*", default=[1, 3, 4, 5, 6])
    parser.add_argument("--stride", type=int, help="every so many training frames are fitted, instead of what config.toml says")
    arguments = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    for name in arguments.sets:

        def show(results, file=results_file(name, arguments.form)):
            known = json.loads(file.read_text()) if file.exists() else {}
            file.write_text(json.dumps(known | results, indent=1) + "\n")
            print(file.stem, json.dumps({key: value for key, value in results.items() if not key.startswith("tried")}, indent=1), flush=True)

        train, test = (datasets.load(f"xtb_charge_transfer/{name}_{part}") for part in ("train", "val"))
        settings = settings_of(name) | ({"stride": arguments.stride} if arguments.stride else {})
        run(train, test, settings, arguments.form, tuple(arguments.rungs), show)
