"""How long tests wait for what must come: enough for a machine that does much else. What comes ends the wait."""

import time
from collections.abc import Callable

PATIENCE = 180.0  # seconds


def eventually(condition: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came true"
        time.sleep(0.05)
