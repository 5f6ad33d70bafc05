"""Examples in docstrings, in the README and in docs run."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalog import QUICK_FLAGS

import jaxpot

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(m.name for m in pkgutil.walk_packages(jaxpot.__path__, "jaxpot.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    with jax.numpy_rank_promotion("allow"):
        results = doctest.testmod(importlib.import_module(name), extraglobs={"jnp": jnp, "np": np, "jax": jax})
    assert results.failed == 0


@pytest.mark.parametrize("name", jaxpot.__all__)
def test_every_public_name_has_a_docstring(name):
    assert (getattr(jaxpot, name).__doc__ or "").strip()


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.S)


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_documents_run(path, tmp_path):
    """The blocks of one document run in order, as one script, in a folder that holds the files they name.

    Unoptimised code compiles three times faster, and a document computes little.
    """
    frames = [a for a in ase.io.read(ROOT / "experiments/silicon_pbe/silicon_pbe.extxyz", ":") if a.info["config_type"] == "rattled_crystal"][:8]
    ase.io.write(tmp_path / "silicon.xyz", frames)
    ase.io.write(tmp_path / "start.xyz", ase.build.bulk("Si", "diamond", a=5.47, cubic=True).repeat(2))
    (tmp_path / "document.py").write_text("\n".join(blocks(path)))
    flags = {"XLA_FLAGS": QUICK_FLAGS, "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "document.py"], cwd=tmp_path, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
