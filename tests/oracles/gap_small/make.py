"""How the files of this folder were made: small random GAPs, fitted by gap_fit and evaluated by quippy (quippy-ase 0.10.3).

Run here, with gap_fit on the path: `python make.py`. Energies and forces of the fits mean nothing; only their prediction is compared.
"""

import subprocess
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from quippy.potential import Potential


def frames(symbols, n, seed):
    """Five atoms at random in a triclinic cell, no closer than 1.5 Å."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        elements = [symbols[i] for i in rng.integers(len(symbols), size=5)]
        cell = np.diag([4.4, 4.7, 14.0]) + rng.normal(size=(3, 3)) * 0.2
        atoms = Atoms(elements, positions=rng.uniform(0, 3.2, (5, 3)), cell=cell, pbc=True)
        if min(atoms.get_all_distances(mic=True)[np.triu_indices(5, 1)]) > 1.5:
            atoms.info["dft_energy"] = float(rng.normal() - 10)
            atoms.arrays["dft_forces"] = rng.normal(size=(5, 3))
            found.append(atoms)
    return found


def fit(name, gap, symbols, *more):
    e0 = ":".join(f"{s}:{-1.5 - i}" for i, s in enumerate(symbols))
    ase.io.write(f"{name}.xyz", frames(symbols, 12 * len(symbols), seed=1), format="extxyz")
    command = [
        "gap_fit", f"at_file={name}.xyz", f"gap={{{gap}}}", "default_sigma={0.01 0.1 0.1 0.0}", f"e0={{{e0}}}", "sparse_jitter=1e-8",
        "energy_parameter_name=dft_energy", "force_parameter_name=dft_forces", f"gp_file={name}.xml", "do_copy_at_file=F", "rnd_seed=1", *more,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    # gap_fit names the files by the time of day
    text = Path(f"{name}.xml").read_text()
    label = text.split('label="', 1)[1].split('"', 1)[0]
    for i, file in enumerate(sorted(Path().glob(f"{name}.xml.sparseX.{label}*")), 1):
        text = text.replace(f'"{file.name}"', f'"{name}.sparse{i}"')
        file.rename(f"{name}.sparse{i}")
    lines = [line for line in text.replace(label, name).splitlines() if not (line.strip().startswith("<e0") and 'value=".0000' in line)]
    Path(f"{name}.xml").write_text("\n".join(lines) + "\n")
    for left in (f"{name}.xyz", f"{name}.xyz.idx"):
        Path(left).unlink(missing_ok=True)


def evaluate(name, structures, init=""):
    quip, found = Potential(init, param_filename=f"{name}.xml"), {}
    for i, atoms in enumerate(structures):
        atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        quip.calculate(atoms, ["energy", "forces", "stress"])
        stress = quip.results["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        values = {
            "numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "energy": quip.results["energy"],
            "forces": quip.results["forces"], "virial": -atoms.get_volume() * stress,
        }  # fmt: skip
        found |= {f"{i}/{key}": value for key, value in values.items()}
    np.savez_compressed(f"{name}.npz", **found)


def table(knots, energies, **ends):
    ends = "".join(f' {name}="{slope}"' for name, slope in ends.items())
    points = "".join(f'<point r="{r}" E="{e}"/>' for r, e in zip(knots, energies, strict=True))
    return f'<potential_pair num_points="{len(knots)}"{ends}>{points}</potential_pair>'


def core(name):
    """A core potential with all kinds of ends, as steep as real ones, and the density that QUIP asks for but does not use."""
    unused = (
        '<density num_points="2" density_y1="0.0" density_yn="0.0"><point a="0.5" rho="0.0"/><point a="1.0" rho="0.0"/></density>'
        '<potential_density num_points="2"><point rho="0.0" E="0.0"/><point rho="1.0" E="0.0"/></potential_density>'
    )
    of = {
        (2, 2): table([1.2, 1.5, 1.8, 2.1, 2.3, 2.5], [13.5, 2.9, 0.8, 0.3, 0.05, 0.0], y1="1.0e50", yn="0.0"),
        (1, 2): table([1.0, 1.5, 1.8, 2.1, 2.3], [9.5, 2.2, 0.7, 0.3, 0.1], y1="-20.0", yn="1.0e50"),
        (1, 1): table([1.9, 2.0, 2.2, 2.6], [7.5, 2.2, 0.7, 0.0]),
    }
    types = "".join(f'<per_type_data atomic_num="{z}" type="{t}">{unused}</per_type_data>\n' for t, z in ((1, 6), (2, 14)))
    pairs = "".join(f'<per_pair_data type1="{a}" type2="{b}">{text}</per_pair_data>\n' for (a, b), text in of.items())
    Path(name).write_text(f'<Glue_params n_types="2">\n{types}{pairs}</Glue_params>\n')


def main():
    se = "covariance_type=ard_se sparse_method=uniform add_species=T"
    two, three = "cutoff=3.5 cutoff_transition_width=0.8 n_sparse=5 delta=1.0", "cutoff=2.9 cutoff_transition_width=0.6 delta=0.5"
    once = "compact_clusters=F"
    fit("nb_si", f"distance_Nb order=2 {two} theta_uniform=1.0 {se} : distance_Nb order=3 {three} n_sparse=8 theta_uniform=0.9 {se}", ["Si"])
    odd = se.replace("add_species=T", "add_species=F Z={{6 6 14}}")
    fit("nb_sic", f"distance_Nb order=2 {once} {two} theta_uniform=1.0 {se} : distance_Nb order=3 {once} {three} n_sparse=6 theta_fac=0.4 {odd}", ["C", "Si"])
    fit("nb_hco", f"distance_Nb order=3 {once} {three} n_sparse=4 theta_uniform=0.9 {se}", ["H", "C", "O"])
    core("glue.xml")
    two = "distance_2b cutoff=3.5 cutoff_transition_width=0.8 n_sparse=5 delta=1.0 theta_uniform=1.0"
    fit("core", f"{two} {se}", ["C", "Si"], "core_param_file=glue.xml", "core_ip_args={IP Glue}")
    Path("glue.xml").unlink()
    evaluate("nb_si", frames(["Si"], 3, seed=2))
    evaluate("nb_sic", frames(["C", "Si"], 3, seed=3))
    evaluate("nb_hco", frames(["H", "C", "O"], 3, seed=4))
    evaluate("core", frames(["C", "Si"], 3, seed=5))


if __name__ == "__main__":
    main()
