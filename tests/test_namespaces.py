"""Where the names are: readers and writers on first use, and every public name documented."""

import subprocess
import sys

import pytest

import jaxpot


@pytest.mark.parametrize("name", jaxpot.io.__all__)
def test_readers_and_writers(name):
    found = getattr(jaxpot.io, name)
    assert found.__name__ == name and found.__doc__.strip()


def test_readers_are_loaded_on_first_use():
    code = "import sys, jaxpot as jp; assert 'jaxpot.io.gap' not in sys.modules; jp.io.read_gap; assert 'jaxpot.io.gap' in sys.modules and 'read_gap' in dir(jp.io)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"no attribute 'read_gpa'; its functions are read_eam, read_edip"):
        jaxpot.io.read_gpa
