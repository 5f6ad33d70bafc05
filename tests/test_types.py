"""What a type checker says of the README and the documents: nothing."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_scripts_have_no_type_errors(tmp_path):
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")):
        blocks = re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.S)
        (tmp_path / f"{path.stem}.py").write_text("\n".join(blocks))
    (tmp_path / "wrong.py").write_text('import jaxpot as jp\njp.CosineCutoff("five")\n')
    settings = {"typeCheckingMode": "basic", "extraPaths": [str(ROOT)], "useLibraryCodeForTypes": False}  # jax-md has no types, and guesses are wrong
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(["pyright", "--pythonpath", sys.executable, "--outputjson", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    found = [f"{Path(e['file']).name}:{e['range']['start']['line'] + 1}: {e['message']}" for e in json.loads(done.stdout)["generalDiagnostics"]]
    assert not "\n".join(error for error in found if not error.startswith("wrong.py:2: "))
    assert any(error.startswith("wrong.py:2: ") for error in found)
