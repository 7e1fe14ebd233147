"""Many VMs on one machine: what each costs beside its QEMU, and how that grows."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from bench import process
from bench.lab import REQUESTS, Lab, Vm
from bench.ways import Holdfast, HoldfastInContainer, Way

IDLE = 16.0  # seconds of looking at VMs that do nothing: several renewals of a lease
IN_CONTAINERS = (1, 5, 20)
ON_FILES = (1, 10, 50, 100, 200)
IN_CEPH = (1, 10, 50)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one VM, on average, when so many run. Memory in MiB (PSS)."""

    vms: int
    launch: float  # seconds, the last ones'
    beside: float  # of all that runs for it and is not QEMU
    private: float  # of that, what it shares with nobody
    qemu: float
    engine: float  # the engine's own, for its container
    threads: float
    wakeups: float  # a second
    processor: float  # share of one, in percent
    requests: float  # to etcd, a second, of all VMs together


def measure(lab: Lab) -> dict[str, Any]:
    return {
        "containers": costs(HoldfastInContainer(lab), lab.on_file, IN_CONTAINERS, lab),
        "files": costs(Holdfast(lab), lab.on_file, ON_FILES, lab),
        "Ceph": costs(Holdfast(lab), lab.in_ceph, IN_CEPH, lab),
    }


def costs(
    way: Way, vm: Callable[[], Vm], counts: Sequence[int], lab: Lab
) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    names: list[str] = []
    with ExitStack() as stack:
        for count in counts:
            launches: list[float] = []
            while len(names) < count:
                made = vm()
                names.append(made.name)
                launches.append(stack.enter_context(way.started(made)).seconds)
            found.append(asdict(cost(names, launches[-10:], lab)))
        for pid in launchers_of(names).values():
            os.kill(pid, signal.SIGTERM)  # all at once; each is waited for behind
    return found


def cost(names: Sequence[str], launches: Sequence[float], lab: Lab) -> Cost:
    launchers = launchers_of(names)
    assert len(launchers) == len(names), f"{len(launchers)} of {len(names)} VMs run"
    of, words = process.children(), process.commands()
    families = [process.family(pid, of) for pid in launchers.values()]
    qemus = [pid for family in families for pid in family if is_qemu(words.get(pid, []))]
    beside = [pid for family in families for pid in family if pid not in set(qemus)]
    shims = [process.field(pid, "status", "PPid") for pid in launchers.values()]
    engine = [pid for pid, said in words.items() if is_engines(pid, said, shims)]
    before, asked, began = (
        [process.work(pid) for pid in beside],
        lab.counter(REQUESTS),
        time.monotonic(),
    )
    time.sleep(IDLE)
    seconds = time.monotonic() - began
    after, asked = [process.work(pid) for pid in beside], lab.counter(REQUESTS) - asked
    worked = sum(b.nanoseconds - a.nanoseconds for a, b in zip(before, after, strict=True))
    woken = sum(b.wakeups - a.wakeups for a, b in zip(before, after, strict=True))
    each = len(names)
    return Cost(
        vms=each,
        launch=sum(launches) / len(launches),
        beside=sum(map(process.pss, beside)) / each,
        private=sum(map(process.private, beside)) / each,
        qemu=sum(map(process.pss, qemus)) / each,
        engine=sum(map(process.pss, engine)) / each,
        threads=sum(map(process.threads, beside)) / each,
        wakeups=woken / seconds / each,
        processor=worked / 1e9 / seconds / each * 100,
        requests=asked / seconds,
    )


def is_qemu(words: Sequence[str]) -> bool:
    return "qemu" in "".join(words[:1])


def launchers_of(names: Sequence[str]) -> dict[str, int]:
    """The pids of these VMs' launchers, in containers or not; nobody else's."""
    ours, found = set(names), {}
    for pid, words in process.commands().items():
        if words[-3:-1] == ["/usr/bin/holdfast", "run"] and words[-1] in ours:
            found[words[-1]] = pid
    return found


def is_engines(pid: int, words: Sequence[str], parents: Sequence[int]) -> bool:
    """A container's shim, and the client that waits for it."""
    if words[:2] == ["docker", "run"]:
        return words[-2:-1] == ["run"]
    return pid in parents and "containerd-shim" in words[0]
