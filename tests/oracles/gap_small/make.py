"""How the files of this folder were made: small random GAPs, fitted by gap_fit and evaluated by quippy (quippy-ase 0.10.3).

Run here, with gap_fit on the path: `python make.py`. Energies and forces of the fits mean nothing; only their prediction is compared.
"""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from quippy.descriptors import Descriptor
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


def differences(quip, atoms, h=4e-3):
    """Forces as sixth-order differences of energies."""
    forces = np.zeros((len(atoms), 3))
    for i, x in np.ndindex(forces.shape):
        for step, weight in ((1, 45), (2, -9), (3, 1)):
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[i, x] += sign * step * h
                quip.calculate(moved, ["energy"])
                forces[i, x] -= sign * weight * quip.results["energy"] / (60 * h)
    return forces


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
        if name.startswith("turbo"):  # whose forces are not the derivatives of its energies, by up to 3e-7 eV/Å
            values["forces_fd"] = differences(quip, atoms)
        found |= {f"{i}/{key}": value for key, value in values.items()}
    np.savez_compressed(f"{name}.npz", **found)


WATER = Atoms("OHHOHH", positions=[[0, 0, 0], [0.96, 0.1, 0], [-0.2, 0.9, 0.3], [2.6, 0.3, 0.4], [2.9, 1.2, 0.5], [3.2, -0.3, 0.9]], cell=[15, 15, 15])
DOT = "covariance_type=dot_product sparse_method=cur_points n_sparse=6 delta=1.0 zeta=2"
SOAP = "soap cutoff=4.0 cutoff_transition_width=1.0 l_max=2 n_max=3 atom_sigma=0.5 n_species=2 species_Z={1 8} Z=8"
COMPRESSIONS = [
    *(f"nu_R={r} nu_S={s}" for r in range(3) for s in range(3)),
    *(f"R_mix={r} Z_mix={z} sym_mix={s} coupling={c} K=2" for r in "FT" for z in "FT" for s in "FT" for c in "FT" if "T" in (r, z)),
    "R_mix=T Z_mix=T K=2 mix_shift=7", "diagonal_radial=T", "coupling=F", "coupling=F nu_R=2 nu_S=0", "Z_map={1, 8}", "Z_map={1 8:1, 8}", "nu_R=1 nu_S=1 normalise=F",
]  # fmt: skip


def turbo(species, n, l_max, basis, more):
    """One descriptor for each element in the centre."""
    numbers = {"alpha_max": n, "atom_sigma_r": [0.5, 0.4], "atom_sigma_t": [0.45, 0.5], "atom_sigma_r_scaling": [0.05, 0.1], "atom_sigma_t_scaling": [0.08, 0.0]}
    numbers |= {"amplitude_scaling": [1.0, 2.0], "central_weight": [0.8, 1.2]} if len(n) == 2 else {"amplitude_scaling": [1.5]}
    numbers["species_Z"] = species
    each = " ".join(f"{name}={{{{{' '.join(map(str, values[: len(n)]))}}}}}" for name, values in numbers.items())
    common = f"soap_turbo l_max={l_max} rcut_hard=3.8 rcut_soft=3.2 basis={basis} scaling_mode=polynomial {each} n_species={len(n)} {more} {DOT} add_species=F"
    return " : ".join(f"{common} central_index={i + 1}" for i in range(len(n)))


def in_a_new_process(function, *arguments):
    """QUIP keeps the radial functions of the first soap_turbo that a process asks for."""
    subprocess.run([sys.executable, __file__, function, *arguments], check=True, capture_output=True)


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


def power_spectra():
    """soap_turbo in both bases with and without compression, and compressed soap."""
    rows = np.random.default_rng(0).normal(size=(7, 4))
    columns = np.random.default_rng(1).integers(1, 21 * 3 + 1, size=(7, 4))
    lines = [f"{i + 1} {columns[i, j]} {rows[i, j]:.16e}" for i in range(7) for j in range(4)]
    Path("turbo_file.compress").write_text("\n".join(["3 3 2 7", "P_transformation", *lines, "end_transformation"]) + "\n")
    fit("turbo_si", turbo([14], [5], 3, "poly3", "radial_enhancement=1"), ["Si"])
    fit("turbo_sic", turbo([6, 14], [4, 5], 3, "poly3gauss", "radial_enhancement=2 compress_mode=trivial"), ["C", "Si"])
    fit("turbo_mode", turbo([6, 14], [4, 4], 3, "poly3gauss", "compress_mode=1_2 nf=5.0"), ["C", "Si"])
    fit("turbo_file", turbo([6, 14], [3, 3], 2, "poly3", "compress_file=turbo_file.compress"), ["C", "Si"])
    soap = f"soap cutoff=3.5 cutoff_transition_width=0.8 l_max=2 n_max=3 atom_sigma=0.5 {DOT} add_species=T"
    fit("compressed", f"{soap} nu_R=1 nu_S=1 : {soap} R_mix=T Z_mix=T sym_mix=T K=3 : {soap} Z_mix=T coupling=F K=2", ["C", "Si"])
    for name in ("turbo_si", "turbo_sic", "turbo_mode", "turbo_file", "compressed"):
        in_a_new_process("power_spectrum", name)
    values = {text: Descriptor(f"{SOAP} {text}").calc(WATER)["data"] for text in COMPRESSIONS}
    np.savez_compressed("compressions.npz", settings=SOAP, positions=WATER.positions, numbers=WATER.numbers, **values)


def power_spectrum(name):
    evaluate(name, frames(["Si"] if name.endswith("_si") else ["C", "Si"], 3, seed=6))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        globals()[sys.argv[1]](*sys.argv[2:])
    else:
        main()
        power_spectra()
