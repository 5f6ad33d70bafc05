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


@pytest.mark.parametrize("path", sorted((ROOT / "docs/gallery").glob("plot_*.py")), ids=lambda p: p.name)
def test_a_job_of_the_gallery_has_twenty_lines(path):
    """Blank lines, comments and the text at the top do not count; `.ci/docs` runs them."""
    code = [line for line in path.read_text().split('"""', 2)[2].splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) <= 20


def test_papers_are_those_of_the_docstrings():
    for section in (ROOT / "docs/papers.md").read_text().split("\n## ")[1:]:
        space = importlib.import_module("jaxpot." + re.search(r"`jp\.(\w+)`", section).group(1))
        for names, papers in re.findall(r"^\| (.*?) \| (.*) \|$", section, flags=re.M)[1:]:
            for name in re.findall(r"`(\w+)`", names):
                assert papers in " ".join(getattr(space, name).__doc__.split()), name


PAGES = [ROOT / "README.md", *sorted(path for folder in ("", "coming_from", "own") for path in (ROOT / "docs" / folder).glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
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
