"""Writing of GAP potentials, as QUIP reads them: an XML file, and the sparse points in files beside it."""

import functools
import hashlib
import itertools
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxpot.checks import require_finite
from jaxpot.descriptors.base import Descriptor
from jaxpot.descriptors.clusters import ClusterDescriptor, CompactTriangles, ThreeBody, TriangleDescriptor, Triangles, TwoBody
from jaxpot.descriptors.compressed_soap import CompressedSOAP, sensitivity
from jaxpot.descriptors.density import Density
from jaxpot.descriptors.expansion import Expansion
from jaxpot.descriptors.soap import SOAP
from jaxpot.descriptors.turbo import TurboDensity
from jaxpot.heads.sparse_gp import SparseGP
from jaxpot.io.gap_soap import Settings, soap, soap_turbo
from jaxpot.io.glue import glue_of
from jaxpot.io.terms import cannot_hold, require_known, terms_and_constants
from jaxpot.io.text import require_path
from jaxpot.math.cutoffs import CosineCutoff, Cutoff
from jaxpot.math.decays import Willatt
from jaxpot.math.kernels import PolynomialKernel, SquaredExponential, Symmetrised
from jaxpot.passes import freeze
from jaxpot.potentials.atomic import AtomicPotential
from jaxpot.potentials.base import Potential
from jaxpot.potentials.pair import PairSpline
from jaxpot.radial.equispaced import EquispacedGaussians
from jaxpot.radial.turbo import Poly3, Poly3Gauss
from jaxpot.units import ATOMIC_NUMBERS

_VERSION = "1769700636"  # of the GAP code whose keys these are
_SHIFTS = 100  # values of mix_shift that are tried


def write_gap(path: str | os.PathLike, potential: Potential) -> Path:
    """Writes a GAP that QUIP and LAMMPS' `pair_style quip` read, with all digits; the sparse points go into files beside it, as gap_fit has them.

    Args:
      path: the XML file to write. LAMMPS takes `pair_coeff * * si.xml "Potential xml_label=GAP_si" 14`: the label is that of the file's name.
      potential: AtomicPotentials with a SparseGP, alone or in a sum with IsolatedAtoms (or Constant with a Linear head) and one PairSpline, which
        becomes the core potential. Their descriptors are TwoBody, ThreeBody, Triangles and CompactTriangles, with a SquaredExponential of
        distances and a CosineCutoff; and SOAP and CompressedSOAP, with a PolynomialKernel, of a `Density` of EquispacedGaussians (QUIP's `soap`)
        or of a TurboDensity (`soap_turbo`). Elements without a constant have the energy 0.

    Returns:
      The path written.

    Raises:
      TypeError: for terms, kernels, cutoffs and densities that QUIP does not have, named.
      ValueError: for a potential that is not fitted, and for what the keys of QUIP cannot say, named.

    Example:
      >>> import tempfile
      >>> from jaxpot import IsolatedAtoms
      >>> from jaxpot.heads import References
      >>> from jaxpot.io.gap import read_gap
      >>> points = References(features=[[2.3], [3.1]], kinds=np.array([0, 0]), weights=[1.0, 0.8])
      >>> head = SparseGP(SquaredExponential(0.5), references=points, coefficients=[0.1, -0.2])
      >>> model = AtomicPotential(TwoBody(("Si",), CosineCutoff(4.0, width=1.0)), head) + IsolatedAtoms({"Si": -158.5})
      >>> read_gap(write_gap(Path(tempfile.mkdtemp()) / "si.xml", model)) == model
      True
    """
    require_path(path, 'write_gap("gap.xml", potential)')
    path = Path(path)
    terms, energies = terms_and_constants(potential, "write_gap")
    cores = [term for term in terms if isinstance(term, PairSpline)]
    blocks = [block for term in terms if not isinstance(term, PairSpline) for block in _blocks_of(term)]
    known = tuple(dict.fromkeys(s for block in blocks for s in block.elements))
    if not blocks or len(cores) > 1:
        raise ValueError(f"write_gap: expected a Gaussian process and at most one PairSpline, got {len(blocks)} and {len(cores)}")
    require_known(energies, known, "write_gap", "the sparse points")
    for s in [s for term in terms for s in term.species if s not in known]:
        raise ValueError(f"write_gap: no Gaussian process has a sparse point with {s}, so the file would not know it; expected elements among {known}")
    label = "GAP_" + re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    root = ElementTree.Element(label)
    own = f"IP GAP label={label}"
    ElementTree.SubElement(root, "Potential", label=label, init_args=f"Sum init_args_pot1={{IP Glue}} init_args_pot2={{{own}}}" if cores else own)
    root.extend(glue_of(core, known) for core in cores)
    params = ElementTree.SubElement(root, "GAP_params", label=label, gap_version=_VERSION)
    data = ElementTree.SubElement(params, "GAP_data", do_core="T" if cores else "F")
    for s in known:
        ElementTree.SubElement(data, "e0", Z=str(ATOMIC_NUMBERS[s]), value=_text(energies.get(s, 0.0)))
    process = ElementTree.SubElement(params, "gpSparse", label=label, n_coordinate=str(len(blocks)), fitted="T")
    compressions = {text: f"{path.name}.compress.{label}{i}" for i, text in enumerate(dict.fromkeys(b.compression for b in blocks if b.compression), 1)}
    files = {name: text for text, name in compressions.items()}
    for i, block in enumerate(blocks, 1):
        points = "".join(f"{x!r}\n" for x in block.points.reshape(-1).tolist())
        files[name := f"{path.name}.sparseX.{label}{i}"] = points
        if block.compression:
            block.settings["compress_file"] = compressions[block.compression]
        process.append(_element(block, f"{label}{i}", name, hashlib.md5(points.encode()).hexdigest()))
    ElementTree.indent(root)
    files[path.name] = ElementTree.tostring(root, encoding="unicode") + "\n"
    for name, text in files.items():
        partial = path.with_name(name + ".partial")
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path.with_name(name))
    return path


@dataclass
class _Block:
    """One gpCoordinates: a kernel of environments with one centre, or of clusters of one kind, with its sparse points."""

    name: str
    settings: Settings
    elements: tuple[str, ...]
    delta: float
    points: np.ndarray  # [M, dimensions]
    alpha: np.ndarray  # [M]
    weights: np.ndarray  # [M]
    zeta: float | None = None  # of a dot product
    theta: np.ndarray | None = None  # of a squared exponential, [dimensions]
    permutations: list[tuple[int, ...]] = field(default_factory=lambda: [(0,)])
    compression: str = ""  # what the compress_file holds


def _element(block: _Block, label: str, file: str, md5: str) -> ElementTree.Element:
    m, dimensions = block.points.shape
    element = ElementTree.Element(
        "gpCoordinates", label=label, dimensions=str(dimensions), signal_variance=_text(block.delta), signal_mean="0.0", sparsified="T",
        n_permutations=str(len(block.permutations)), covariance_type="2" if block.theta is None else "1", n_sparseX=str(m), sparseX_filename=file,
        sparseX_md5sum=md5,
    )  # fmt: skip
    if block.theta is None:
        element.set("zeta", _text(block.zeta))
    else:
        ElementTree.SubElement(element, "theta").text = _text(*block.theta)
    ElementTree.SubElement(element, "descriptor").text = " ".join([block.name, *(f"{key}={_word(value)}" for key, value in block.settings.items())])
    for i, row in enumerate(block.permutations, 1):
        ElementTree.SubElement(element, "permutation", i=str(i)).text = " ".join(str(x + 1) for x in row)
    for i, (alpha, weight) in enumerate(zip(block.alpha, block.weights, strict=True), 1):
        ElementTree.SubElement(element, "sparseX", i=str(i), alpha=_text(alpha), sparseCutoff=_text(weight))
    return element


def _text(*numbers: Any) -> str:
    return " ".join(repr(float(x)) for x in numbers)


def _word(value: str) -> str:
    return value if re.fullmatch(r"[^\s,:]+", value) else f"{{{value}}}"


def _list(values: Any) -> str:
    return " ".join(map(str, values))


def _z(symbols: tuple[str, ...]) -> list[int]:
    return [ATOMIC_NUMBERS[s] for s in symbols]


def _blocks_of(term: Potential) -> list[_Block]:
    if not (isinstance(term, AtomicPotential) and isinstance(term.head, SparseGP)):
        raise TypeError(cannot_hold(term, "write_gap", "GAP files"))
    if term.head.coefficients is None:
        raise ValueError("write_gap: the potential has no coefficients yet; write potential = jaxpot.fit.linear(potential, data)")
    head = term.head if term.head.references.features is not None else freeze(term).head
    return _blocks(term.descriptor, head)


def _by_kind(head: SparseGP) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every kind of the sparse points, in the order of their first, and what its block has of the head."""
    of, m = head.references, head.references.count
    arrays = {"points": of.features, "alpha": head.coefficients, "weights": np.ones(m) if of.weights is None else of.weights}
    arrays = {name: require_finite(np.asarray(value, float), f"write_gap: {name}") for name, value in arrays.items()}
    kinds = np.asarray(of.kinds)
    for kind in dict.fromkeys(kinds.tolist()):
        yield kind, {name: value[kinds == kind] for name, value in arrays.items()} | {"delta": float(head.delta)}


@functools.singledispatch
def _blocks(descriptor: Descriptor, head: SparseGP) -> list[_Block]:
    raise TypeError(f"write_gap: QUIP has no {type(descriptor).__name__}; it has TwoBody, ThreeBody, Triangles, CompactTriangles, SOAP and CompressedSOAP")


@_blocks.register
def _of_pairs(pairs: TwoBody, head: SparseGP) -> list[_Block]:
    return _of_distances("distance_2b", ("Z1", "Z2"), pairs, head)


@_blocks.register
def _of_angles(angles: ThreeBody, head: SparseGP) -> list[_Block]:
    return _of_distances("angle_3b", ("Z", "Z1", "Z2"), angles, head)


def _of_distances(name: str, keys: tuple[str, ...], clusters: ClusterDescriptor, head: SparseGP) -> list[_Block]:
    settings, theta = _cutoff_of(name, clusters.cutoff), _theta(name, head.kernel, clusters.n_features)
    identity = [tuple(range(clusters.n_features))]
    return [
        _Block(
            name, settings | {key: str(z) for key, z in zip(keys, _z(clusters.kinds[kind]), strict=True)}, clusters.kinds[kind], theta=theta,
            permutations=identity, **own,
        )
        for kind, own in _by_kind(head)
    ]  # fmt: skip


@_blocks.register(Triangles)
@_blocks.register(CompactTriangles)
def _of_triangles(triangles: TriangleDescriptor, head: SparseGP) -> list[_Block]:
    name, kernel = "distance_Nb", head.kernel
    if not isinstance(kernel, Symmetrised) or set(kernel.permutations) != set(triangles.permutations):
        raise TypeError(f"write_gap: QUIP's {name} has the kernel Symmetrised(SquaredExponential(theta), triangles.permutations), got {kernel!r}")
    settings = {"order": "3", "compact_clusters": "FT"[isinstance(triangles, CompactTriangles)], **_cutoff_of(name, triangles.cutoff)}
    theta, blocks = _theta(name, kernel.kernel, 3), []
    if any(not np.array_equal(theta, theta[list(p)]) for p in triangles.permutations):
        raise ValueError(f"write_gap: the length {theta} differs for sides that equal atoms exchange; expected the same for these")
    for kind, own in _by_kind(head):
        elements = triangles.kinds[kind]
        atoms = np.argsort(_z(elements), kind="stable")  # QUIP's sides 12, 13, 23 are those of atoms in the order of their numbers
        columns = [int(atoms[a] + atoms[b]) - 1 for a, b in itertools.combinations(range(3), 2)]
        images = sorted(tuple(columns.index(p[c]) for c in columns) for p in triangles.permutations)
        own["points"] = own["points"][:, columns]
        own_settings = settings | {"Z": _list(sorted(_z(elements)))}
        blocks.append(_Block(name, own_settings, elements, theta=theta[columns], permutations=images, **own))
    return blocks


def _cutoff_of(name: str, cutoff: Cutoff) -> Settings:
    if not isinstance(cutoff, CosineCutoff):
        raise TypeError(f"write_gap: QUIP's {name} has the cutoff CosineCutoff(radius, width), got {type(cutoff).__name__}; fit the potential with that")
    return {"cutoff": _text(cutoff.radius), "cutoff_transition_width": _text(cutoff.radius if cutoff.width is None else cutoff.width)}


def _theta(name: str, kernel: Any, n: int) -> np.ndarray:
    if not isinstance(kernel, SquaredExponential):
        raise TypeError(f"write_gap: QUIP's {name} has the kernel SquaredExponential(theta), got {type(kernel).__name__}; fit the potential with that")
    return np.broadcast_to(np.asarray(kernel.length, float), (n,))


@_blocks.register(SOAP)
@_blocks.register(CompressedSOAP)
def _of_power_spectra(descriptor: SOAP | CompressedSOAP, head: SparseGP) -> list[_Block]:
    if not isinstance(head.kernel, PolynomialKernel):
        raise TypeError(
            f"write_gap: QUIP's kernel of power spectra is PolynomialKernel(zeta), got {type(head.kernel).__name__}; fit the potential with that"
        )
    return _of_density(descriptor.expansion, descriptor, head, head.kernel)


@functools.singledispatch
def _of_density(density: Expansion, descriptor: SOAP | CompressedSOAP, head: SparseGP, kernel: PolynomialKernel) -> list[_Block]:
    raise TypeError(f"write_gap: QUIP has power spectra of Density and TurboDensity, got {type(density).__name__}")


@_of_density.register
def _of_gaussians(density: Density, descriptor: SOAP | CompressedSOAP, head: SparseGP, kernel: PolynomialKernel) -> list[_Block]:
    cutoff = density.cutoff.cutoff if isinstance(density.cutoff, Willatt) else density.cutoff
    if not isinstance(density.radial, EquispacedGaussians) or density.channels is not None or density.mixing is not None:
        more = " with channels of mixed elements" if density.channels is not None or density.mixing is not None else ""
        raise TypeError(
            f"write_gap: QUIP's soap has the radial functions EquispacedGaussians of every element, got {type(density.radial).__name__}{more}; write "
            "Density(species, CosineCutoff(5.0, width=1.0), EquispacedGaussians(8), l_max, sigma=0.5) and fit it"
        )
    species, z = density.species, _z(density.species)
    settings = _cutoff_of("soap", cutoff) | {
        "n_max": str(density.radial.n_max), "l_max": str(density.l_max), "atom_sigma": _text(density.sigma), "central_weight": _text(density.center_weight),
        "central_reference_all_species": "FT"[density.center_channels == "all"], "normalise": "FT"[descriptor.normalize],
        "n_species": str(len(z)), "species_Z": _list(z),
    }  # fmt: skip
    if isinstance(density.cutoff, Willatt):
        if (exponent := float(density.cutoff.exponent)) != round(exponent):
            raise ValueError(f"write_gap: QUIP's cutoff_dexp is a whole number, the exponent of Willatt is {exponent}")
        settings |= {"cutoff_dexp": str(round(exponent)), "cutoff_rate": _text(density.cutoff.rate), "cutoff_scale": _text(density.cutoff.scale)}
    for keys in _compressions(descriptor, z, density.radial.n_max):
        made, order, length = soap(settings | keys, species, tuple(z), "write_gap")
        if made.replace(expansion=density) == descriptor:
            break
    else:
        raise ValueError(f"write_gap: no keys of QUIP's soap choose or mix features as this {type(descriptor).__name__} does; see `sensitivity`")
    zeta, sigma0 = float(kernel.zeta), float(kernel.offset) / length
    blocks, order = [], slice(None) if order is None else np.argsort(order)
    for center, own in _by_kind(head):
        points = np.pad(own["points"][:, order] / length, ((0, 0), (0, 1)), constant_values=sigma0)
        own |= {"points": points, "delta": own["delta"] * length**zeta}
        more = {"Z": str(z[center]), "covariance_sigma0": _text(sigma0)}
        blocks.append(_Block("soap", settings | keys | more, species, zeta=zeta, **own))
    return blocks


def _compressions(descriptor: SOAP | CompressedSOAP, species: list[int], n: int) -> Iterator[Settings]:
    """Keys of QUIP's soap that may make this descriptor."""
    if isinstance(descriptor, SOAP):
        yield {}
        return
    mixing = descriptor.first, descriptor.second
    of, is_coupled = [x for x in mixing if x is not None], descriptor.pairs is None
    found: list[Settings] = [] if of or is_coupled else [{"diagonal_radial": "T"}]
    for r, s in itertools.product(range(3), repeat=2):
        if all(map(np.array_equal, mixing, sensitivity(len(species), n, radial=r, species=s))):
            found.append({"nu_R": str(r), "nu_S": str(s)})
    if of and all(np.shape(x)[1] % n == 0 for x in of) and (is_coupled or len({np.shape(x) for x in of}) == 1):
        groups = [[[z for z, is_in in zip(species, column, strict=True) if is_in] for column in np.asarray(x)[::n, ::n].T] for x in of]
        found.append({"Z_map": ":".join(", ".join(map(_list, part)) for part in groups)})
    for radial, elements in ((True, True), (False, True), (True, False)) if of else ():
        k, rest = divmod(np.shape(of[0])[1], 1 if radial and elements else n if elements else len(species))
        keys = {"R_mix": "FT"[radial], "Z_mix": "FT"[elements], "sym_mix": "FT"[len(of) == 1], "K": str(k)}
        found += [keys | {"mix_shift": str(shift)} for shift in range(_SHIFTS) if not rest]
    for keys in found:
        yield keys if is_coupled or "diagonal_radial" in keys else keys | {"coupling": "F"}


@_of_density.register
def _of_turbo(density: TurboDensity, descriptor: SOAP | CompressedSOAP, head: SparseGP, kernel: PolynomialKernel) -> list[_Block]:
    species, s = density.species, len(density.species)
    bases = density.radial if isinstance(density.radial, tuple) else (density.radial,) * s
    names = {Poly3: "poly3", Poly3Gauss: "poly3gauss"}
    kinds = {type(basis) for basis in bases}
    if len(kinds) > 1 or not kinds <= set(names):
        raise TypeError(f"write_gap: QUIP's soap_turbo has Poly3 or Poly3Gauss for all elements, got {', '.join(sorted(k.__name__ for k in kinds))}")
    if density.window is None or float(density.window) != 4.0 or not descriptor.normalize or float(kernel.offset):
        raise ValueError(
            f"write_gap: QUIP's soap_turbo has window=4.0, normalize=True and the kernel's offset 0, got {density.window}, {descriptor.normalize} "
            f"and {float(kernel.offset)}"
        )

    def each(name: str) -> str:
        return _list(_text(x) for x in np.broadcast_to(np.asarray(getattr(density, name), float), (s,)))

    if s == 1 and float(np.asarray(density.center_weight).reshape(-1)[0]) != 1:
        raise ValueError("write_gap: QUIP's soap_turbo takes 1 for the center_weight of one element, whatever the file says; expected center_weight=1.0")
    settings = {
        "l_max": str(density.l_max), "rcut_hard": _text(density.radius), "rcut_soft": _text(float(density.radius) - float(density.width)),
        "nf": _text(density.steepness), "basis": names[kinds.pop()], "scaling_mode": "polynomial", "alpha_max": _list(b.n_max for b in bases),
        "atom_sigma_r": each("sigma"), "atom_sigma_t": each("sigma_angular"), "atom_sigma_r_scaling": each("growth"),
        "atom_sigma_t_scaling": each("growth_angular"), "amplitude_scaling": each("exponent"), "radial_enhancement": str(density.enhancement),
        "central_weight": each("center_weight"), "n_species": str(s), "species_Z": _list(_z(species)),
    }  # fmt: skip
    keys, compression = _compression(descriptor, species, settings, [b.n_max for b in bases])
    return [
        _Block("soap_turbo", settings | keys | {"central_index": str(center + 1)}, species, zeta=float(kernel.zeta), compression=compression, **own)
        for center, own in _by_kind(head)
    ]


def _compression(descriptor: SOAP | CompressedSOAP, species: tuple[str, ...], settings: Settings, sizes: list[int]) -> tuple[Settings, str]:
    """The keys that make these features of soap_turbo, or a compress_file: row, column and value of the matrix that makes them of the full power
    spectrum."""
    if isinstance(descriptor, SOAP):
        return {}, ""
    for mode in ["trivial", *("_".join(pair) for pair in itertools.product("012", repeat=2) if len(set(sizes)) == 1)]:
        made = soap_turbo(settings | {"compress_mode": mode}, species, "write_gap", Path())
        if made.replace(expansion=descriptor.expansion) == descriptor:
            return {"compress_mode": mode}, ""
    if descriptor.first is not None or descriptor.second is not None or descriptor.weights is not None:
        raise ValueError("write_gap: QUIP's soap_turbo mixes channels as `sensitivity` does, or features by a transformation of pairs; this does otherwise")
    degrees = descriptor.expansion.l_max + 1
    places = {pair: i for i, pair in enumerate(zip(*np.triu_indices(sum(sizes)), strict=True))}
    columns = [places[min(a, b), max(a, b)] * degrees + l for a, b, l in descriptor.replace(transformation=None).labels()]
    matrix = np.eye(len(columns)) if descriptor.transformation is None else np.asarray(descriptor.transformation, float)
    lines = [f"{i + 1} {columns[j] + 1} {_text(matrix[i, j])}" for i, j in np.argwhere(matrix)]
    return {}, "\n".join([_list([*sizes, degrees - 1, len(matrix)]), "P_transformation", *lines, "end_transformation"]) + "\n"
