"""A process of ours that talks without end, or never ends a line."""

import sys
import time
from functools import partial
from typing import Any

import pytest

from holdfast.instance.supervisor import Supervisor
from holdfast.runtime.child import KEPT_LINES, LINES_A_SECOND, LONGEST_LINE, PIECE, Child
from holdfast.runtime.events import Events

pytestmark = pytest.mark.processes

LINES = "import sys\nfor n in range(200_000): sys.stdout.write(f'line {n}\\n')\n"
NO_LINE = (
    "import sys\nfor n in range(2_000): sys.stdout.write('x' * 10_000)\nprint(); print('end')"
)


def heard(code: str) -> Child:
    child = Child("talker", [sys.executable, "-c", code], [])
    until = time.monotonic() + 60
    while child.reap() is None and time.monotonic() < until:
        child.listen()
        time.sleep(0.001)
    child.close()
    return child


def test_many_lines_are_neither_kept_nor_all_logged(capsys: pytest.CaptureFixture[str]) -> None:
    before = time.monotonic()
    child = heard(LINES)
    seconds = time.monotonic() - before
    assert len(child.said) == KEPT_LINES
    assert child.said[-1] == "line 199999"
    said = capsys.readouterr().err
    assert said.count(": line ") <= (seconds + 2) * LINES_A_SECOND
    assert "more lines in that second" in said


def test_of_a_line_without_end_the_beginning_is_kept() -> None:
    child = heard(NO_LINE)
    assert child.said[-1] == "end"
    assert all(len(line) <= LONGEST_LINE for line in child.said)
    assert len(child._rest) <= LONGEST_LINE


def test_one_piece_a_turn() -> None:
    """What else there is to do has its turn between them."""
    child = Child("talker", [sys.executable, "-c", "while True: print('y' * 99)"], [])
    try:
        while not child.said:
            child.listen()
        assert len(child._hear() or b"") <= PIECE
    finally:
        child.close()


def test_one_that_closes_its_end_and_lives_on_is_listened_to_no_more() -> None:
    """Its end can be read for ever, and the loop would do nothing else."""
    code = "import os, time; os.write(1, b'bye\\n'); os.close(1); os.close(2); time.sleep(600)"
    child = Child("quiet", [sys.executable, "-c", code], [])
    none: Any = None
    events = Events()
    supervisor = Supervisor(child, none, events, none, stop_timeout=1, keepalive=None)
    events.watch(child.output, partial(supervisor._listen, child))
    try:
        until = time.monotonic() + 60
        while child.output in watched(events) and time.monotonic() < until:
            events.wait(time.monotonic() + 1)
        assert child.output not in watched(events)
        assert list(child.said) == ["bye"]
        assert child.reap() is None
        events.forget(child.output)
    finally:
        child.close()


def watched(events: Events) -> set[int]:
    return {key.fd for key in events._selector.get_map().values()}
