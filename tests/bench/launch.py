"""From a command to the guest's first instruction, by every way in turn."""

from collections.abc import Callable, Sequence

from bench.lab import Lab, Vm
from bench.ways import Way, ways

ROUNDS = 20
ROUNDS_IN_CEPH = 12

Times = dict[str, list[float]]  # seconds by way, a round each


def measure(lab: Lab) -> dict[str, Times]:
    every = ways(lab)
    return {
        "file": rounds(every, lab.on_file, ROUNDS),
        "Ceph": rounds([way for way in every if way.in_ceph], lab.in_ceph, ROUNDS_IN_CEPH),
    }


def rounds(every: Sequence[Way], vm: Callable[[], Vm], number: int) -> Times:
    """Paired: each round tries every way once, each time beginning with another one. The first round only
    warms the caches.
    """
    times: Times = {way.name: [] for way in every}
    for turn in range(number + 1):
        first = turn % len(every)
        for way in [*every[first:], *every[:first]]:
            with way.started(vm()) as start:
                pass
            if turn:
                times[way.name].append(start.seconds)
    return times
