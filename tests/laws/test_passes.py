"""Passes are one walk: they reach every part wherever it stands, keep what has no rule, and change nothing that is predicted."""

import catalog
import jax
import pytest
from catalog import POTENTIALS, assert_below, deviations, evaluate, variants_slow

import jaxpot
from jaxpot.passes import Fast, Rules, condense, freeze, prepare, tabulate
from jaxpot.trees import is_pytree, pytree, static

N = {name: len(atoms) for name, atoms in catalog.STRUCTURES.items()}


@pytree
class Leafy:
    x: jax.Array
    n: int = static(1)


@pytree
class Nested:
    parts: tuple
    one: Leafy | None
    table: tuple[tuple[int, ...], ...] = static(())


def test_a_rule_is_applied_from_the_innermost_outwards():
    seen, rules = [], Rules()
    rules.rule(Leafy)(lambda part: seen.append("leafy") or part.replace(x=part.x + 1))
    rules.rule(Nested)(lambda part: seen.append(("nested", [float(p.x) for p in part.parts])) or part)
    model = Nested((Leafy(1.0), Leafy(2.0)), Leafy(3.0), ((1, 2), (3,)))
    new = rules(model)
    assert seen == ["leafy", "leafy", "leafy", ("nested", [2.0, 3.0])]
    assert [float(p.x) for p in new.parts] == [2.0, 3.0] and float(new.one.x) == 4.0 and new.table is model.table


def test_what_has_no_rule_is_the_same_object():
    model = Nested((Leafy(1.0),), Leafy(3.0))
    assert Rules()(model) is model


def test_a_rule_for_some_fields_comes_first():
    rules = Rules()
    rules.rule(Nested)(lambda part: "any")
    rules.rule(Nested, one=Leafy)(lambda part: "leafy")
    assert rules(Nested((), Leafy(1.0))) == "leafy" and rules(Nested((), None)) == "any"


@pytest.mark.parametrize("name", ["soap-gto", "gp-squared-exponential", "three-body", "pace", "structure-global-soap", "sum"])
def test_condensed_and_frozen_predict_the_same(name):
    model, graph = catalog.potential(name), catalog.graph("slab")
    reference = evaluate(model, graph)
    for changed in (condense(model), freeze(model)):
        assert_below(deviations(evaluate(changed, graph), reference, N["slab"]), 1e-12)


@pytest.mark.parametrize("name", variants_slow(POTENTIALS))
def test_passes_keep_what_a_model_is(name):
    """Elements, reach and interface; freezing twice is freezing once."""
    model = catalog.potential(name)
    for changed in (jax.eval_shape(prepare, model), freeze(model)):
        assert set(changed.species) == set(model.species) and isinstance(changed, jaxpot.Potential)
    once = freeze(model)
    assert freeze(once) == once
    assert float(prepare(model).reach) == pytest.approx(float(model.reach), rel=1e-14)


def walked(value):
    if isinstance(value, (tuple, list)):
        return [part for child in value for part in walked(child)]
    return [value, *(p for name in value.__dataclass_fields__ for p in walked(getattr(value, name)))] if is_pytree(value) else []


def test_passes_reach_into_sums_committees_and_switches():
    """A density deep inside is condensed and tabulated like one at the top."""
    soap = catalog.potential("soap-gto")
    model = jaxpot.potentials.Committee((soap + catalog.potential("isolated-atoms"), soap + catalog.potential("isolated-atoms")))
    assert not any(isinstance(p, jaxpot.Density) and not isinstance(p, Fast) and p.sigma is not None for p in walked(tabulate(model, accuracy=1e-6)))
    names = {type(p).__name__ for p in walked(prepare(model))}
    assert "LinearSOAP" in names and "AtomicPotential" not in names
