"""GAP potentials of QUIP and gap_fit: reading the XML file with its sparse points."""

import functools
import hashlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_finite
from jaxpot.descriptors.base import Descriptor, LocalDescriptor
from jaxpot.descriptors.clusters import ClusterDescriptor, CompactTriangles, ThreeBody, TriangleDescriptor, Triangles, TwoBody, instances_of
from jaxpot.graph import Environment, Graph, environments, only
from jaxpot.heads.references import References
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.io.gap_soap import flag, soap, soap_turbo
from jaxpot.io.gap_xml import OLDEST, atomic_number, count, gap_params, isolated_energies, read_tree, real, settings_of, truth
from jaxpot.io.glue import read_glue
from jaxpot.io.text import integer, number, one_line_refusals
from jaxpot.math.cutoffs import CosineCutoff
from jaxpot.math.kernels import PolynomialKernel, SquaredExponential, Symmetrised
from jaxpot.math.linalg import einsum
from jaxpot.passes import condense
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import IsolatedAtoms, Potential, Sum, terms_of
from jaxpot.trees import fits
from jaxpot.units import SYMBOLS

Array = jax.Array

# keys of gap_fit that say how the fit was made; the result of the fit is in the file
_OF_THE_FIT = {
    "add_species", "config_type_n_sparse", "covariance_type", "delta", "f0", "mark_sparse_atoms", "n_sparse", "print_sparse_index", "sparse_file",
    "sparse_method", "theta", "theta_fac", "theta_file", "theta_uniform", "unique_descriptor_tolerance", "unique_hash_tolerance", "zeta",
}  # fmt: skip
_NEUTRAL = {  # keys that are read only where they mean what happens without them
    "soap": {"average": "F", "basis_error_exponent": "10.0", "n_Z": "1", "radial_basis": "EQUISPACED_GAUSS"},
    "soap_turbo": {},
    "distance_2b": {"only_intra": "F", "only_inter": "F", "n_exponents": "1", "exponents": "1", "tail_exponent": "0", "tail_range": "1.0"},
    "angle_3b": {},
    "distance_Nb": {},
}  # fmt: skip
_NEEDED = ("dimensions", "signal_variance", "signal_mean", "sparsified", "n_permutations", "covariance_type", "n_sparseX")  # without them QUIP stops
_LARGEST = 10**7  # of counts
_READ = {
    "soap": {
        "K", "R_mix", "Z", "Z_map", "Z_mix", "atom_sigma", "central_reference_all_species", "central_weight", "coupling", "covariance_sigma0", "cutoff",
        "cutoff_dexp", "cutoff_rate", "cutoff_scale", "cutoff_transition_width", "diagonal_radial", "l_max", "mix_shift", "n_max", "n_species", "normalise",
        "normalize", "nu_R", "nu_S", "species_Z", "sym_mix", "xml_version",
    },
    "soap_turbo": {
        "alpha_max", "amplitude_scaling", "atom_sigma", "atom_sigma_r", "atom_sigma_r_scaling", "atom_sigma_scaling", "atom_sigma_t",
        "atom_sigma_t_scaling", "basis", "central_index", "central_weight", "compress_file", "compress_mode", "cutoff", "cutoff_transition_width", "l_max",
        "n_max", "n_species", "nf", "radial_enhancement", "rcut_hard", "rcut_soft", "scaling_mode", "species_Z",
    },
    "distance_2b": {"cutoff", "cutoff_transition_width", "Z1", "Z2"},
    "angle_3b": {"cutoff", "cutoff_transition_width", "Z", "Z_center", "Z1", "Z2"},
    "distance_Nb": {"compact_clusters", "cutoff", "cutoff_transition_width", "order", "xml_version", "Z"},
}  # fmt: skip


@one_line_refusals("a GAP file")
def read_gap(path: str | Path, *, species: tuple[str, ...] | None = None) -> Potential:
    """A published GAP: descriptors `distance_2b`, `angle_3b`, `distance_Nb` of order 2 and 3, `soap` with all its compressions, and `soap_turbo`,
    with the energies of isolated atoms.

    Args:
      path: the XML file; its sparse points (and compressions) lie beside it, in the files that it names.
      species: the elements, for files whose descriptors name none (Z = 0).

    Returns:
      A Sum of one AtomicPotential per kind of descriptor, the element blocks of which are together (two processes of one kind are two terms), a
      PairSpline where there is a core potential, and IsolatedAtoms. Cutoffs and all other real numbers are leaves; sparse points keep their
      features. Atomic energies are QUIP's, except that those of `distance_Nb` of order 3 are shared out among the atoms in another way.

    Raises:
      FileNotFoundError: if the file or one of its sparse-point files is missing.
      ValueError: for what is not implemented (descriptors, covariances, keys, attributes, sums with other potentials than a core of pair splines),
        named; for a file that was not fitted, is older than 2015, contradicts its own counts, or whose sparse points do not belong to it.

    References:
      Bartók, Payne, Kondor, Csányi, Phys. Rev. Lett. 104, 136403 (2010);
      Klawohn et al., "Gaussian approximation potentials: theory, software implementation and application examples",
      J. Chem. Phys. 159, 174108 (2023).
    """
    path = Path(path)
    root = read_tree(path)
    params, has_core = gap_params(root, path)
    blocks = [_block(element, path, species) for element in params.find("gpSparse").findall("gpCoordinates")]
    merged: dict[Any, list[dict]] = {}
    for i, block in enumerate(blocks):
        # a term has each kind once; of two processes of one kind both are kept, each with its own points and variance
        before = sum((other["key"], other["of"]) == (block["key"], block["of"]) for other in blocks[:i])
        merged.setdefault((before, block["key"]), []).append(block)
    terms = [_term(together) for together in merged.values()]
    known = tuple(dict.fromkeys(s for term in terms for s in term.species))
    if has_core:
        terms += read_glue(root, known, f"{path}, core potential")
    e0 = isolated_energies(params, path)
    lacking = [s for s in known if SYMBOLS.index(s) not in e0]
    if lacking:
        raise ValueError(f"{path} has no energy e0 of the isolated atoms of {', '.join(lacking)}")
    return Sum((*terms, IsolatedAtoms({s: e0[SYMBOLS.index(s)] for s in known})))


def _symbols(numbers: list[int], species: tuple[str, ...] | None, path: Path) -> tuple[str, ...]:
    if all(numbers):
        return tuple(SYMBOLS[z] for z in numbers)
    if species is None or len(species) != len(numbers):
        raise ValueError(
            f'{path}: a descriptor names no element (Z = 0), so it takes every atom; write read_gap("{path.name}", species=("Mo",)) with '
            f"{'the element' if len(numbers) == 1 else f'{len(numbers)} elements'} it was fitted to, got {species}"
        )
    return tuple(species)


def _block(element: ElementTree.Element, path: Path, species: tuple[str, ...] | None) -> dict:
    """One gpCoordinates: its model and points, and a key that is equal for those that can share a term."""
    label = f"{path.name}, {element.get('label')}"
    name, settings = settings_of(element.findtext("descriptor", ""), label)
    if name not in _READ:
        raise ValueError(f"{label}: the descriptor {name} is not read; those that are: {', '.join(sorted(_READ))}")
    for key, value in settings.items():
        if key in _OF_THE_FIT or key in _READ[name]:
            continue
        if key not in _NEUTRAL[name]:
            raise ValueError(f"{label}: the key {key}={value} of {name} is not implemented")
        neutral = _NEUTRAL[name][key]
        if value.upper() != neutral and not (_is_number(value) and _is_number(neutral) and float(value) == float(neutral)):
            raise ValueError(f"{label}: {key}={value} of {name} is not implemented, only {neutral}")
    lacking = [key for key in _NEEDED if element.get(key) is None]
    if lacking:
        raise ValueError(f"{label}: gpCoordinates has no {', '.join(lacking)}")
    if not truth(element.get("sparsified"), f"{label}: sparsified"):
        raise ValueError(f"{label}: a process of all points (sparsified=F) is not implemented")
    dimensions = count(element.get("dimensions"), f"{label}: dimensions", _LARGEST)
    _check_permutations(element, 1 if name in ("soap", "soap_turbo") else dimensions, name, label)
    if number(element.get("signal_mean"), label) != 0:
        raise ValueError(f"{label}: a mean f0 = {element.get('signal_mean')} is not implemented, only 0")
    if integer(settings.get("xml_version", str(OLDEST)), label) < OLDEST:
        raise ValueError(f"{label}: xml_version={settings['xml_version']} of {name}; only versions since {OLDEST} (March 2015) are read")
    covariance, theta = integer(element.get("covariance_type"), label), element.findtext("theta")
    alpha, weights = _coefficients(element, label)
    block = {
        "label": label,
        "delta": number(element.get("signal_variance"), label),
        "points": _points(element, path, label, len(alpha), dimensions),
        "alpha": alpha,
        "weights": weights,
        "name": name,
        "settings": settings,
        "folder": path.parent,
    }
    if name in ("soap", "soap_turbo"):
        if covariance != 2:
            raise ValueError(f"{label}: covariance_type {covariance} of {name} is not implemented, only 2 (dot_product)")
        own = {k: v for k, v in settings.items() if k not in _OF_THE_FIT and k not in ("Z", "central_index")}
        numbers = [atomic_number(z, label) for z in settings.get("species_Z", settings.get("Z", "0")).split()]
        symbols = _symbols(numbers, species, path)
        if count(settings.get("n_species", str(len(numbers))), f"{label}: n_species", _LARGEST) != len(numbers):
            raise ValueError(f"{label}: n_species={settings['n_species']}, but species_Z={{{settings.get('species_Z', '')}}}")
        if name == "soap_turbo":
            index = count(settings.get("central_index", "1"), f"{label}: central_index", len(numbers))
            if not index:
                raise ValueError(f"{label}: central_index counts from 1, got 0")
            center = numbers[index - 1]
        else:
            center = atomic_number(settings.get("Z", str(numbers[0] if len(numbers) == 1 else 0)), label)
        if center == 0 and len(symbols) > 1:
            raise ValueError(f"{label}: soap for every centre (Z = 0) with several neighbour species is not implemented")
        if center and SYMBOLS[center] not in symbols:
            raise ValueError(f"{label}: the centre Z={center} is not among the species {numbers}, which is not implemented")
        zeta = _zeta(element, label)
        block |= {"symbols": symbols, "numbers": numbers, "kinds": [SYMBOLS[center] if center else symbols[0]], "zeta": zeta, "of": center}
        return block | {"key": (name, symbols, tuple(sorted(own.items())), zeta, block["delta"])}
    block["cutoff"] = CosineCutoff(real(settings, "cutoff", None, label), width=real(settings, "cutoff_transition_width", "0.5", label))
    if covariance != 1:
        raise ValueError(f"{label}: covariance_type {covariance} of {name} is not implemented, only 1 (ard_se)")
    if theta is None:
        raise ValueError(f"{label}: no length scale (theta) in the file")
    if element.get("zeta") is not None:
        raise ValueError(f"{label}: zeta={element.get('zeta')} belongs to a dot product, not to covariance_type 1 (ard_se)")
    if name == "distance_Nb":
        order = integer(settings.get("order", ""), f"{label}: order")
        if order not in (2, 3):
            raise ValueError(f"{label}: order={order} of distance_Nb is not implemented, only 2 and 3")
        numbers = sorted(atomic_number(z, label) for z in settings.get("Z", "0 " * order).split())
        compact = flag(settings, "compact_clusters", True)
        cluster = TwoBody if order == 2 else CompactTriangles if compact else Triangles
        if order == 2 and not compact:  # every pair once: half the energy at both atoms, as δ/2 and 2α
            block |= {"delta": block["delta"] / 2, "alpha": 2 * block["alpha"]}
    else:
        order = 2 if name == "distance_2b" else 3
        numbers = [atomic_number(settings.get(z, "0"), label) for z in ("Z1", "Z2")]
        cluster = TwoBody
        if name == "angle_3b":
            numbers, cluster = [atomic_number(settings.get("Z_center", settings.get("Z", "0")), label), *numbers], ThreeBody
    if len(numbers) != order or dimensions != order * (order - 1) // 2:
        raise ValueError(f"{label}: {name} of {order} atoms has Z of {len(numbers)} and dimensions={dimensions}")
    if not all(numbers) and (species is None or len(species) != 1):
        _symbols([0], None, path)
    kind = tuple(SYMBOLS[z] if z else species[0] for z in numbers)
    length = np.array([number(x, label) for x in theta.split()])
    if len(length) != dimensions:
        raise ValueError(f"{label}: theta has {len(length)} numbers; expected {dimensions}")
    if issubclass(cluster, TriangleDescriptor):
        block, kind, length = _triangle(block, element, kind, length, cluster)
    length = tuple(length)
    block |= {"symbols": tuple(dict.fromkeys(kind)), "kinds": [kind], "length": length, "class": cluster, "of": cluster.name(kind)}
    # one term has one cutoff and one kernel; of triangles those of as many elements have one symmetry
    sort = len(set(kind)) if issubclass(cluster, TriangleDescriptor) else None
    return block | {"key": (cluster, sort, settings["cutoff"], settings.get("cutoff_transition_width"), length, block["delta"])}


def _zeta(element: ElementTree.Element, label: str) -> float:
    """The exponent of a dot product, which older files keep as theta."""
    found = {number(text, f"{label}: zeta") for text in (element.get("zeta"), element.findtext("theta")) if text is not None}
    if len(found) != 1 or not min(found) > 0:
        raise ValueError(f"{label}: expected one zeta > 0 (an attribute of gpCoordinates, or the element theta), got {sorted(found)}")
    return found.pop()


def _check_permutations(element: ElementTree.Element, dimensions: int, name: str, label: str) -> None:
    """As many as stated, each of all coordinates; only distance_Nb may have others than the identity."""
    stated = count(element.get("n_permutations"), f"{label}: n_permutations", _LARGEST)
    rows = [[integer(i, f"{label}: permutation") for i in (p.text or "").split()] for p in element.findall("permutation")]
    places = [integer(p.get("i", ""), f"{label}: permutation") for p in element.findall("permutation")]
    are_permutations = all(len(row) == dimensions and sorted(row) == list(range(1, len(row) + 1)) for row in rows)
    if len(rows) != stated or places != list(range(1, len(rows) + 1)) or not are_permutations:
        raise ValueError(f"{label}: expected permutations 1 to {stated} of {dimensions} coordinates, as n_permutations says, got {rows}")
    if name != "distance_Nb" and (len(rows) != 1 or rows[0] != sorted(rows[0])):
        raise ValueError(f"{label}: permutations of coordinates are not implemented for {name}")


def _coefficients(element: ElementTree.Element, label: str) -> tuple[np.ndarray, np.ndarray]:
    """α and the cutoff of the sparse points, each where the file says it is, shape [M]."""
    sparse = element.findall("sparseX")
    m = count(element.get("n_sparseX"), f"{label}: n_sparseX", _LARGEST)
    places = [integer(p.get("i", ""), f"{label}: sparseX") for p in sparse]
    if sorted(places) != list(range(1, len(places) + 1)) or len(places) != m or not m:
        raise ValueError(f"{label}: expected sparseX with i = 1 to n_sparseX = {m}, each once, got {len(places)}")
    values = np.array([[number(p.get(key, ""), f"{label}: {key}") for key in ("alpha", "sparseCutoff")] for p in sparse])
    return tuple(values[np.argsort(places)].T)


def _triangle(block: dict, element: ElementTree.Element, kind: tuple[str, ...], length: np.ndarray, cluster: type) -> tuple[dict, tuple, np.ndarray]:
    """QUIP's coordinates (r12, r13, r23) are of atoms in the order of their numbers; ours of A B B start with the odd one."""
    label = block["label"]
    if cluster is CompactTriangles and len(set(kind)) > 1:
        raise ValueError(
            f"{label}: compact_clusters=T of several elements {kind} is not implemented, as QUIP's energy of them depends on the order of the "
            f"atoms in the file"
        )
    last_is_odd = len(set(kind)) == 2 and kind[0] == kind[1]
    columns = np.array([1, 2, 0] if last_is_odd else [0, 1, 2])
    kind = (kind[2], kind[0], kind[1]) if last_is_odd else kind
    length, points = length[columns], block["points"][:, columns]
    rows = [tuple(int(i) - 1 for i in p.text.split()) for p in element.findall("permutation")]
    stated = set(rows)
    images = {tuple(int(columns.tolist().index(p[c])) for c in columns) for p in stated}
    expected = set(cluster(tuple(dict.fromkeys(kind)), block["cutoff"], (kind,)).permutations)
    if images != expected or len(stated) < len(rows):
        raise ValueError(f"{label}: permutations {sorted(stated)} of {kind} are not those of its equal atoms")
    if any(not np.array_equal(length[list(p)], length) for p in expected):
        raise ValueError(f"{label}: theta {length} differs for sides that equal atoms exchange; QUIP's energy would depend on the order of the atoms")
    return block | {"points": points}, kind, length


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _points(element: ElementTree.Element, path: Path, label: str, m: int, dimensions: int) -> np.ndarray:
    """Sparse points [M, dimensions], one number per line."""
    name = element.get("sparseX_filename")
    if name is None:
        raise ValueError(f"{label}: no sparseX_filename; only sparse points in files of their own are read (sparse_separate_file=T)")
    file = path.parent / name
    if not file.is_file():
        raise FileNotFoundError(f"{label}: its sparse points should be in {file}, which does not exist")
    content, stated = file.read_bytes(), (element.get("sparseX_md5sum") or "").strip()
    if stated and stated not in {hashlib.md5(text).hexdigest() for text in (content, content.replace(b"\r\n", b"\n"))}:
        raise ValueError(f"{file} is not the file that {path.name} was written with (its MD5 sum differs)")
    words = content.split()
    if len(words) != m * dimensions:
        raise ValueError(f"{file} has {len(words)} numbers; expected {m} points × {dimensions}")
    if content.translate(None, b"0123456789+-.eE \t\r\n"):  # as a whole, since there can be millions
        numbers = np.array([number(word.decode("latin-1"), file) for word in words])
    else:
        numbers = np.array(words, float)
    return require_finite(numbers.reshape(m, dimensions), f"{file}: sparse points")


def _term(blocks: list[dict]) -> AtomicPotential:
    first = blocks[0]
    symbols = tuple(dict.fromkeys(s for b in blocks for s in b["symbols"]))
    joined = {name: np.concatenate([b[name] for b in blocks]) for name in ("points", "alpha", "weights")}
    if first["name"] in ("soap", "soap_turbo"):
        descriptor, features, scale = _power_spectrum(first, joined["points"])
        kind = np.repeat([symbols.index(b["kinds"][0]) for b in blocks], [len(b["alpha"]) for b in blocks])
        if not np.all(joined["weights"] == 1):
            raise ValueError(f"{first['label']}: {first['name']} with sparseCutoff other than 1 is not implemented")
        zeta = first["zeta"]
        kernel = PolynomialKernel(zeta, offset=scale * real(first["settings"], "covariance_sigma0", "0", first["label"]))
        head = SparseGP(kernel, delta=first["delta"] / scale**zeta, references=References(features=features, kinds=jnp.asarray(kind)))
    else:
        kinds = tuple(b["kinds"][0] for b in blocks)
        descriptor = first["class"](symbols, first["cutoff"], kinds)
        kind = np.repeat(np.arange(len(blocks)), [len(b["alpha"]) for b in blocks])
        kernel = SquaredExponential(first["length"][0] if len(first["length"]) == 1 else first["length"])
        if descriptor.permutations:
            kernel = Symmetrised(kernel, descriptor.permutations)
        references = References(features=joined["points"], kinds=jnp.asarray(kind), weights=joined["weights"])
        head = SparseGP(kernel, delta=first["delta"], references=references)
    return AtomicPotential(descriptor, head.replace(coefficients=joined["alpha"]))


def _power_spectrum(block: dict, points: np.ndarray) -> tuple[LocalDescriptor, np.ndarray, float]:
    """The descriptor, the points in its order, and how much longer its vectors are than QUIP's."""
    settings, label, order, length = block["settings"], block["label"], None, 1.0
    if block["name"] == "soap":  # whose last entry is covariance_sigma0
        descriptor, order, length = soap(settings, block["symbols"], tuple(block["numbers"]), label)
        found, points = points.shape[1], points[:, :-1]
        expected = descriptor.n_features + 1
    else:
        descriptor = soap_turbo(settings, block["symbols"], label, block["folder"])
        found, expected = points.shape[1], descriptor.n_features
    if found != expected:
        raise ValueError(f"{label}: sparse points have {found} numbers; expected {expected} for these settings")
    return descriptor, length * (points if order is None else points[:, order]), length


def local_variance(potential: Potential, graph: Graph, regularisation: float = 0.001) -> Array:
    r"""QUIP's `local_gap_variance`: how far every atom is from the sparse points. It knows nothing of the data; the variance of a
    `fit.posterior` does.

    .. math:: v_i = \sum_{\text{terms}} \sum_c f_c^2 \left[k(x_c, x_c) + \lambda^2 - k_c^T (K_{MM} + \lambda^2)^{-1} k_c\right]

    Args:
      potential: a GAP, as `read_gap` or a fit returns it.
      graph: one structure.
      regularisation: λ, in eV.

    Returns:
      Shape [N], in eV²; differentiable.

    Raises:
      ValueError: for triangles (`distance_Nb` of order 3).
    """
    total = jnp.zeros(graph.numbers.shape[0])
    for term in terms_of(potential):
        if fits(term, AtomicPotential, head=SparseGP):
            own, term = only(graph, term.species), condense(term)
            stack = environments(own, term.reach, term.species)
            total = total + jnp.where(own.numbers > 0, _local_variance(term.descriptor, term.head, stack, regularisation), 0)
    return total


@functools.singledispatch
def _local_variance(descriptor: Descriptor, head: SparseGP, stack: Environment, regularisation: float) -> Array:
    values = _variance_of_instances(head, *instances_of(descriptor, stack)[:2], regularisation)
    return jnp.where(jnp.isin(stack.center, head.references.kinds), values, 0)


@_local_variance.register
def _of_clusters(clusters: ClusterDescriptor, head: SparseGP, stack: Environment, regularisation: float) -> Array:
    # both orders of the neighbours are rows of QUIP's, each with its own square
    coordinates, kind, weight = instances_of(clusters, stack)
    values = _variance_of_instances(head, coordinates, kind, regularisation)
    return jnp.sum(values.reshape(weight.shape) * weight**2 / clusters.multiplicity, axis=1)


@_local_variance.register
def _of_triangles(triangles: TriangleDescriptor, *_: Any) -> Array:
    raise ValueError(f"local_variance: not implemented for {type(triangles).__name__}, whose energies QUIP shares out in another way")


def _variance_of_instances(head: SparseGP, x: Array, kind: Array, regularisation: float) -> Array:
    """[n] for n instances."""
    root = jnp.linalg.cholesky(head.covariance_of_points() + regularisation**2 * jnp.eye(head.n_coefficients))
    solved = jax.scipy.linalg.solve_triangular(root, head.basis(x, kind).T, lower=True)
    return head.delta**2 * head.kernel.diagonal(x) + regularisation**2 - einsum("mn,mn->n", solved, solved)
