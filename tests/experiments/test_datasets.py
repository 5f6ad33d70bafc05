"""The loader of published data: conversion, verification, cache and messages, without a network."""

import collections
import dataclasses
import hashlib
import importlib.util
import json
import lzma
import os
import sys
from pathlib import Path

import numpy as np
import pytest

LOADER = Path(__file__).resolve().parents[2] / "experiments" / "datasets.py"
KBAR = 1602.1766208
needs_data = pytest.mark.skipif(
    not os.environ.get("JAXPOT_DATA"), reason="needs the published data sets: export JAXPOT_DATA=/path/to/folder"
)


def import_loader():
    spec = importlib.util.spec_from_file_location("jaxpot_experiments_datasets", LOADER)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


datasets = import_loader()


def mlearn_document(element, group, virial, tag="test"):
    """A two-atom frame laid out as in mlearn's JSON."""
    cell = [[4.0, 0.0, 0.0], [0.5, 4.25, 0.0], [0.0, -0.25, 5.0]]
    fractional = [[0.0, 0.0, 0.0], [0.25, 0.5, 0.125]]
    sites = [
        {"species": [{"element": element, "occu": 1}], "abc": abc, "xyz": (np.array(abc) @ cell).tolist(), "label": element}
        for abc in fractional
    ]
    return {
        "structure": {
            "@module": "pymatgen.core.structure",
            "@class": "Structure",
            "charge": None,
            "lattice": {"matrix": cell},
            "sites": sites,
        },
        "num_atoms": 2,
        "outputs": {"energy": -10.125, "forces": [[-0.0, 0.5, -1.25], [0.0, -0.5, 1.25]], "virial_stress": virial},
        "element": element,
        "group": group,
        "tag": tag,
        "description": f"{element} 1x1x1 cell, mode 0, strain -0.06",
    }


@pytest.fixture
def documents():
    """Si in both orders of the virial (xx yy zz xy xz yz, then xx yy zz xy yz xz), and Li without a stress."""
    virial = [1.0, 2.0, 3.0, 12.0, 13.0, 23.0]
    return [
        mlearn_document("Si", "AIMD-NVT", virial),
        mlearn_document("Si", "Elastic", virial),
        mlearn_document("Li", "Elastic", virial),
    ]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """No $JAXPOT_DATA and an empty cache; returns the cache's folder."""
    monkeypatch.delenv("JAXPOT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxpot"


EXPECTED_TEXT = """2
Lattice="4.0 0.0 0.0 0.5 4.25 0.0 0.0 -0.25 5.0" Properties=species:S:1:pos:R:3:forces:R:3 config_type=Elastic split=test \
description="Si 1x1x1 cell, mode 0, strain -0.06" source_index=0 virial_kbar_raw="1.0 2.0 3.0 12.0 13.0 23.0" \
virial_raw_order=xx,yy,zz,xy,yz,xz energy=-10.125 stress="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}" pbc="T T T"
Si       0.00000000       0.00000000       0.00000000      -0.00000000       0.50000000      -1.25000000
Si       1.25000000       2.09375000       0.62500000       0.00000000      -0.50000000       1.25000000
""".format(xx=-1 / KBAR, yy=-2 / KBAR, zz=-3 / KBAR, xy=-12 / KBAR, yz=-13 / KBAR, xz=-23 / KBAR)


def publish(monkeypatch, tmp_path, name, document, text):
    """Registers `name` with the hash of `text`, its source being a local file that holds `document`."""
    source = tmp_path / "source.json"
    source.write_text(json.dumps([document]))
    entry, digest = datasets.REGISTRY[name], hashlib.sha256(text.encode()).hexdigest()
    changes = {"text_sha256": digest, "sha256": "0" * 64} if entry.compressed else {"sha256": digest}
    monkeypatch.setitem(datasets.REGISTRY, name, dataclasses.replace(entry, url=source.as_uri(), **changes))
    return source


def test_mlearn_conversion(documents):
    frames = datasets.convert_mlearn(documents)
    assert [atoms.info["virial_raw_order"] for atoms in frames[:2]] == ["xx,yy,zz,xy,xz,yz", "xx,yy,zz,xy,yz,xz"]
    # ASE's order is xx yy zz yz xz xy: the same six numbers mean 23 = yz in the first frame and 23 = xz in the second.
    np.testing.assert_allclose(frames[0].get_stress(), -np.array([1, 2, 3, 23, 13, 12]) / KBAR, rtol=1e-15)
    np.testing.assert_allclose(frames[1].get_stress(), -np.array([1, 2, 3, 13, 23, 12]) / KBAR, rtol=1e-15)
    assert "stress" not in frames[2].calc.results and "virial_raw_order" not in frames[2].info
    for n, atoms in enumerate(frames):
        assert atoms.pbc.all() and atoms.info["source_index"] == n and atoms.info["split"] == "test"
        assert atoms.info["config_type"] == documents[n]["group"] and atoms.info["description"] == documents[n]["description"]
        assert atoms.get_potential_energy() == -10.125
        np.testing.assert_array_equal(atoms.get_forces(), [[0, 0.5, -1.25], [0, -0.5, 1.25]])
        np.testing.assert_array_equal(atoms.cell.array, documents[n]["structure"]["lattice"]["matrix"])
        np.testing.assert_allclose(atoms.get_scaled_positions(), [[0, 0, 0], [0.25, 0.5, 0.125]], atol=1e-15)
        np.testing.assert_array_equal(atoms.info["virial_kbar_raw"], [1, 2, 3, 12, 13, 23])


@pytest.mark.parametrize(
    ("element", "group", "shear"),
    [
        ("Li", "AIMD-NVT", ("xy", "yz", "xz")),
        ("Li", "Surface", ("xy", "yz", "xz")),
        ("Ge", "Elastic", ("xy", "yz", "xz")),
        ("Ge", "Vacancy", ("xy", "xz", "yz")),
        ("Mo", "Elastic", ("xy", "xz", "yz")),
        ("Cu", "Elastic", ("xy", "xz", "yz")),
        ("Ni", "AIMD-NVT", ("xy", "xz", "yz")),
    ],
)
def test_virial_order(element, group, shear):
    assert datasets.virial_order(element, group) == ("xx", "yy", "zz", *shear)


def test_conversion_refuses_what_it_does_not_know(documents):
    shared, missing, split, element, group = (json.loads(json.dumps(documents[0])) for _ in range(5))
    shared["structure"]["sites"][0]["species"][0]["occu"] = 0.5
    missing["outputs"]["forces"].pop()
    split["tag"] = "validation"
    element["element"] = "Fe"
    group["group"] = "Liquid"
    for document, message in (
        (shared, "partly occupied"),
        (missing, "1 forces"),
        (split, "validation"),
        (element, "Fe"),
        (group, "Liquid"),
    ):
        with pytest.raises(ValueError, match=message):
            datasets.convert_mlearn([document])


@pytest.mark.parametrize("name", ["mlearn/Si_test", "mlearn/Si_train"])  # stored plain, stored compressed
def test_download_convert_verify_cache(name, documents, empty_cache, tmp_path, monkeypatch):
    source = publish(monkeypatch, tmp_path, name, documents[1], EXPECTED_TEXT)
    assert not datasets.available(name)
    frames = datasets.load(name)
    stored = empty_cache / datasets.REGISTRY[name].path
    assert [path for path in empty_cache.rglob("*") if path.is_file()] == [stored]
    content = stored.read_bytes()
    assert (lzma.decompress(content) if name.endswith("train") else content).decode() == EXPECTED_TEXT
    source.unlink()  # from here on only the cache is left
    assert datasets.available(name) and datasets.locate(name) == ("cache", stored)
    (again,) = datasets.load(name)
    assert again == frames[0] and again.info["source_index"] == 0
    np.testing.assert_array_equal(again.get_stress(), frames[0].get_stress())


def test_converted_file_with_another_hash_is_not_stored(documents, empty_cache, tmp_path, monkeypatch):
    source = publish(monkeypatch, tmp_path, "mlearn/Si_test", documents[1], EXPECTED_TEXT)
    changed = json.loads(json.dumps(documents[1]))
    changed["outputs"]["forces"][0][1] += 1e-8
    source.write_text(json.dumps([changed]))
    expected = datasets.REGISTRY["mlearn/Si_test"].sha256
    with pytest.raises(ValueError, match=f"not the registered set(.|\n)*{expected}(.|\n)*found: +SHA-256 [0-9a-f]{{64}}"):
        datasets.load("mlearn/Si_test")
    assert not empty_cache.exists()


def test_interrupted_store_leaves_nothing(documents, empty_cache, tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path, "mlearn/Si_test", documents[1], EXPECTED_TEXT)

    def fail(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mlearn/Si_test")
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["mlearn/Si_test", "mlearn/Si_train"])
def test_damaged_file(name, empty_cache, tmp_path, monkeypatch):
    path = tmp_path / "folder" / "data" / datasets.REGISTRY[name].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    monkeypatch.setenv("JAXPOT_DATA", str(tmp_path / "folder"))
    with pytest.raises(ValueError) as error:
        datasets.load(name)
    for part in (datasets.REGISTRY[name].sha256, hashlib.sha256(b"damaged").hexdigest(), str(path), "copy it anew", "delete it"):
        assert part in str(error.value)


def test_missing_set(empty_cache, tmp_path, monkeypatch):
    parts = (
        "3BPA/train_300K.extxyz.xz",
        str(empty_cache / "3BPA"),
        "davkovacs/BOTNet-datasets",
        "no converter",
        "export JAXPOT_DATA=/path/to/folder",
    )
    assert not datasets.available("3BPA/train_300K")
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("3BPA/train_300K")
    for part in (*parts, "$JAXPOT_DATA: not set"):
        assert part in str(error.value)
    monkeypatch.setenv("JAXPOT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("3BPA/train_300K")
    for part in (*parts, str(tmp_path / "data" / "3BPA")):
        assert part in str(error.value)


def test_failed_download(documents, empty_cache, tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path, "mlearn/Si_test", documents[1], EXPECTED_TEXT).unlink()
    with pytest.raises(FileNotFoundError, match=r"download of file://(.|\n)*export JAXPOT_DATA="):
        datasets.load("mlearn/Si_test")


def test_unknown_name():
    with pytest.raises(ValueError, match="did you mean mlearn/Si_train"):
        datasets.load("mlearn/Si_tran")
    with pytest.raises(ValueError, match="no data set"):
        datasets.available("")


def test_registry():
    for name, entry in datasets.REGISTRY.items():
        assert len(entry.sha256) == 64 and entry.source, name
        assert entry.url is None or (entry.folder in datasets.CONVERTERS and (not entry.compressed or entry.text_sha256)), name
    downloads = {name for name, entry in datasets.REGISTRY.items() if entry.url}
    assert downloads == {f"mlearn/{element}_{split}" for element in ("Li", "Mo", "Si") for split in ("train", "test")}
    assert all("/10c427a5480c6281c15c64efaf869b03be04818f/data/" in datasets.REGISTRY[name].url for name in downloads)


def test_silicon_pbe_is_what_its_readme_says(empty_cache):
    assert datasets.locate("silicon_pbe")[0] == "repository"
    frames = datasets.load("silicon_pbe")
    assert len(frames) == 125 and sum(map(len, frames)) == 772
    found = collections.Counter((atoms.info["config_type"], atoms.info["split"]) for atoms in frames)
    expected = {}
    for line in (LOADER.parent / "silicon_pbe" / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1].isdigit():  # | config_type | train | test | atoms |
            kind = cells[0].split(" ")[0]
            expected[kind, "train"], expected[kind, "test"] = int(cells[1]), int(cells[2]) if cells[2].isdigit() else 0
    assert len(expected) == 16 and found == collections.Counter(expected)
    for atoms in frames:
        assert ("stress" in atoms.calc.results) == (atoms.info["config_type"] != "dimer")
        assert np.isfinite(atoms.get_potential_energy()) and np.isfinite(atoms.get_forces()).all()


def test_command_line(empty_cache, capsys):
    datasets.main([])
    lines = capsys.readouterr().out.splitlines()
    places = {line.split()[0]: line.split()[1] for line in lines}
    assert len(lines) == len(datasets.REGISTRY)
    assert places["silicon_pbe"] == "repository" and places["mlearn/Si_train"] == "download" and places["QM7/qm7_7101"] == "not"
    datasets.main(["silicon_pbe"])
    assert capsys.readouterr().out.startswith("silicon_pbe: 125 frames, 772 atoms, Si\n")
    with pytest.raises(SystemExit, match="export JAXPOT_DATA="):
        datasets.main(["QM7/qm7_7101"])


@needs_data
@pytest.mark.parametrize("name", [name for name in datasets.REGISTRY if name.startswith("mlearn/")])
def test_mlearn_files_verify(name):
    place, path = datasets.locate(name)
    assert place == "$JAXPOT_DATA"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == datasets.REGISTRY[name].sha256
    text = datasets.verified_text(name, path)
    expected = datasets.REGISTRY[name].text_sha256
    assert expected is None or hashlib.sha256(text.encode()).hexdigest() == expected


@needs_data
def test_si_train_loads():
    frames = datasets.load("mlearn/Si_train")
    assert len(frames) == 214 and sum(map(len, frames)) == 13233
    for atoms in frames:  # the registered stress is the conversion of the registered raw numbers
        order = datasets.virial_order("Si", atoms.info["config_type"])
        assert atoms.info["virial_raw_order"] == ",".join(order)
        raw = dict(zip(order, atoms.info["virial_kbar_raw"], strict=True))
        np.testing.assert_array_equal(
            atoms.get_stress(), [-raw[component] / KBAR for component in ("xx", "yy", "zz", "yz", "xz", "xy")]
        )


@needs_data
@pytest.mark.parametrize("name", sorted(name for name, entry in datasets.REGISTRY.items() if entry.url))
def test_conversion_reproduces_the_registered_file(name, tmp_path, monkeypatch):
    """Registered frames, written back as mlearn's JSON and converted anew, give the registered text byte for byte."""
    entry = datasets.REGISTRY[name]
    documents = []
    for atoms in datasets.load(name):
        outputs = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces().tolist(),
            "virial_stress": atoms.info["virial_kbar_raw"].tolist(),
        }
        sites = [{"species": [{"element": a.symbol, "occu": 1}], "xyz": a.position.tolist()} for a in atoms]
        documents.append(
            {
                "structure": {"lattice": {"matrix": atoms.cell.tolist()}, "sites": sites},
                "num_atoms": len(atoms),
                "outputs": outputs,
                "element": name[7:9],
                "group": atoms.info["config_type"],
                "tag": atoms.info["split"],
                "description": atoms.info["description"],
            }
        )
    source = tmp_path / "source.json"
    source.write_text(json.dumps(documents))
    monkeypatch.setitem(datasets.REGISTRY, name, dataclasses.replace(entry, url=source.as_uri()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stored = datasets.fetch(name)
    text = datasets.verified_text(name, stored)
    assert hashlib.sha256(text.encode()).hexdigest() == (entry.text_sha256 or entry.sha256)
