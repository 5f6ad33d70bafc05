"""Code in the README and in docs runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import pytest
from catalog import QUICK_FLAGS

ROOT = Path(__file__).resolve().parent.parent


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
