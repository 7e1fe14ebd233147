"""The ownership protocol's model passes at the small bounds, and every rule left out is noticed.

`make model` searches the larger bounds. docs/reliability.md says what the model covers.
"""

import re

import pytest
from model.runs import CORE, MODEL, MOVE, MOVED, MUTANTS, SMALL, Mutant, Run, search

pytestmark = pytest.mark.model


@pytest.mark.parametrize("run", SMALL, ids=lambda run: run.name)
def test_the_protocol_passes_completely(run: Run) -> None:
    outcome = search(run)
    assert outcome.passed, outcome.said
    assert outcome.states > 10_000  # a model that cannot move passes, too


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_rule_left_out_violates_the_invariant(mutant: Mutant) -> None:
    assert mutant.base in SMALL  # the same bound passes with the rule
    outcome = search(mutant.base, mutant.name, quickly=not mutant.deep)
    assert outcome.violated == mutant.violates, outcome.said


@pytest.mark.parametrize("run", [CORE, MOVE], ids=lambda run: run.name)
def test_every_step_is_reached(run: Run) -> None:
    """No part of the model is dead: what is never executed proves nothing."""
    said = search(run).said
    file = re.escape(run.model.name)
    unreached = re.findall(rf"^\t.*{file}:\d+, state \d+, \"(.*)\"$", said, re.MULTILINE)
    assert set(unreached) <= {"-end-"}


def test_every_mutant_of_the_model_is_listed() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in (MODEL, MOVED))
    switches = set(re.findall(r"\bM_([A-Z_]+)\b", texts))
    # Raising the other VM's epoch is a second bolt: its claim, compared, holds by itself.
    assert switches - {"TAKE_OVER_EPOCH_KEPT"} == {mutant.name for mutant in MUTANTS}


def test_every_step_is_mapped_to_what_is_there() -> None:
    """docs/reliability.md: each function and each test that a step names exists."""
    root = MODEL.parents[2]
    page = (root / "docs/reliability.md").read_text(encoding="utf-8")
    steps = page.partition("### Steps, functions, tests")[2].partition("\n### ")[0]
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("entrypoint/holdfast", "tests/integration")
        for path in (root / folder).rglob("*.py")
    )
    named = set(re.findall(r"`(?:[A-Z]\w+\.)?([a-z_]\w+)`", steps))
    assert len(named) > 30
    assert {name for name in named if f"def {name}(" not in code} == set()
