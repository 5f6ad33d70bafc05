"""Models of the sGDML code, one .npz file each."""

import os
from pathlib import Path

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.descriptors.distances import InverseDistances, place_permutations
from jaxpot.heads.references import References
from jaxpot.io.text import one_line_refusals, require_path
from jaxpot.math.kernels import Matern
from jaxpot.potentials.gdml import GradientDomain
from jaxpot.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL, SYMBOLS

_ENERGIES = {"eV": 1.0, "kcal/mol": KCAL_PER_MOL, "kJ/mol": KJ_PER_MOL, "Hartree": HARTREE}
_WRITTEN = {  # how else a unit is written, without capitals, spaces, * and ^
    "eV": ("electronvolt", "electronvolts"), "kcal/mol": ("kcalmol-1", "kcalpermol", "kilocalorie/mole"), "kJ/mol": ("kjmol-1", "kjpermol"),
    "Hartree": ("ha", "eh", "hartrees"),
}  # fmt: skip
_ENERGY_NAMES = {other.lower(): name for name in _ENERGIES for other in (name, *_WRITTEN[name])}
_LENGTHS = dict.fromkeys(("angstrom", "angstroms", "ang", "a", "å", "ångström", "ångstrom"), 1.0) | dict.fromkeys(("bohr", "bohrs", "a0"), BOHR)
_NEEDED = ("type", "z", "R_desc", "R_d_desc_alpha", "c", "std", "sig", "perms", "tril_perms_lin")
# the history of a model, which does not enter its predictions
_HISTORY = (
    "code_version", "dataset_name", "dataset_theory", "solver_name", "solver_tol", "solver_iters", "solver_resid", "inducing_pts_idxs", "norm_y_train",
    "n_inducing_pts_init", "idxs_train", "md5_train", "idxs_valid", "md5_valid", "n_test", "md5_test", "md5", "lam", "alphas_F", "f_err", "e_err",
    "f_err_mae_rmse", "e_err_mae_rmse", "use_E", "use_sym", "use_E_cstr", "use_cprsn", "r_unit", "e_unit",
    # of mbGDML: which part of a many-body expansion it is, and within which distance that part is to be counted
    "entity_ids", "comp_ids", "criteria", "z_slice", "cutoff", "mbgdml_version",
)  # fmt: skip


@one_line_refusals("an sGDML model (.npz)")
def read_sgdml(path: str | os.PathLike, *, energy_unit: str | None = None, length_unit: str | None = None) -> GradientDomain:
    """A trained model of the sGDML code (also as mbGDML keeps it): one molecule, atoms in the order of the file.

    The criterion by which mbGDML counts a part of a many-body expansion stays with the user: the model is the plain function of all
    atoms in the file.

    Args:
      path: the .npz file; lengths are in Å unless it says otherwise.
      energy_unit: "eV", "kcal/mol", "kJ/mol" or "Hartree", for a file that does not say which, or in other words.
      length_unit: "Angstrom" or "Bohr", for a file that says it in other words.

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
    keys, content = _arrays(path)
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise ValueError(f"{path} is no trained sGDML model: it lacks {', '.join(missing)}")
    unknown = sorted(keys - {*_NEEDED, *_HISTORY})
    if unknown:
        raise ValueError(f"{path}: the keys {', '.join(unknown)} are not implemented; periodic lattices and energy constraints are not read")
    if (kind := _text(content["type"])) != "m":
        raise ValueError(f"{path}: type {kind!r}; expected 'm', a trained model")
    for key in ("use_cprsn", "use_E_cstr"):
        if key in content and np.any(content[key]):
            raise ValueError(f"{path}: {key} is true; such models are not read")
    energy, length = _energy_unit(content, path, energy_unit), _length_unit(content, path, length_unit)
    numbers = _whole(content["z"], f"{path}: z").reshape(-1)
    if not np.all((numbers > 0) & (numbers < len(SYMBOLS))):
        raise ValueError(f"{path}: z must be atomic numbers, got {numbers.tolist()}")
    atoms = tuple(SYMBOLS[z] for z in numbers)
    descriptor = InverseDistances(atoms)
    permutations = tuple(map(tuple, np.atleast_2d(_whole(content["perms"], f"{path}: perms")).tolist()))
    features, pushed = (_real(content[key], f"{path}: {key}") for key in ("R_desc", "R_d_desc_alpha"))
    d = descriptor.n_features
    if pushed.ndim != 2 or features.shape != pushed.shape[::-1] or features.shape[0] != d or {len(p) for p in permutations} != {len(atoms)}:
        raise ValueError(
            f"{path}: R_desc {features.shape}, R_d_desc_alpha {pushed.shape} and perms {np.shape(content['perms'])} do not belong to {len(atoms)} atoms"
        )
    if any(sorted(p) != list(range(len(atoms))) for p in permutations):
        raise ValueError(f"{path}: perms must be permutations of 0 to {len(atoms) - 1}")
    index, stored = place_permutations(permutations), _whole(content["tril_perms_lin"], f"{path}: tril_perms_lin")
    if stored.size != index.size or sorted(map(tuple, stored.reshape(d, -1).T % d)) != sorted(map(tuple, index)):
        raise ValueError(f"{path}: perms and tril_perms_lin are not the same permutations")
    sigma, scale, constant = (_real(content[key], f"{path}: {key}") for key in ("sig", "std", "c"))
    if not sigma.size == scale.size == constant.size == 1:
        raise ValueError(f"{path}: sig, std and c must be one number each, got shapes {sigma.shape}, {scale.shape} and {constant.shape}")
    # in 1/Å: the references, the length of the kernel, and the directions, which a derivative by the references divides
    references = References(features=features.T / length, directions=pushed[:, None] / length)
    model = GradientDomain(descriptor, Matern(sigma.item() / length), permutations, references=references)
    return model.with_coefficients(np.append(np.full(len(pushed), -scale.item() * energy), constant.item() * energy))


def _arrays(path: Path) -> tuple[set[str], dict[str, np.ndarray]]:
    """All keys, and the arrays of those that are used; errors are kept as pickled objects, which are not opened."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected an sGDML model (.npz)")
    if not path.exists():
        raise FileNotFoundError(f"no sGDML model at {path}")
    used = (*_NEEDED, "use_cprsn", "use_E_cstr", "r_unit", "e_unit")
    try:
        with np.load(path, allow_pickle=False) as file:
            return set(file.files), {key: file[key] for key in used if key in file.files}
    except Exception as error:  # archives break in a dozen ways
        raise ValueError(f"{path} is not a readable .npz file of plain arrays ({type(error).__name__}: {error})") from None


def _real(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers, got {array.dtype}")
    return require_finite(array.astype(float), name)


def _whole(array: np.ndarray, name: str) -> np.ndarray:
    values = _real(array, name)
    if np.any(values != np.round(values)):
        raise ValueError(f"{name} must be whole numbers, got {values.reshape(-1)[:5].tolist()}")
    return values.astype(int)


def _text(array: np.ndarray) -> str:
    value = array.reshape(-1)[0] if array.size == 1 else array
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(text: str) -> str:
    return text.lower().translate(dict.fromkeys(map(ord, " *^._()·")))


def _length_unit(content: dict[str, np.ndarray], path: Path, given: str | None) -> float:
    """That of the file, in Å; the caller's where the file says it in words that are not known."""
    if given is not None and given not in ("Angstrom", "Bohr"):
        raise ValueError(f"{path}: length_unit={given!r}; expected Angstrom or Bohr")
    text = _text(content["r_unit"]) if "r_unit" in content else None
    stated = None if text is None else _LENGTHS.get(_plain(text))
    if text is not None and stated is None and given is None:
        raise ValueError(f'{path}: lengths in {text!r}; expected Angstrom or Bohr: write read_sgdml("{path}", length_unit="Angstrom") with the one it is')
    own = None if given is None else _LENGTHS[given.lower()]
    if None not in (stated, own) and stated != own:
        raise ValueError(f'{path}: lengths are in {text}, not in {given}; write read_sgdml("{path}")')
    return stated or own or 1.0


def _energy_unit(content: dict[str, np.ndarray], path: Path, given: str | None) -> float:
    """That of the file, in eV; the caller's where the file does not say, or in words that are not known."""
    if given is not None and given not in _ENERGIES:
        raise ValueError(f"{path}: energy_unit={given!r}; expected one of {', '.join(_ENERGIES)}")
    text = _text(content["e_unit"]) if "e_unit" in content else None
    name = None if text is None else _ENERGY_NAMES.get(_plain(text))
    if name is None and given is None:
        found = "the file does not say in which unit energies are" if text is None else f"energies in {text!r}"
        raise ValueError(f'{path}: {found}; expected one of {", ".join(_ENERGIES)}: write read_sgdml("{path}", energy_unit="kcal/mol") with the one it is')
    if None not in (name, given) and name != given:
        raise ValueError(f'{path}: energies are in {text}, not in {given}; write read_sgdml("{path}")')
    return _ENERGIES[name or given]


def write_sgdml(path: str | os.PathLike, model: GradientDomain) -> Path:
    """Writes a fitted model as the sGDML code reads it, in eV and Å.

    Args:
      path: the .npz file.
      model: with a Matern kernel of ν = 5/2 and one length.

    Returns:
      The path.

    Raises:
      TypeError: if the model is no GradientDomain.
      ValueError: if the model is not fitted, or has another kernel.

    Example:
      >>> import tempfile
      >>> references = References(features=np.ones((1, 1)), directions=np.ones((1, 1, 1)))
      >>> model = GradientDomain(InverseDistances(("H", "H")), Matern(8.0), references=references)
      >>> file = write_sgdml(tempfile.mkdtemp() + "/h2.npz", model.with_coefficients(np.array([2.0, -31.0])))
      >>> read_sgdml(file).coefficients.tolist()
      [-1.0, -31.0]
    """
    require_path(path, 'write_sgdml("model.npz", model)')
    if not isinstance(model, GradientDomain):
        raise TypeError(f"write_sgdml: sGDML's files hold a GradientDomain, got {type(model).__name__}")
    if model.coefficients is None:
        raise ValueError("write_sgdml: the model has no coefficients yet; write model = jaxpot.fit.linear(model, data)")
    if not isinstance(model.kernel, Matern) or model.kernel.nu != 2.5 or np.ndim(model.kernel.length):
        raise ValueError(f"write_sgdml: sGDML knows Matern(length) with nu=2.5 and one length, got {model.kernel}")
    w, directions = np.asarray(model.coefficients, float), np.asarray(model.references.directions, float)
    pushed = -(float(model.delta) ** 2) * np.einsum("ma,mad->md", w[:-1].reshape(directions.shape[:2]), directions)
    index = place_permutations(model.permutations)
    partial = Path(path).with_name(Path(path).name + ".partial")
    with open(partial, "wb") as file:
        np.savez(
            file, type=np.array("m"), code_version=np.array("jaxpot"), dataset_name=np.array("jaxpot"), dataset_theory=np.array("unknown"),
            z=model.descriptor.numbers, R_desc=np.asarray(model.references.features, float).T, R_d_desc_alpha=pushed, c=w[-1], std=np.array(1.0),
            sig=np.array(float(model.kernel.length)), perms=np.array(model.permutations),
            tril_perms_lin=(index + index.shape[1] * np.arange(len(index))[:, None]).T.reshape(-1), use_E=np.array(True),
            e_unit=np.array("eV"), r_unit=np.array("Ang"),
        )  # fmt: skip
    os.replace(partial, path)
    return Path(path)
