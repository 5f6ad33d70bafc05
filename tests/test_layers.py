"""Imports point downwards, the core imports nothing heavy, and `import jaxpot` is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "jaxpot"
LAYERS = {
    "interface": 0, "shown": 0, "pytree": 0, "leaves": 0, "passes": 0, "radial": 0, "checks": 0, "precision": 0, "units": 0, "math": 0,
    "neighbors": 1, "graph": 1, "properties": 1, "structures": 1, "ipi_driver": 5, "openmm_force": 5, "labels": 1,
    "descriptors": 2,
    "heads": 3, "potentials": 3, "fused": 3, "longrange": 3,
    "noise": 4, "data": 4, "streamed": 4, "fit": 4,
    "io": 5, "jaxmd": 5, "jaxmd_lists": 5, "md": 5, "calculator": 5, "sharding": 5, "trajectories": 5, "observables": 5, "active": 5,
    "cutoffs": 5, "kernels": 5, "empirical": 5, "molecules": 5, "tensors": 5, "testing": 5, "laws": 5,
    "trees": 0, "cores": 0,
    "cli": 6, "cli_fit": 6, "cli_info": 6, "cli_init": 6, "cli_plot": 6, "__main__": 6,
}  # fmt: skip
CORE = {"numpy", "jax", "optax", "flax", "jax_md", "ase", "scipy", "jaxlib"}
DRIVERS = {"tqdm", "matplotlib"}  # progress and plots: the fit's drivers and the command line
CRYSTALS = {"phonopy", "phono3py", "spglib", "seekpath"}  # of the extra `properties`
FORMATS = {"yaml", "tomli_w", "h5py", "ipi"}  # files of other codes, configurations


def modules():
    return sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_module(name):
    return (ROOT.parent / name.replace(".", "/")).with_suffix(".py").exists()


def room(path):
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [p for p in modules() if str(p) != "__init__.py"], ids=str)
def test_imports_point_downwards(path):
    layer = LAYERS[room(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "jaxpot" and len(parts) > 1:
            assert LAYERS[parts[1]] <= layer, f"{path} (layer {layer}) imports {name} (layer {LAYERS[parts[1]]})"
        elif parts[0] not in sys.stdlib_module_names and parts[0] != "jaxpot":
            allowed = CORE | (DRIVERS if layer >= 4 else set()) | (FORMATS if layer == 5 else set()) | (CRYSTALS if room(path) == "observables" else set()) | {"tomllib"}
            assert parts[0] in allowed, f"{path} imports {name}"


def test_no_circles_at_import():
    edges = {}
    for path in modules():
        source = ".".join(("jaxpot", *path.with_suffix("").parts)).removesuffix(".__init__")
        tree = ast.parse((ROOT / path).read_text())
        found = [(n.module, a.name) for n in tree.body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("jaxpot") for a in n.names]
        edges[source] = {f"{module}.{name}" if is_module(f"{module}.{name}") else module for module, name in found}
    state = {}

    def visit(module, trail):
        assert state.get(module) != "open", f"circle: {' -> '.join([*trail, module])}"
        if module in state or module == "jaxpot":
            return
        state[module] = "open"
        for target in edges.get(module, ()):
            if target != "jaxpot.fit" or module == "jaxpot":
                visit(target, [*trail, module])
        state[module] = "done"

    for module in edges:
        visit(module, [])


def test_import_loads_only_jax_and_numpy():
    code = (
        "import jax, sys, time; before = jax.config.values.copy(); start = time.process_time(); import jaxpot; "
        "seconds = time.process_time() - start; assert jax.config.values == before, 'configuration changed'; "
        "heavy = [m for m in ('ase', 'flax', 'optax', 'jax_md', 'scipy', 'matplotlib', 'tqdm', 'yaml', 'tomli_w') if m in sys.modules]; "
        "assert not heavy, heavy; assert seconds < 1.5, seconds"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_stay_short():
    long = {str(p): n for p in modules() if (n := len((ROOT / p).read_text().splitlines())) > 450}
    assert not long, f"a concept is hiding in {long}"


def test_slow_tests_exist():
    for line in (ROOT.parent / "tests" / "slow.txt").read_text().splitlines():
        file, name = line.split("[")[0].split("::")[0], line.split("[")[0].split("::")[-1]
        assert f"def {name}(" in (ROOT.parent / "tests" / file).read_text(), line
