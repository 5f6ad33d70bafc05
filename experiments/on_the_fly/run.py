"""Silicon from twenty crystals to a stable melt, labelled where the potential is not sure of its forces.

    python experiments/on_the_fly/run.py                      # 64 atoms, 50 ps
    python experiments/on_the_fly/run.py --picoseconds 5      # a first look

The teacher is Stillinger–Weber silicon, behind ASE's interface. A linear ACE is fitted to crystals whose atoms are displaced at random, and then
explores a melt: `active.explore` labels where the deviation of a force passes the threshold of config.toml, and learns. Then the potential is
fixed and runs as long again. Its errors, on a melt that the teacher made, are compared with those of fits to the same crystals and as many
structures chosen at random from that run. All is kept in `results/`; called again, the script goes on where it was stopped or killed.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import ase.io  # noqa: E402
import numpy as np  # noqa: E402
from ase.build import bulk  # noqa: E402

import jaxpot as jp  # noqa: E402
from jaxpot import active, md  # noqa: E402

HERE = Path(__file__).resolve().parent
SILICON = jp.empirical.StillingerWeber(
    ("Si",), epsilon=2.1683, sigma=2.0951, a=1.8, lam=21.0, gamma=1.2, cosine=-1 / 3, A=7.049556277, B=0.6022245584, p=4.0, q=0.0
)


def labelled(frames: list) -> list:
    """The same structures with energy and forces of the teacher."""
    teacher, out = jp.Calculator(SILICON), []
    for atoms in frames:
        atoms = atoms.copy()
        atoms.calc = teacher
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc, atoms.info, atoms.arrays["forces"] = None, {"energy": energy}, forces
        out.append(atoms)
    return out


def crystals(config: dict) -> list:
    """The frames of the start."""
    perfect = bulk("Si", a=config["teacher"]["lattice"], cubic=True).repeat(config["teacher"]["repeat"])
    frames = [perfect.copy() for _ in range(config["start"]["frames"])]
    for seed, atoms in enumerate(frames):
        atoms.rattle(config["start"]["displacement"], seed=seed)
    return labelled(frames)


def dataset(frames: list, config: dict) -> jp.Dataset:
    return jp.Dataset.from_atoms(frames, config["ace"]["cutoff"], sigma=jp.noise_levels(**config["noise"]))


def unfitted(frames: list, config: dict):
    """A linear ACE whose functions exert equal forces a priori, and the mean energy of the start."""
    own = config["ace"]
    density = jp.Density(
        ("Si",), jp.cutoffs.PowerCutoff(own["cutoff"]), jp.radial.Agnesi(own["n_max"], nearest=2.35), own["l_max"], sigma=None, center_weight=0.0
    )
    ace = jp.ACE(density, jp.TotalDegree(tuple(own["degrees"])))
    part = jp.AtomicPotential(ace, jp.Linear(scale=own["scale"]))
    rough = ace.smoothness(0.0, order=own["order"]) * jp.fit.force_scales(part, dataset(frames, config))
    return part.replace(head=part.head.replace(roughness=rough)) + jp.IsolatedAtoms({"Si": 0.0})


def errors(model, frames: list, config: dict) -> dict:
    """RMSE of energies (meV/atom) and force components (eV/Å)."""
    found = jp.fit.report(model, dataset(frames, config))["all"]
    return {"energy, meV/atom": 1e3 * found["energy"]["rmse"], "forces, eV/Å": found["forces"]["rmse"]}


def trajectory(potential, file: Path, ensemble, steps: int, seed: int, start) -> list:
    """The frames of a trajectory, which goes on where it was stopped."""
    md.run(potential, start, file, ensemble=ensemble, steps=steps, interval=100, seed=seed, restart=file.with_name(file.name + ".restart.npz").exists())
    return ase.io.read(file, ":")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, help="of the exploration, instead of config.toml's")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    config = tomllib.loads((HERE / "config.toml").read_text())
    own, test, output = config["exploration"], config["test"], arguments.output
    own["picoseconds"] = arguments.picoseconds or own["picoseconds"]
    output.mkdir(parents=True, exist_ok=True)
    steps = round(1e3 * own["picoseconds"] / own["timestep"])
    ensemble = md.NVT(own["temperature"], timestep=own["timestep"])
    train = crystals(config)

    begin = output / "start.npz"
    if not begin.exists():
        jp.save(begin, jp.fit.posterior(unfitted(train, config), dataset(train, config)))
    known = jp.load(begin)
    found = active.explore(
        known, train[0], jp.Calculator(SILICON), output / "exploration", steps=steps, threshold=own["threshold"],
        sigma=jp.noise_levels(**config["noise"]), ensemble=ensemble, labels=own["labels"], interval=own["interval"],
    )  # fmt: skip
    print(f"{found.status}: {found.message}")
    result = {"functions": len(found.posterior.coefficients), "status": found.status, "labels": len(found.frames), "steps": int(found.history["step"][-1])}
    result["steps of labels"] = [int(atoms.info["step"]) for atoms in found.frames]
    (output / "exploration.json").write_text(json.dumps(result, indent=1))
    if found.status != "finished":
        sys.exit(1)

    melt = trajectory(found.posterior.model, output / "melt.xyz", ensemble, steps, 1, train[0])
    half = [atoms.info["temperature"] for atoms in melt[len(melt) // 2 :]]
    result["fixed potential"] = {"steps": steps, "temperature, K": float(np.mean(half)), "shortest distance, Å": float(min(map(shortest, melt)))}
    taught = trajectory(SILICON, output / "teacher.xyz", ensemble, round(1e3 * test["picoseconds"] / own["timestep"]), 2, train[0])
    exam = taught[len(taught) // 2 :]
    exam = labelled([exam[i] for i in np.linspace(0, len(exam) - 1, test["frames"]).round().astype(int)])
    result["crystals alone"] = errors(known.model, exam, config)
    result["on the fly"] = errors(found.posterior.model, exam, config)
    drawn = []
    for seed in range(test["draws"]):
        chosen = np.random.default_rng(seed).choice(len(melt), len(found.frames), replace=len(found.frames) > len(melt))
        model = jp.fit.update(known, dataset(labelled([melt[i] for i in chosen]), config)).model
        drawn.append(errors(model, exam, config))
    result["at random, mean"] = {name: float(np.mean([e[name] for e in drawn])) for name in drawn[0]}
    result["at random, spread"] = {name: float(np.std([e[name] for e in drawn], ddof=1)) for name in drawn[0]}
    (output / "results.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


def shortest(atoms) -> float:
    """The shortest distance, in Å."""
    distances = atoms.get_all_distances(mic=True)
    return np.min(distances[~np.eye(len(atoms), dtype=bool)])


if __name__ == "__main__":
    main()
