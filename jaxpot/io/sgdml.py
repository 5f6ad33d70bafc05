"""Models of the sGDML code, one .npz file each."""

import os
import zipfile
from pathlib import Path

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.descriptors.distances import InverseDistances, place_permutations
from jaxpot.math.kernels import Matern
from jaxpot.potentials.gdml import GradientDomain
from jaxpot.units import HARTREE, KCAL_PER_MOL, KJ_PER_MOL, SYMBOLS

_ENERGIES = {"eV": 1.0, "kcal/mol": KCAL_PER_MOL, "kJ/mol": KJ_PER_MOL, "Hartree": HARTREE}
_LENGTHS = ("Angstrom", "Ang", "A", "Å")
_NEEDED = ("type", "z", "R_desc", "R_d_desc_alpha", "c", "std", "sig", "perms", "tril_perms_lin")
# the history of a model, which does not enter its predictions
_HISTORY = (
    "code_version", "dataset_name", "dataset_theory", "solver_name", "solver_tol", "solver_iters", "solver_resid", "inducing_pts_idxs", "norm_y_train",
    "n_inducing_pts_init", "idxs_train", "md5_train", "idxs_valid", "md5_valid", "n_test", "md5_test", "md5", "lam", "alphas_F", "f_err", "e_err",
    "f_err_mae_rmse", "e_err_mae_rmse", "use_E", "use_sym", "use_E_cstr", "use_cprsn", "r_unit", "e_unit",
    # of mbGDML: which part of a many-body expansion it is, and within which distance that part is to be counted
    "entity_ids", "comp_ids", "criteria", "z_slice", "cutoff", "mbgdml_version",
)  # fmt: skip


def read_sgdml(path: str | os.PathLike, *, energy_unit: str | None = None) -> GradientDomain:
    """A trained model of the sGDML code (also as mbGDML keeps it): one molecule, atoms in the order of the file.

    The criterion by which mbGDML counts a part of a many-body expansion stays with the user: the model is the plain function of all
    atoms in the file.

    Args:
      path: the .npz file, lengths in Å.
      energy_unit: "eV", "kcal/mol", "kJ/mol" or "Hartree", for a file that does not say which.

    Returns:
      The potential. Its references are stored as inverse distances, each with one direction: what training made of all of them.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a file that is no such model, unknown keys (named), lattices, energy constraints, compressed models, or other units.

    References:
      Chmiela, Sauceda, Poltavsky, Müller, Tkatchenko, "sGDML: Constructing accurate and data efficient molecular force fields using machine
      learning", Comput. Phys. Commun. 240, 38 (2019).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no sGDML model at {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            keys, used = set(file.files), (*_NEEDED, "use_cprsn", "use_E_cstr", "r_unit", "e_unit")
            content = {key: file[key] for key in used if key in keys}  # errors are kept as pickled objects, which are not opened
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is not a readable .npz file of plain arrays ({error})") from None
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise ValueError(f"{path} is no trained sGDML model: it lacks {', '.join(missing)}")
    unknown = sorted(keys - {*_NEEDED, *_HISTORY})
    if unknown:
        raise ValueError(f"{path}: the keys {', '.join(unknown)} are not implemented; periodic lattices and energy constraints are not read")
    kind = content["type"].item()
    if kind not in ("m", b"m"):
        raise ValueError(f"{path}: type {kind!r}; expected 'm', a trained model")
    for key in ("use_cprsn", "use_E_cstr"):
        if key in content and bool(content[key]):
            raise ValueError(f"{path}: {key} is true; such models are not read")
    unit = _unit(content, path, energy_unit)
    atoms = tuple(SYMBOLS[z] for z in np.asarray(content["z"], int).reshape(-1))
    descriptor = InverseDistances(atoms)
    permutations = tuple(tuple(int(i) for i in p) for p in np.atleast_2d(content["perms"]))
    features, pushed = (require_finite(content[key], f"{path}: {key}") for key in ("R_desc", "R_d_desc_alpha"))
    m, d = pushed.shape[0], descriptor.n_features
    if features.shape != (d, m) or pushed.shape != (m, d) or {len(p) for p in permutations} != {len(atoms)}:
        raise ValueError(
            f"{path}: R_desc {features.shape}, R_d_desc_alpha {pushed.shape} and perms {np.shape(content['perms'])} do not belong to {len(atoms)} atoms"
        )
    index = place_permutations(permutations)
    stored = np.asarray(content["tril_perms_lin"], int).reshape(d, -1).T
    if sorted(map(tuple, stored % d)) != sorted(map(tuple, index)):
        raise ValueError(f"{path}: perms and tril_perms_lin are not the same permutations")
    model = GradientDomain(
        descriptor, Matern(float(content["sig"])), permutations, features=features.T, directions=pushed[:, None, :]
    )
    factor = require_finite(content["std"], f"{path}: std") * unit
    return model.with_coefficients(np.append(np.full(m, -factor), require_finite(content["c"], f"{path}: c") * unit))


def _unit(content: dict[str, np.ndarray], path: Path, given: str | None) -> float:
    if "r_unit" in content and str(content["r_unit"]) not in _LENGTHS:
        raise ValueError(f"{path}: lengths in {content['r_unit']}; expected {' or '.join(_LENGTHS)}")
    name = str(content["e_unit"]) if "e_unit" in content else given
    if name not in _ENERGIES:
        found = "the file does not say in which unit energies are" if name is None else f"energies in {name}"
        raise ValueError(f'{path}: {found}; expected {", ".join(_ENERGIES)}, for example read_sgdml(path, energy_unit="kcal/mol")')
    if given is not None and given != name:
        raise ValueError(f"{path}: energies are in {name}, not in {given}")
    return _ENERGIES[name]


def write_sgdml(model: GradientDomain, path: str | os.PathLike) -> Path:
    """Writes a fitted model as the sGDML code reads it, in eV and Å.

    Args:
      model: with a Matern kernel of ν = 5/2 and one length.
      path: the .npz file.

    Returns:
      The path.

    Raises:
      ValueError: if the model is not fitted, or has another kernel.

    Example:
      >>> import tempfile
      >>> model = GradientDomain(InverseDistances(("H", "H")), Matern(8.0), features=np.ones((1, 1)), directions=np.ones((1, 1, 1)))
      >>> file = write_sgdml(model.with_coefficients(np.array([2.0, -31.0])), tempfile.mkdtemp() + "/h2.npz")
      >>> read_sgdml(file).coefficients.tolist()
      [-1.0, -31.0]
    """
    if model.coefficients is None:
        raise ValueError("write_sgdml: the model has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
    if not isinstance(model.kernel, Matern) or model.kernel.nu != 2.5 or np.ndim(model.kernel.length):
        raise ValueError(f"write_sgdml: sGDML knows Matern(length) with nu=2.5 and one length, got {model.kernel}")
    w, directions = np.asarray(model.coefficients, float), np.asarray(model.directions, float)
    pushed = -(float(model.delta) ** 2) * np.einsum("ma,mad->md", w[:-1].reshape(directions.shape[:2]), directions)
    index = place_permutations(model.permutations)
    partial = Path(path).with_name(Path(path).name + ".partial")
    with open(partial, "wb") as file:
        np.savez(
            file, type=np.array("m"), code_version=np.array("jaxpot"), dataset_name=np.array("jaxpot"), dataset_theory=np.array("unknown"),
            z=model.descriptor.numbers, R_desc=np.asarray(model.features, float).T, R_d_desc_alpha=pushed, c=w[-1], std=np.array(1.0),
            sig=np.array(float(model.kernel.length)), perms=np.array(model.permutations),
            tril_perms_lin=(index + index.shape[1] * np.arange(len(index))[:, None]).T.reshape(-1), use_E=np.array(True),
            e_unit=np.array("eV"), r_unit=np.array("Ang"),
        )  # fmt: skip
    os.replace(partial, path)
    return Path(path)
