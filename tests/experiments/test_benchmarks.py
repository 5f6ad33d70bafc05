"""The benchmarks run without any peer, and take, count and judge what they say."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from catalog import quick_jit

import jaxpot as jp

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.benchmarks import __main__ as script
from experiments.benchmarks import children, comparisons, longrange, models, peers, survey, timing
from experiments.benchmarks.comparisons import Claim, Comparison
from experiments.datasets import load as datasets_load

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_smallest_case_without_peers(tmp_path, monkeypatch):
    def missing(name):
        raise peers.Missing(f"no {name} here")

    for name in ("needed", "installed", "executable"):
        monkeypatch.setattr(peers, name, missing)
    monkeypatch.setattr(models, "FAMILIES", {"tiny": lambda species: models.linear(jp.descriptors.MTP(species, 4, 2.0, models.CUTOFF))})
    monkeypatch.setattr(timing, "program", lambda f, *args: timing.Program(quick_jit(f).lower(*args).compile(), jax.device_put(args), 0.0))
    monkeypatch.setattr(timing, "peaks", functools.partial(timing.peaks, size=128, megabytes=1))
    monkeypatch.setattr(survey, "load", lambda name: [a for a in datasets_load(name) if len(a) == 8][:8])
    options = "--parts survey throughput fits gap ace_fit --sizes 64 --base 64 --runs 1 --precisions float64 --species 1 --throughput-family tiny --throughput-atoms 64"
    monkeypatch.setattr(sys, "argv", ["benchmarks", *options.split(), "--output", str(tmp_path)])
    with jax.numpy_rank_promotion("allow"):
        script.main()
    results = json.loads((tmp_path / "results.json").read_text())
    rows = results["survey"]
    assert [row["quantity"] for row in rows] == ["energy", "energy, forces", "energy, forces, virial", "NVT step"]
    assert all(row["microseconds per atom"]["lowest"] > 0 for row in rows) and all(row["times the floor"] > 1 for row in rows[:3])
    assert rows[2]["flops per atom"] > rows[0]["flops per atom"] > 1000
    assert 0 < results["throughput"][0]["million atom-steps per second"]["NVT step"]
    assert results["fits"][0]["fit"]["median"] > 0 and results["fits"][0]["evidence gradient"]["median"] > 0
    assert len(results["missing"]) == 2 and all("here" in reason for reason in results["missing"]) and results["failed"] == []
    assert "| tiny | NVT step | 64 |" in (tmp_path / "results.md").read_text() and (tmp_path / "cost_and_size.png").exists()


@pytest.mark.slow
def test_equilibration():
    """Both solvers give the same charges, which the comparison itself checks, and all three programs are timed."""
    one = longrange.equilibration(64, 1e-2, runs=1)
    assert one.checks["largest difference of charges, e"] < 1e-8 and len(one.times) == 3


def test_turns_alternate_and_the_first_is_not_counted():
    called = []

    def contender(name):
        return lambda: called.append(name) or float(len(called))

    times = timing.interleaved({"a": contender("a"), "b": contender("b")}, runs=3)
    assert called == list("abababab") and times["a"].runs == (3.0, 5.0, 7.0) and times["b"].median == 6.0
    assert times["a"].per(5e6) == {"median": 1.0, "lowest": 0.6, "highest": 1.4}


def test_operations_are_counted_and_the_floor_is_the_larger_of_both():
    a = jnp.ones((64, 32))
    product = timing.program(lambda a: a @ a.T, a)
    assert 2 * 64 * 64 * 32 <= product.counted["flops"] <= 1.1 * 2 * 64 * 64 * 32
    assert product.bytes_in_and_out == 8 * (64 * 32 + 64 * 64)
    peak = {"Gflop/s": 1.0, "memory GB/s": 1.0}
    assert timing.floor({"flops": 3e9}, 2e9, peak) == 3.0 and timing.floor({"flops": 1e9}, 2e9, peak) == 2.0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory of one call is measured through /proc")
def test_memory_of_a_call():
    """In a process of its own, as it is meant: here malloc may have 64 MiB of earlier tests at hand, and nothing would grow."""
    call = "import numpy; from experiments.benchmarks import timing; print(timing.memory_of(lambda: numpy.ones(2**23)))"
    process = subprocess.run([sys.executable, "-c", call], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert 0.99 * 2**26 <= int(process.stdout) < 1.25 * 2**26


def test_structures():
    for n in (8, 64, 512, 4096, 1000, 65536):
        assert len(models.crystal(n)) == n
    assert set(models.crystal(64, models.MANY).get_chemical_symbols()) == set(models.MANY)
    lengths = models.crystal(65536).cell.lengths()
    assert max(lengths) <= 2.01 * min(lengths)
    with pytest.raises(ValueError, match="a multiple of 8 atoms, not 100"):
        models.crystal(100)


def test_as_many_functions_as_ace_jax():
    """Its bases of degree 10, 13 and 17 have 110 + 10, 286 + 13 and 868 + 17 functions."""
    for (name, degree), theirs in zip(models.ACE_DEGREES.items(), (120, 299, 885), strict=True):
        n = models.ace(degree).n_features
        assert name == f"ace-{n}" and theirs <= n <= 1.02 * theirs
        assert models.ace(degree, models.MANY).n_features == n


def test_claims():
    assert str(Claim("faster", 2.0, 3.0)) == "claim: faster: 2 (asked at least 3), NOT MET"
    assert str(Claim("smaller", 2.0, 3.0, at_least=False)) == "claim: smaller: 2 (asked at most 3)"
    one = Comparison("two codes", 8, times={"peer": timing.Times((4.0, 6.0, 5.0)), "here": timing.Times((1.0,))})
    one.faster("faster", "peer", "here", 2)
    one.faster("not timed", "other", "here", 2)
    assert [claim.measured for claim in one.claims] == [5.0]
    with pytest.raises(RuntimeError, match=r"two codes: forces: 1.0e-03, expected at most 1e-06"):
        one.check("forces", 1e-3, 1e-6)
    with pytest.raises(RuntimeError):
        one.check("forces", float("nan"), 1e-6)


def test_flatness():
    def row(n, median, quantity=survey.ALL_THREE):
        return {"family": "f", "quantity": quantity, "dtype": "float64", "n_species": 1, "n_atoms": n, "microseconds per atom": {"median": median}}

    rows = [row(65536, 11.0), row(512, 9.0), row(64, 50.0), row(512, 70.0, "energy")]
    assert survey.flatness(rows) == pytest.approx({"f": 0.1}) and survey.flatness(rows[:1]) == {}


def test_calculator_keeps_its_list(monkeypatch):
    searches = []
    monkeypatch.setattr("jaxpot.calculator.from_atoms", lambda *args, **outer: searches.append(1) or jp.from_atoms(*args, **outer))
    run = comparisons.calculator(jp.empirical.LennardJones(("Si",), 0.01, 2.0, jp.cutoffs.PolynomialCutoff(4.0)), models.crystal(8))
    assert run() > 0 and run() > 0 and searches == [1]


@pytest.mark.slow
def test_processes_of_their_own():
    start = children.ask("start_up")
    assert start["import of jaxpot alone"] < start["import"] < start["first evaluation"] < 30
    found = children.ask("compilations")
    assert found["traces"] == found["shapes of batches"] > 1 and found["compilations of a moving crystal"] == 0
    memory = children.ask("memory", family="mtp", n_atoms=4096, dtype="float64")
    assert 0 < memory["planned bytes per atom"] < 30_000 and 400 < memory["neighbour list, bytes per atom"] < 600
    scaling = children.ask("scaling", family="mtp", n_atoms=512, devices=[1, 2], runs=1)
    assert scaling["communication"]["strong, 1"]["bytes sent by a device"] == 0 < scaling["communication"]["strong, 2"]["bytes sent by a device"]
    with pytest.raises(RuntimeError, match="memory with .* failed"):
        children.ask("memory", family="no such family", n_atoms=64, dtype="float64")
