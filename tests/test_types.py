"""What type checkers, pyright and mypy, say of the README and the documents: nothing."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def scripts(tmp_path):
    """Every document as a script, and one that is wrong in its second line."""
    for path in (ROOT / "README.md", *(path for path in (ROOT / "docs").glob("**/*.md") if "generated" not in path.parts)):
        blocks = re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.S)
        (tmp_path / f"{path.stem}.py").write_text("\n".join(blocks))
    (tmp_path / "wrong.py").write_text('import jaxpot as jp\njp.CosineCutoff("five")\n')
    return tmp_path


def only_what_is_wrong(found):
    assert not "\n".join(error for error in found if not error.startswith("wrong.py:2: "))
    assert any(error.startswith("wrong.py:2: ") for error in found)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_scripts_have_no_type_errors(scripts):
    settings = {"typeCheckingMode": "basic", "extraPaths": [str(ROOT)], "useLibraryCodeForTypes": False}  # jax-md has no types, and guesses are wrong
    (scripts / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(["pyright", "--pythonpath", sys.executable, "--outputjson", str(scripts)], cwd=scripts, capture_output=True, text=True)
    found = json.loads(done.stdout)["generalDiagnostics"]
    only_what_is_wrong([f"{Path(e['file']).name}:{e['range']['start']['line'] + 1}: {e['message']}" for e in found])


@pytest.mark.slow
def test_scripts_have_no_errors_of_mypy(scripts):
    """Documents use a name again for something else, as scripts do."""
    pytest.importorskip("mypy")
    (scripts / "mypy.ini").write_text(
        f"[mypy]\nmypy_path = {ROOT}\nfollow_imports = silent\nignore_missing_imports = True\nallow_redefinition = True\ncache_dir = {scripts / 'cache'}\n"
    )
    done = subprocess.run([sys.executable, "-m", "mypy", *sorted(path.name for path in scripts.glob("*.py"))], cwd=scripts, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    only_what_is_wrong([line for line in done.stdout.splitlines() if ": error: " in line])
