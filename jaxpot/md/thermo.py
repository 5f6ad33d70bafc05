"""Temperature and energies along a trajectory, read from its file and plotted."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxpot.md.files import numbers_of_frames


def read_thermo(trajectory: str | os.PathLike) -> dict[str, np.ndarray]:
    """What a trajectory of `run` has of every frame: step, time (fs), temperature (K), energy (potential, eV) and conserved (eV), each of shape [F].

    Raises:
      ValueError: for a file without frames, or whose frames lack one of these.
    """
    path = Path(trajectory)
    try:
        frames = numbers_of_frames(path)
    except KeyError as error:
        raise ValueError(f"{path} has no {error} of its frames; expected a trajectory of jaxpot.md.run") from None
    if not len(frames["step"]):
        raise ValueError(f"{path} has no frames; expected a trajectory of jaxpot.md.run")
    return frames


def plot_thermo(trajectory: str | os.PathLike) -> Any:
    """Temperature, potential energy, and how far the conserved quantity is from its start, over time.

    Args:
      trajectory: a file of `run`, of any kind.

    Returns:
      A matplotlib Figure; write `figure.savefig("thermo.png")`.

    Raises:
      ValueError: as `read_thermo`.
    """
    from matplotlib.figure import Figure

    found = read_thermo(trajectory)
    panels = {
        "temperature (K)": found["temperature"],
        "potential energy (eV)": found["energy"],
        "conserved − start (meV)": 1e3 * (found["conserved"] - found["conserved"][0]),
    }
    figure = Figure(figsize=(5, 6.5), layout="constrained")
    for axis, (label, values) in zip(figure.subplots(len(panels), 1, sharex=True), panels.items(), strict=True):
        axis.plot(1e-3 * found["time"], values)
        axis.set(ylabel=label)
    axis.set(xlabel="time (ps)")
    return figure
