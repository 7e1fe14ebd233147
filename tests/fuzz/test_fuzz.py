"""A short run of every fuzzer, the same each time; `make fuzz` is the long one."""

from collections.abc import Iterator

import pytest
from fuzz.running import run
from fuzz.targets import TARGETS, Target

from holdfast import log

SEED = 20260724
EACH = 120  # executions for a weight of 1


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    yield
    log.configure(level="info", as_json=False)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_but_faults_of_ours(target: Target) -> None:
    outcome = run(target, seed=SEED, executions=EACH * target.weight)
    assert not outcome.finds
    assert outcome.executions == EACH * target.weight


def test_a_find_would_be_seen() -> None:
    def broken(data: bytes) -> None:
        if b"'" in data:
            raise LookupError

    outcome = run(Target(name="broken", corpus=[b"abc"], run=broken), seed=1, executions=500)
    assert [kind.partition(" at ")[0] for kind in outcome.finds] == ["LookupError"]
