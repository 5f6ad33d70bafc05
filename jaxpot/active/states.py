"""What an exploration keeps in its folder: where the trajectory is, what was labelled, and the posterior that has learnt it.

Each file is replaced as a whole. A state that waits for a label is stored before the label is asked for, the label before it is learnt, and the
posterior with the number of labels that it knows: from whatever a kill leaves, it is clear what has been done.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpot.fit.posteriors import Posterior
from jaxpot.io.save import load, save

COLUMNS = ("step", "temperature", "deviation", "labels")


class Stored(NamedTuple):
    """Where an exploration is.

    Args:
      motion: jax-md's state.
      step: how many were made.
      labels: how many had been learnt when the trajectory came here.
      waiting: whether this very structure is to be labelled.
      history: rows of COLUMNS.
    """

    motion: Any
    step: int
    labels: int
    waiting: bool
    history: list


class Folder:
    """The files of one exploration.

    Args:
      path: the folder.
      mark: of everything that must not change while it goes on.
    """

    def __init__(self, path: Path, mark: str):
        self.path, self.mark = path, mark
        self._state, self._posterior, self._labelled = path / "state.npz", path / "posterior.npz", path / "labelled.xyz"

    def begin(self, posterior: Posterior) -> None:
        """Nothing is labelled yet.

        Raises:
          FileExistsError: for labels of which no state knows.
        """
        if self._labelled.exists():
            raise FileExistsError(f"{self._labelled} exists without a state.npz beside it; choose another folder, or move it away")
        self.path.mkdir(parents=True, exist_ok=True)
        self.learnt(posterior, 0)

    def learnt(self, posterior: Posterior, labels: int) -> None:
        """Keeps the posterior that knows so many labels."""
        save(self._posterior, (posterior, labels))

    def posterior(self, like: Posterior) -> tuple[Posterior, int]:
        """The posterior, and how many labels it knows."""
        found, labels = load(self._posterior, like=(like, 0))
        return found, int(labels)

    def label(self, frames: list) -> list:
        """Keeps labelled frames in place of those that there are, and returns them as the file has them, with its digits."""
        import ase.io

        partial = self._labelled.with_name("labelled.partial.xyz")
        ase.io.write(partial, frames, format="extxyz")
        os.replace(partial, self._labelled)
        return self.frames()

    def frames(self) -> list:
        """What was labelled."""
        import ase.io

        return ase.io.read(self._labelled, ":") if self._labelled.exists() else []

    def store(self, stored: Stored) -> None:
        """Keeps where the trajectory is."""
        leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree_util.tree_leaves(stored.motion))}
        header = {"mark": self.mark, "step": stored.step, "labels": stored.labels, "waiting": stored.waiting}
        partial = self._state.with_name("state.npz.partial")
        with open(partial, "wb") as file:
            np.savez(file, jaxpot=np.array(json.dumps(header)), history=np.reshape(stored.history, (-1, len(COLUMNS))), **leaves)
        os.replace(partial, self._state)

    def restored(self, like: Any) -> Stored | None:
        """Where the trajectory is; None if it has not begun.

        Args:
          like: a motion of the same shapes.

        Raises:
          ValueError: for a file that cannot be read, or of another exploration.
        """
        if not self._state.exists():
            return None
        try:
            with np.load(self._state, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            header: Mapping[str, Any] = json.loads(str(content.pop("jaxpot")))
            history = content.pop("history").tolist()
            leaves = [content[f"leaf{i}"] for i in range(len(content))]
            mark, step, labels, waiting = (header[name] for name in ("mark", "step", "labels", "waiting"))
        except Exception as error:  # NumPy passes on what damaged archives set off
            raise ValueError(f"{self._state} is not a readable state ({type(error).__name__}: {error}); choose another folder") from None
        if mark != self.mark:
            raise ValueError(
                f"{self._state} belongs to another exploration: the posterior of the start, the atoms, the ensemble or the seed differ; "
                "use the same, or choose another folder"
            )
        old, structure = jax.tree_util.tree_flatten(like)
        motion = jax.tree_util.tree_unflatten(structure, [jnp.asarray(b, a.dtype) for a, b in zip(old, leaves, strict=True)])
        return Stored(motion, int(step), int(labels), bool(waiting), history)
