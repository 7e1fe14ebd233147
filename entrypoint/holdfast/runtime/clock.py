"""The clock that leases are measured on, and what a loop is to do later."""

import time
from collections.abc import Callable

What = Callable[[], None]


def boottime() -> float:
    """Return seconds on the clock that counts suspend. Python's time.monotonic() does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Timers:
    """Each thing once, at the time that was set last."""

    def __init__(self) -> None:
        self._due: dict[What, float] = {}

    def set(self, what: What, seconds: float) -> None:
        self._due[what] = time.monotonic() + seconds

    def drop(self, what: What) -> None:
        self._due.pop(what, None)

    def next(self) -> float | None:
        """Return when the next is due, on time.monotonic()'s clock."""
        return min(self._due.values(), default=None)

    def ring(self) -> None:
        now = time.monotonic()
        for what in [what for what, due in self._due.items() if due <= now]:
            del self._due[what]
            what()
