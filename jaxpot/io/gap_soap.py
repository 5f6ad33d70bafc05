"""The descriptors `soap` and `soap_turbo` of QUIP, made from the settings in a GAP's file."""

import math
from pathlib import Path

import numpy as np

from jaxpot.descriptors.base import LocalDescriptor
from jaxpot.descriptors.compressed_soap import CompressedSOAP, sensitivity
from jaxpot.descriptors.density import Density
from jaxpot.descriptors.soap import SOAP
from jaxpot.descriptors.turbo import TurboDensity
from jaxpot.io.gap_xml import LARGEST, atomic_number, real, truth, whole
from jaxpot.io.text import integer, number, read_text
from jaxpot.math.cutoffs import CosineCutoff, Cutoff
from jaxpot.math.decays import Willatt
from jaxpot.radial.equispaced import EquispacedGaussians
from jaxpot.radial.turbo import Poly3, Poly3Gauss

Settings = dict[str, str]
Order = np.ndarray | None  # where each of our features stands among QUIP's; None is the same order


def flag(settings: Settings, key: str, default: bool) -> bool:
    """A logical key."""
    return truth(settings[key], key) if key in settings else default


def soap(settings: Settings, symbols: tuple[str, ...], species: tuple[int, ...], label: str) -> tuple[LocalDescriptor, Order, float]:
    """The descriptor, the order of QUIP's features, and how much longer its vectors are than QUIP's."""
    n_max, l_max = (whole(settings, key, None, label) for key in ("n_max", "l_max"))
    cutoff: Cutoff = CosineCutoff(real(settings, "cutoff", None, label), width=real(settings, "cutoff_transition_width", "0.5", label))
    exponent, rate, scale = (real(settings, k, d, label) for k, d in (("cutoff_dexp", "0"), ("cutoff_rate", "1"), ("cutoff_scale", "1")))
    if exponent > 0:
        if rate <= 0:
            raise ValueError(f"{label}: cutoff_rate = {rate:g} with cutoff_dexp is not implemented, only positive rates")
        cutoff = Willatt(cutoff, rate=rate, scale=scale, exponent=exponent)
    everywhere = flag(settings, "central_reference_all_species", len(symbols) == 1)
    density = Density(
        symbols, cutoff, EquispacedGaussians(n_max), l_max, sigma=real(settings, "atom_sigma", None, label),
        center_weight=real(settings, "central_weight", "1", label), center_channels="all" if everywhere else "own",
    )  # fmt: skip
    normalize = flag(settings, "normalise", flag(settings, "normalize", True))
    length = 1.0 if normalize else math.sqrt(8 * np.pi**2)
    first, second = _mixing(settings, n_max, species, label)
    pairs = _pairs(settings, n_max, len(symbols), first, second, label)
    if first is None and pairs is None:
        return SOAP(density, normalize=normalize), _by_columns(density.n_channels, l_max), length
    weights = None
    if pairs is not None and first is not None and second is None:
        weights = np.array([1.0 if a == b else float(np.float32(np.sqrt(2))) for a, b in pairs])  # QUIP has these in single precision
    descriptor = CompressedSOAP(density, first, second, pairs, weights, normalize=normalize)
    return descriptor, None if pairs is not None or second is not None else _by_columns(first.shape[1], l_max), length


def _by_columns(channels: int, l_max: int) -> np.ndarray:
    """QUIP's pairs are (a, b ≤ a), ours (a ≤ b); l runs fastest in both."""
    first, second = np.triu_indices(channels)
    rows = second * (second + 1) // 2 + first
    return (rows[:, None] * (l_max + 1) + np.arange(l_max + 1)).reshape(-1)


def _mixing(settings: Settings, n_max: int, species: tuple[int, ...], label: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """U and V of a compressed spectrum."""
    orders = [whole(settings, key, "2", label) for key in ("nu_R", "nu_S")]
    radial, elements, symmetric = (flag(settings, key, False) for key in ("R_mix", "Z_mix", "sym_mix"))
    mixes = radial or elements or symmetric
    if mixes + (orders != [2, 2]) + ("Z_map" in settings) > 1:
        raise ValueError(f"{label}: mixing (R_mix, Z_mix, sym_mix), nu_R and nu_S, and Z_map exclude each other")
    if "Z_map" in settings:
        return _mapped(settings["Z_map"], n_max, species, label)
    if not mixes:
        return sensitivity(len(species), n_max, radial=orders[0], species=orders[1])
    k, shift = whole(settings, "K", "0", label), integer(settings.get("mix_shift", "0"), f"{label}: mix_shift")
    if k < 1 or not (radial or elements):
        raise ValueError(f"{label}: mixing needs K of at least 1, and R_mix or Z_mix; got K={k}")
    made = []
    for seed in (shift + 200, shift + 400):
        if radial and elements:
            made.append(np.concatenate([_normal(z + seed, n_max * k).reshape(n_max, k) for z in species]))
        elif elements:
            made.append(np.kron(np.stack([_normal(z + seed, k) for z in species]), np.eye(n_max)))
        else:
            made.append(np.kron(np.eye(len(species)), _normal(n_max + seed, n_max * k).reshape(n_max, k)))
    return made[0], None if symmetric else made[1]


def _mapped(text: str, n_max: int, species: tuple[int, ...], label: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Groups of elements, separated by commas, for one factor or, after a colon, for each: those of a group are one channel."""
    made = []
    for groups in text.split(":"):
        members = [[atomic_number(z, f"{label}: Z_map") for z in group.split()] for group in groups.split(",")]
        if not all(set(group) <= set(species) for group in members):
            raise ValueError(f"{label}: Z_map={{{text}}} names an element that is not in species_Z")
        made.append(np.kron(np.array([[float(z in group) for group in members] for z in species]), np.eye(n_max)))
    if len(made) > 2:
        raise ValueError(f"{label}: Z_map={{{text}}} has {len(made)} parts; expected one or two")
    return made[0], made[1] if len(made) == 2 else None


def _pairs(settings: Settings, n_max: int, n_species: int, first, second, label: str) -> tuple[tuple[int, int], ...] | None:
    """Which channels are multiplied, where it is not all with all."""
    radial, elements, k = flag(settings, "R_mix", False), flag(settings, "Z_mix", False), whole(settings, "K", "0", label)
    size = n_species * n_max if first is None else first.shape[1]
    if flag(settings, "diagonal_radial", False):
        if first is not None or not flag(settings, "coupling", True):
            raise ValueError(f"{label}: diagonal_radial=T together with another compression is not implemented")
        return tuple((a, b) for a in range(size) for b in range(a + 1) if a % n_max == b % n_max)
    if flag(settings, "coupling", True):
        return None
    if elements and not radial:
        return tuple((i * n_max + a, i * n_max + b) for i in range(k) for a in range(n_max) for b in range(n_max if second is not None else a + 1))
    if radial and not elements:
        return tuple((a * k + i, b * k + i) for a in range(n_species) for b in range(n_species if second is not None else a + 1) for i in range(k))
    if second is not None and second.shape[1] != size:
        raise ValueError(f"{label}: coupling=F needs as many channels of both factors, got {size} and {second.shape[1]}")
    return tuple((i, i) for i in range(size))


def _normal(seed: int, n: int) -> np.ndarray:
    """QUIP's random numbers after a seed: the minimal standard generator of Park and Miller and the polar method of Marsaglia."""
    modulus, found = 2**31 - 1, []
    state = seed * pow(16807, 100, modulus) % modulus  # it throws the first hundred away
    while len(found) < n:
        v = []
        for _ in range(2):
            state = state * 16807 % modulus
            v.append(2 * state / modulus - 1)
        square = v[0] ** 2 + v[1] ** 2
        if square <= 1:
            found.append(v[0] * math.sqrt(-2 * math.log(square) / square))
    return np.array(found)


def soap_turbo(settings: Settings, symbols: tuple[str, ...], label: str, folder: Path) -> LocalDescriptor:
    """The descriptor; its features are in QUIP's order."""
    n = len(symbols)

    def of(key: str, default: str | None, also: str | None = None) -> np.ndarray:
        """One number per species."""
        text = settings.get(key, settings.get(also, default))
        if text is None:
            raise ValueError(f"{label}: soap_turbo without {key}" + (f" or {also}" if also else ""))
        values = np.array([number(word, f"{label}: {key}") for word in text.split()])
        if len(values) not in (1, n):
            raise ValueError(f"{label}: {key} has {len(values)} numbers for {n} elements")
        return np.broadcast_to(values, (n,)).copy()

    hard = real(settings, "rcut_hard" if "rcut_hard" in settings else "cutoff", None, label)
    soft, width = (real(settings, key, default, label) for key, default in (("rcut_soft", "0"), ("cutoff_transition_width", "0.5")))
    width = hard - soft if "rcut_soft" in settings else width
    if not width > 0:
        raise ValueError(f"{label}: rcut_soft must be below rcut_hard = {hard:g}")
    if settings.get("scaling_mode", "polynomial") != "polynomial":
        raise ValueError(f"{label}: scaling_mode={settings['scaling_mode']} of soap_turbo is not implemented, only polynomial")
    bases = {"poly3": Poly3, "poly3gauss": Poly3Gauss}
    if (name := settings.get("basis", "poly3")) not in bases:
        raise ValueError(f"{label}: basis={name} of soap_turbo is not implemented, only {' and '.join(bases)}")
    center_weight = of("central_weight", "1.0")
    if "central_weight" in settings and len(settings["central_weight"].split()) == 1 and center_weight[0] != 1:
        raise ValueError(f"{label}: central_weight={center_weight[0]:g} as one number is not implemented, as QUIP takes 1 instead of it")
    sizes = of("alpha_max", None, "n_max")
    if np.any(sizes != np.round(sizes)) or not np.all((sizes > 0) & (sizes <= LARGEST)):
        raise ValueError(f"{label}: alpha_max must be whole numbers from 1 to {LARGEST}, got {sizes}")
    sizes = sizes.astype(int)
    density = TurboDensity(
        symbols, hard, tuple(bases[name](int(size)) for size in sizes), whole(settings, "l_max", None, label), sigma=of("atom_sigma_r", None, "atom_sigma"),
        sigma_angular=of("atom_sigma_t", None, "atom_sigma"), width=width, growth=of("atom_sigma_r_scaling", "0.0", "atom_sigma_scaling"),
        growth_angular=of("atom_sigma_t_scaling", "0.0", "atom_sigma_scaling"), exponent=of("amplitude_scaling", "1.0"),
        enhancement=whole(settings, "radial_enhancement", "0", label), center_weight=center_weight, steepness=real(settings, "nf", "4.0", label),
        window=4.0,
    )  # fmt: skip
    if settings.get("compress_file", "None") != "None":  # which goes before a mode
        return _from_file(density, folder / settings["compress_file"], label)
    mode = settings.get("compress_mode", "None")
    if mode in ("None", "2_2"):
        return SOAP(density)
    if mode.lower() == "trivial":
        pivots = {int(i) for i in np.cumsum(sizes) - sizes}
        return CompressedSOAP(density, pairs=tuple((a, b) for a in range(sum(sizes)) for b in range(a, sum(sizes)) if pivots & {a, b}))
    orders = mode.split("_")
    if len(orders) != 2 or not set(orders) <= set("012") or len(set(sizes)) > 1:
        raise ValueError(
            f"{label}: compress_mode={mode} of soap_turbo is not implemented, only trivial and, with one alpha_max, nu_R and nu_S such as 1_2"
        )
    return CompressedSOAP(density, *sensitivity(n, int(sizes[0]), radial=int(orders[0]), species=int(orders[1])))


def _from_file(density: TurboDensity, file: Path, label: str) -> CompressedSOAP:
    """Sums of features as a compress_file lists them: a head line, then which features are kept, or row, column and value of a matrix."""
    if not file.exists():
        raise FileNotFoundError(f"{label}: its compression should be in {file}, which does not exist")
    rows = [line.split() for line in read_text(file, "a compression of soap_turbo").splitlines() if line.strip()]
    if len(rows) < 2:
        raise ValueError(f"{file} has {len(rows)} lines; expected a head and a list of features")
    (head, *lines), where = rows, f"{file}"
    q, degrees = density.n_channels, density.l_max + 1
    stated, expected = [integer(x, where) for x in head], [*(basis.n_max for basis in density.radial), density.l_max]
    if stated[:-1] != expected:
        raise ValueError(f"{file} is for alpha_max and l_max {stated[:-1]}, the descriptor has {expected}")
    if lines[0] == ["P_transformation"]:
        if lines[-1] != ["end_transformation"]:
            raise ValueError(f"{file} has no end_transformation")
        if any(len(line) != 3 for line in lines[1:-1]) or len(lines) < 3:
            raise ValueError(f"{file}: expected lines of a row, a column and a value")
        entries = [(integer(i, where) - 1, integer(j, where) - 1, number(value, where)) for i, j, value in lines[1:-1]]
    else:
        if any(len(line) != 1 for line in lines):
            raise ValueError(f"{file}: expected lines of one number")
        entries = [(i, integer(line[0], where) - 1, 1.0) for i, line in enumerate(lines)]
    if (n := 1 + max(row for row, _, _ in entries)) != stated[-1]:
        raise ValueError(f"{file} lists {n} features, its head says {stated[-1]}")
    rows, columns, values = (np.array(x) for x in zip(*entries, strict=True))
    first, second = np.triu_indices(q)
    if np.min(rows) < 0 or np.min(columns) < 0 or max(np.max(columns), np.max(rows)) >= len(first) * degrees:
        raise ValueError(f"{file}: features are numbered from 1 to {len(first) * degrees}")
    used = np.unique(columns // degrees)
    matrix = np.zeros((np.max(rows) + 1, len(used) * degrees))
    np.add.at(matrix, (rows, np.searchsorted(used, columns // degrees) * degrees + columns % degrees), values)
    return CompressedSOAP(density, pairs=tuple((int(first[p]), int(second[p])) for p in used), transformation=matrix)
