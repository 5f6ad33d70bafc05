"""Files: jaxpot's own models, and readers and writers of other codes'; each module is loaded when one of its functions is first named."""

import importlib
from typing import Any

_MODULE_OF = {
    "export": "exported",
    "load_posterior": "posterior",
    "read": "formats",
    "read_eam": "lammps",
    "read_edip": "lammps",
    "read_exported": "exported",
    "read_frames": "frames",
    "read_gap": "gap",
    "read_mliap": "mliap",
    "read_modified_stillinger_weber": "lammps",
    "read_modified_tersoff": "lammps",
    "read_mtp": "mtp",
    "read_n2p2": "n2p2",
    "read_sgdml": "sgdml",
    "read_snap": "snap",
    "read_stillinger_weber": "lammps",
    "read_tersoff": "lammps",
    "read_tersoff_zbl": "lammps",
    "read_vashishta": "lammps",
    "read_yace": "yace",
    "write": "formats",
    "write_gap": "gap_writer",
    "write_mtp": "mtp",
    "write_n2p2": "n2p2",
    "write_sgdml": "sgdml",
    "write_snap": "snap",
    "write_yace": "yace",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'jaxpot.io' has no attribute {name!r}; its functions are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"jaxpot.io.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
