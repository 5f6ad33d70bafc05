"""The size of the forces of basis functions, for a prior that does not depend on how these are normalised."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.checks import require_x64
from jaxpot.data import Dataset
from jaxpot.descriptors.density import Density
from jaxpot.fit.design_matrix import design
from jaxpot.fit.rows import explain
from jaxpot.graph import Graph, only
from jaxpot.heads.linear import Linear
from jaxpot.potentials.atomic import DescribedPotential
from jaxpot.potentials.base import named
from jaxpot.trees import fits, rewrite

Array = jax.Array


def force_scales(model: DescribedPotential, data: Dataset | Iterable[Any], *, progress: bool | None = None) -> np.ndarray:
    r"""Root mean square of the forces that every feature gives the atoms of the data, shape [F], in 1/Å times the unit of the feature.

    .. math:: s_f^2 = \Bigl\langle \Bigl| \partial_{R_i} \sum_j x_{jf} \Bigr|^2 / 3 \Bigr\rangle_i

    As `Linear(roughness=...)` it makes all functions contribute equally to forces a priori, whatever their normalisation, envelope and cutoff;
    `Linear.scale` is then the typical force of one of them, in eV/Å. It multiplies `ACE.smoothness`. Of densities with `channels` of different sizes,
    such as `element_channels`, all channels are brought to the size of the largest first, so that what a small one makes stays small a priori.

    Args:
      model: a potential with a `Linear` head; of a Sum, one of its terms.
      data: structures, a Dataset or frames, of which only the geometry counts; atoms of elements that the model does not know are left out.
      progress: True or False shows or hides the progress bar; None shows it on a terminal.

    Raises:
      RuntimeError: without float64.
      TypeError: for a model without a `Linear` head.
      ValueError: if features of a structure are not finite, with `diagnose`'s reason, or one gives no force in all of the data.

    Example:
      >>> import ase.build, jax, jaxpot as jp
      >>> jax.config.update("jax_enable_x64", True)
      >>> atoms = ase.build.bulk("Si", cubic=True); atoms.rattle(0.1, seed=0)
      >>> density = jp.Density(("Si",), jp.cutoffs.PowerCutoff(4.0), jp.radial.Agnesi(4, nearest=2.35), l_max=2, sigma=None, center_weight=0.0)
      >>> model = jp.AtomicPotential(jp.ACE(density, jp.TotalDegree((3, 3))), jp.Linear(scale=10.0))
      >>> model = model.replace(head=model.head.replace(roughness=jp.fit.force_scales(model, [atoms])))
    """
    from tqdm import tqdm

    require_x64("fit.force_scales")
    if not fits(model, DescribedPotential, head=Linear):
        raise TypeError(f"fit.force_scales: expected an AtomicPotential with a Linear head, got {named(model, 'head')}; of a Sum pass one of its terms")
    data = Dataset.of(model, data, name="fit.force_scales")
    model, squares, atoms = rewrite(model, _of_full_size), 0.0, 0
    bar = tqdm(data.structures(), total=len(data), desc="force scales", unit="structure", disable=None if progress is None else not progress)
    for frame, structure in bar:
        own, count = (np.asarray(x) for x in _squares(model, structure.graphs))
        if not np.all(np.isfinite(own)):
            raise ValueError(explain(model, structure, frame))
        squares, atoms = squares + own, atoms + int(count)
    scales = np.sqrt(squares / max(3 * atoms, 1))
    if not np.all(scales > 0):
        silent = np.flatnonzero(scales == 0)
        raise ValueError(
            f"fit.force_scales: {len(silent)} of {len(scales)} features, the first number {silent[0]}, give no force in these data; leave them out"
        )
    return scales


def _of_full_size(part: Any) -> Any:
    """A density whose channels of elements have one root mean square; anything else as it is."""
    if not isinstance(part, Density) or part.channels is None:
        return part
    sizes = np.sqrt(np.mean(np.asarray(part.channels) ** 2, axis=0))
    return part.replace(channels=np.asarray(part.channels) * np.max(sizes) / np.where(sizes > 0, sizes, 1.0))


@jax.jit
def _squares(model: DescribedPotential, graph: Graph) -> tuple[Array, Array]:
    """Sum over all components of the squared force of every feature, the centres of all elements together, [F]; and the number of atoms."""
    graph = only(graph, model.species)
    forces = design(model, graph).forces.reshape(-1, len(model.species), model.descriptor.n_features)
    return jnp.sum(jnp.sum(forces, axis=1) ** 2, axis=0), jnp.sum(graph.numbers > 0)
