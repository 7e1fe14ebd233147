"""What the rules around QEMU take of a launch: the same one with them and without, in turn."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench import process
from bench.lab import Lab, Vm
from bench.ways import Holdfast

ROUNDS = 40
WITH, WITHOUT = "with its firewall", "without CAP_NET_ADMIN"


class Bounded(Holdfast):
    """Less one right, by a program before it in both cases."""

    def __init__(self, lab: Lab, right: str) -> None:
        super().__init__(lab)
        self._right = right

    def command(self, vm: Vm) -> Sequence[str]:
        return ["setpriv", f"--bounding-set=-{self._right}", *super().command(vm)]


def measure(lab: Lab) -> dict[str, Any]:
    """Seconds by the clock, and of a processor, which are the launcher's own whatever else the machine does. The
    first round only warms the caches.
    """
    ways = {WITH: Bounded(lab, "sys_boot"), WITHOUT: Bounded(lab, "net_admin")}
    load = os.getloadavg()[0]
    times: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name in (WITH, WITHOUT) if turn % 2 else (WITHOUT, WITH):
            with ways[name].started(lab.on_file()) as start:
                spent = process.work(start.pid).nanoseconds / 1e9
            if turn:
                times[name].append(start.seconds)
                work[name].append(spent)
    when = datetime.now(UTC).strftime("%-d %B %Y")
    return {"when": when, "load": load, "times": times, "work": work}
