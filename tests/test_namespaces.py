"""Where the names are: readers and writers on first use, and every public name documented."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxpot


@pytest.mark.parametrize("name", jaxpot.io.__all__)
def test_readers_and_writers(name):
    found = getattr(jaxpot.io, name)
    assert found.__name__ == name and found.__doc__.strip()


def test_readers_are_loaded_on_first_use():
    code = "import sys, jaxpot as jp; assert 'jaxpot.io.gap' not in sys.modules; jp.io.read_gap; assert 'jaxpot.io.gap' in sys.modules and 'read_gap' in dir(jp.io)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"no attribute 'read_gpa'; its functions are export, load_posterior, read, read_eam, read_edip"):
        jaxpot.io.read_gpa


SPACES = ("cutoffs", "descriptors", "empirical", "fit", "heads", "io", "kernels", "molecules", "potentials", "radial", "tensors", "testing")
HERE = [name for name in jaxpot.__all__ if name in vars(jaxpot)]  # without what is loaded on first use


@pytest.mark.parametrize("space", SPACES)
def test_every_name_of_a_namespace_has_a_docstring(space):
    module = getattr(jaxpot, space)
    for name in getattr(module, "__all__", ()):
        assert (getattr(module, name).__doc__ or "").strip(), name


def test_a_name_at_the_top_lives_in_one_namespace_too():
    homes = {name: space for space in SPACES for name in getattr(getattr(jaxpot, space), "__all__", ())}
    alone = {name for name in HERE if name not in homes and isinstance(getattr(jaxpot, name), type)}
    assert alone <= {"Dataset", "Environment", "Graph", "Properties"}
    assert all(getattr(jaxpot, name) is getattr(getattr(jaxpot, homes[name]), name) for name in HERE if name in homes)


def test_what_is_not_at_the_top_says_where_it_is():
    with pytest.raises(AttributeError, match=r"'LennardJones'; write jaxpot\.empirical\.LennardJones"):
        jaxpot.LennardJones


def test_no_module_is_hidden_by_a_function_of_its_name():
    root = Path(jaxpot.__file__).parent
    for path in root.rglob("__init__.py"):
        package = ".".join(path.parent.relative_to(root.parent).parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module != package:
                hidden = [a.name for a in node.names if (path.parent / f"{a.name}.py").exists() or (path.parent / a.name).is_dir()]
                assert not hidden, f"{package}: {hidden} from {node.module}"
