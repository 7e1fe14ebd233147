"""How long to leave a VM alone whose start has failed here."""

import time

from holdfast.errors import HoldfastError, LockHeld, Unreachable

FIRST = 5.0  # seconds; each failure doubles it
LONGEST = 300.0
# What passes by itself is looked for sooner.
PASSING: dict[type[HoldfastError], float] = {Unreachable: 10.0, LockHeld: 40.0}


class BackOff:
    """It ends early when an operator has changed a key: that may have been the cause."""

    def __init__(self) -> None:
        self.failures = 0
        self._until = 0.0
        self._keys = ""

    def begin(self, error: HoldfastError, keys: str) -> float:
        """After one more failure. `keys` are as last.sight() gives them. Returns the seconds."""
        if keys != self._keys:
            self.failures = 0
        longest = min(
            (limit for kind, limit in PASSING.items() if isinstance(error, kind)), default=LONGEST
        )
        seconds = min(FIRST * 2.0 ** min(self.failures, 10), longest)
        self.failures += 1
        self._until, self._keys = time.monotonic() + seconds, keys
        return seconds

    def left(self, keys: str) -> float:
        """Seconds until the next try."""
        return self._until - time.monotonic() if keys == self._keys else 0.0
