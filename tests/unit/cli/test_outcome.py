"""What a VM has come to since its power was switched."""

import pytest

from holdfast.cli.outcome import Sight, started, stopped, untold

RUNS, STARTS = {"state": "running", "host": "host-a"}, {"state": "restarting", "host": "host-a"}
CRASHED = {"state": "crashed", "host": "host-a", "why": "QEMU died"}
FORCED = {"state": "stopped", "forced": True, "why": "forced"}


@pytest.mark.parametrize(
    ("sight", "status"),
    [
        (Sight(), None),
        (Sight(locked="host-a"), None),
        (Sight(status=STARTS, locked="host-a"), None),
        (Sight(status=RUNS, locked="host-a"), 0),
        (Sight(last=CRASHED), None),  # that was before
        (Sight(last=CRASHED, ended=True, locked="host-b"), None),
        (Sight(last=CRASHED, ended=True), 70),
        (Sight(last=FORCED, ended=True), None),  # another host may take it
    ],
)
def test_a_start(sight: Sight, status: int | None) -> None:
    found = started("7", sight)
    assert (None if found is None else found.status) == status


@pytest.mark.parametrize(
    ("sight", "says"),
    [
        (Sight(status=RUNS, locked="host-a"), None),
        (Sight(locked="host-a"), None),
        (Sight(status=RUNS), None),
        (Sight(), "is down (its lock is gone)"),
        (Sight(last=FORCED, ended=True), "by force"),
    ],
)
def test_a_stop(sight: Sight, says: str | None) -> None:
    found = stopped("7", sight)
    assert found is None if says is None else found is not None and says in found.text


@pytest.mark.parametrize(
    ("sight", "up", "says"),
    [
        (Sight(), True, "was taken by no host"),
        (Sight(locked="host-a"), True, "still being started on host-a"),
        (Sight(last=FORCED, ended=True), True, "did not start on"),
        (Sight(locked="host-a"), False, "not down yet on host-a"),
    ],
)
def test_a_time_that_is_over_names_the_next_step(sight: Sight, up: bool, says: str) -> None:
    found = untold("7", sight, up=up)
    assert says in found.text
    assert "holdfast show 7" in found.text
    assert found.status == 75
