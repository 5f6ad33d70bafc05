"""Packages of the extra `properties`, imported where they are used."""

import importlib
from typing import Any


def needed(module: str, owner: str) -> Any:
    """A package that the core does without.

    Raises:
      ImportError: with the line to write.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{owner} needs {module.partition('.')[0]}, which is not installed; write pip install 'jaxpot[properties]'") from error
