"""Asks the kernel 50 times a second which guests run, and whether two of one VM do.

It knows nothing of launchers: it looks at the processes in the suite's namespaces, takes those that
call themselves QEMU of a VM, and counts one as running from the moment when its virtual CPU has
worked. QEMU started with -S has a CPU thread that does not.
"""

import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

PERIOD = 0.02
SETTLED = 1.0  # seconds after which a process does not move to another network namespace any more
WORKED = 20_000_000  # nanoseconds; before `cont` a CPU thread has used less than one


@dataclass(kw_only=True)
class Sighting:
    """One QEMU process. `running` is when its guest was first seen to run, 0 before."""

    pid: int
    vm: str
    namespace: int
    since: float
    running: float = 0.0
    ended: float = 0.0


@dataclass
class Log:
    """`overlaps`: running guests of one VM, of which more than one could write."""

    samples: int = 0
    seconds: float = 0.0
    sightings: list[Sighting] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)


Fenced = Callable[[Sighting], bool]


def never(_: Sighting) -> bool:
    return False


class Watcher(threading.Thread):
    """`fenced` is asked about every QEMU but the newest when several of one VM run."""

    def __init__(self, namespaces: Collection[int], fenced: Fenced = never) -> None:
        super().__init__(name="watcher", daemon=True)
        self.log = Log()
        self.fenced = fenced
        self._namespaces = namespaces
        self._foreign: set[int] = set()
        self._young: dict[int, float] = {}
        self._alive: dict[int, Sighting] = {}
        self._news = threading.Condition()
        self._closed = threading.Event()
        self._told: set[tuple[int, ...]] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.join()

    def run(self) -> None:
        started = due = time.monotonic()
        while not self._closed.is_set():
            self._sample(time.monotonic())
            self.log.samples += 1
            self.log.seconds = time.monotonic() - started
            due = max(due + PERIOD, time.monotonic())
            self._closed.wait(due - time.monotonic())

    def runs(self, vm: str, after: float, timeout: float = 60) -> Sighting:
        """Wait until a guest of this VM runs that was not running at `after`."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for one in self.log.sightings:
                    if one.vm == vm and one.running > after:
                        return one
                left = deadline - time.monotonic()
                assert left > 0, f"no guest of {vm} came to run: {self.log.sightings}"
                self._news.wait(left)

    def running(self, vm: str) -> list[Sighting]:
        return [
            one for one in self.log.sightings if one.vm == vm and one.running and not one.ended
        ]

    # -- one look

    def _sample(self, now: float) -> None:
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - 50 times a second
        self._foreign &= pids
        self._young = {pid: since for pid, since in self._young.items() if pid in pids}
        for pid in pids - self._foreign - self._alive.keys():
            self._meet(pid, now)
        for sighting in list(self._alive.values()):
            self._look(sighting, now)
        self._judge()

    def _meet(self, pid: int, now: float) -> None:
        since = self._young.setdefault(pid, now)
        ours = namespace_of(pid) in self._namespaces
        if not ours and now - since > SETTLED:
            self._foreign.add(pid)
        elif ours and (vm := vm_of(pid)):
            self._alive[pid] = Sighting(pid=pid, vm=vm, namespace=namespace_of(pid), since=now)
            with self._news:
                self.log.sightings.append(self._alive[pid])

    def _look(self, sighting: Sighting, now: float) -> None:
        if not vm_of(sighting.pid):  # a zombie has no command line
            sighting.ended = now
            del self._alive[sighting.pid]
        elif not sighting.running and cpu_has_worked(sighting.pid):
            with self._news:
                sighting.running = now
                self._news.notify_all()

    def _judge(self) -> None:
        running = [one for one in self._alive.values() if one.running]
        for vm in {one.vm for one in running}:
            same = sorted((one for one in running if one.vm == vm), key=lambda one: one.running)
            key = tuple(one.pid for one in same)
            if len(same) < 2 or key in self._told:
                continue
            self._told.add(key)
            if free := [one for one in same[:-1] if not self.fenced(one)]:
                self.log.overlaps.append(f"{free} may write beside {same[-1]}")


def namespace_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/ns/net").stat().st_ino)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def vm_of(pid: int) -> str:
    """The VM whose QEMU this process is; "" for all others, and for one that is dead."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if not words[0].endswith(b"qemu-system-x86_64"):
        return ""
    names = [word for word in words if word.startswith(b"guest=")]
    return names[0].split(b",")[0].removeprefix(b"guest=").decode() if names else ""


def cpu_has_worked(pid: int) -> bool:
    """A CPU thread has the name of its process; those of librados and of the disks have their own."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text()
        for task in Path(f"/proc/{pid}/task").iterdir():
            if int(task.name) == pid or (task / "comm").read_text() != name:
                continue
            if int((task / "schedstat").read_text().split()[0]) > WORKED:
                return True
    except (FileNotFoundError, ProcessLookupError):
        pass
    return False
