"""The clock that leases are measured on."""

import time


def boottime() -> float:
    """Seconds on the clock that counts suspend. Python's time.monotonic() does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
