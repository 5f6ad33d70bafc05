"""Text files of other codes: encodings, line ends, numbers, refusals."""

import importlib
import re

import pytest

from jaxpot.io.fit_config import read_config
from jaxpot.io.text import integer, number, one_line_refusals, read_text
from jaxpot.potentials.base import IsolatedAtoms


@pytest.mark.parametrize(
    "content",
    [b"# \xe9t\xe9\r\n1.0\r\n", b"\xef\xbb\xbf# \xc3\xa9t\xc3\xa9\n1.0\n", b"# \xe9t\xe9\r1.0\r", b"# \xe9\x85t\xe9\n1.0\n"],
    ids=["latin-1, dos", "byte-order mark", "old mac", "windows ellipsis"],
)
def test_comments_in_any_encoding_and_any_line_ends(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    lines = read_text(tmp_path / "a.txt", "numbers").splitlines()
    assert len(lines) == 2 and number(lines[1], "a.txt") == 1.0


@pytest.mark.parametrize(("content", "words"), [("1".encode("utf-16"), "UTF-16"), (b"1\0002", "byte 1 is zero")])
def test_what_is_no_text_is_refused(tmp_path, content, words):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.txt.*{words}"):
        read_text(tmp_path / "a.txt", "numbers")
    with pytest.raises(ValueError, match="is a folder"):
        read_text(tmp_path, "numbers")


@pytest.mark.parametrize("word", ["1_000", "１２", "0x1p3", "nan", "inf", "1e999", "1,5", "", "1.5-3"])
def test_only_finite_numbers_are_numbers(word):
    with pytest.raises(ValueError, match=r"a\.txt"):
        number(word, "a.txt")


def test_typographic_minus_is_named():
    with pytest.raises(ValueError, match="plain -"):
        number("−1.5", "a.txt")


def test_integers_may_be_written_as_floats():
    assert [integer(word, "") for word in ("4", "4.0", "-3.", "+7")] == [4, 4, -3, 7]
    for word in ("4.5", "4e0", "", "x", "٤", "9" * 30):
        with pytest.raises(ValueError, match="integer"):
            integer(word, "a.txt")


def test_every_refusal_is_one_line_with_the_file(tmp_path):
    failures = {"a": KeyError("x"), "b": ValueError("wrong\n  here"), "c": StopIteration(), "d": ValueError(f"{tmp_path / 'd'}: own words")}

    @one_line_refusals("a test")
    def read(path, *, option=1):
        raise failures[path.name]

    for name, error in failures.items():
        with pytest.raises(ValueError) as caught:
            read(tmp_path / name)
        text = str(caught.value)
        assert "\n" not in text and text.count(str(tmp_path / name)) == 1
        assert isinstance(error, ValueError) or type(error).__name__ in text
    with pytest.raises(TypeError):
        read(tmp_path / "a", other=1)


def test_configurations_in_any_encoding(tmp_path):
    text = '# caf\xe9\r\n[data]\r\ntrain = "a.xyz"\r\n[noise]\r\n[model]\r\n'
    for content in (text.encode("latin-1"), b"\xef\xbb\xbf" + text.encode()):
        (tmp_path / "fit.toml").write_bytes(content)
        assert read_config(tmp_path / "fit.toml")["data"] == {"train": "a.xyz"}
    (tmp_path / "fit.toml").write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match=r"fit\.toml is in UTF-16"):
        read_config(tmp_path / "fit.toml")


@pytest.mark.parametrize("module, call", [
    ("yace", 'write_yace("si.yace", potential)'),
    ("snap", 'write_snap("model.snapcoeff", "model.snapparam", potential)'),
    ("sgdml", 'write_sgdml("model.npz", model)'),
    ("mtp", 'write_mtp("model.mtp", model)'),
    ("n2p2", 'write_n2p2("folder", potential, length_unit=1.0, energy_unit=1.0)'),
])  # fmt: skip
def test_writers_want_the_path_first(module, call, tmp_path):
    name = call.partition("(")[0]
    writer = getattr(importlib.import_module(f"jaxpot.io.{module}"), name)
    paths = (tmp_path / "a", tmp_path / "b")[: call.count('", ')]
    units = {"length_unit": 1.0, "energy_unit": 1.0} if module == "n2p2" else {}
    message = re.escape(f"{name}: the path comes first, got IsolatedAtoms; write {call}")
    with pytest.raises(TypeError, match=message):
        writer(IsolatedAtoms({"Si": 0.0}), *paths, **units)
