"""Whether QEMU answers, and the storage below its disks: asked every few seconds.

A QEMU that hangs says nothing, and neither does one whose storage does: the guest waits, and is not paused. What is on
virtio can be seen to wait: the device has taken requests from a queue, and gives none back.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from holdfast.dataclass import dataclass
from holdfast.qmp.monitor import Monitor

LOOK = 5.0  # seconds between two looks
STUCK = 10.0  # seconds that a request may take before it is worth a word
MOST = 256  # disks that are asked for; a QEMU that was broken out into may list any number
MOST_QUEUES = 4096  # of all of them
LONGEST_PATH = 256
AT_ONCE = 32  # queues at one look: a disk has as many as the guest has processors
DISKS = {
    "virtio-blk": 0,
    "virtio-scsi": 2,
}  # which of a device's queues is the first one for requests

Queue = tuple[str, int]  # a device's path, and the number


@dataclass()
class _Seen:
    used: object
    since: float
    waits: bool


class Pulse:
    """`look` every LOOK seconds of `now`, whatever clock that is; what ails is returned, by what it is about."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._queues: deque[Queue] = deque()
        self._seen: dict[Queue, _Seen] = {}
        self._missing = 0  # answers
        self._asked = self._now = 0.0
        self._found = False

    def look(self, now: float) -> dict[str, str]:
        self._now = now
        if self._missing == 0:
            self._asked = now
            self._ask_for_queues() if self._queues else self._ask_for_disks()
        elif now - self._asked >= LOOK:
            return {"qemu": "QEMU does not answer on its monitor"}
        return {f"storage of {name}": STILL.format(name) for name in self._stuck()}

    def _stuck(self) -> list[str]:
        stuck = (
            path
            for (path, _), seen in self._seen.items()
            if seen.waits and self._now - seen.since >= STUCK
        )
        return [named(path) for path in dict.fromkeys(stuck)]

    # -- questions

    def _ask(self, command: str, then: Callable[[Any], None], **arguments: object) -> None:
        def answered(answer: Any) -> None:
            self._missing -= 1
            then(answer)

        self._missing += 1
        self._monitor.ask(command, answered, **arguments)

    def _ask_for_disks(self) -> None:
        """Once; a VM without such disks is asked for no more than a sign of life."""
        if self._found:
            self._ask("query-status", lambda _: None)
        else:
            self._ask("x-query-virtio", self._devices)

    def _ask_for_queues(self) -> None:
        for _ in range(min(AT_ONCE, len(self._queues))):
            self._queues.rotate(-1)
            path, number = self._queues[-1]
            self._ask(
                "x-query-virtio-queue-status", self._queue(path, number), path=path, queue=number
            )

    # -- answers, which are not QEMU's any more where a guest has broken out into it

    def _devices(self, answer: Any) -> None:
        self._found = True
        for device in answer[:MOST] if isinstance(answer, list) else ():
            said = device if isinstance(device, dict) else {}
            kind, path = said.get("name"), str(said.get("path"))[:LONGEST_PATH]
            if isinstance(kind, str) and kind in DISKS:
                self._ask("x-query-virtio-status", self._device(path, DISKS[kind]), path=path)

    def _device(self, path: str, first: int) -> Callable[[Any], None]:
        def answered(answer: Any) -> None:
            count = answer.get("num-vqs") if isinstance(answer, dict) else 0
            if isinstance(count, int):
                end = min(count, first + MOST_QUEUES - len(self._queues))
                self._queues.extend((path, number) for number in range(first, end))

        return answered

    def _queue(self, path: str, number: int) -> Callable[[Any], None]:
        def answered(answer: Any) -> None:
            said = answer if isinstance(answer, dict) else {}
            used, waits = said.get("used-idx"), bool(said.get("inuse"))
            before = self._seen.get((path, number))
            if before and before.waits and waits and used == before.used:
                return
            self._seen[path, number] = _Seen(used=used, since=self._now, waits=waits)

        return answered


# What is said of a disk goes into the log and into etcd: of its name the beginning.
STILL = "the storage of {} does not answer: the guest's requests wait"


def named(path: str) -> str:
    """Name a disk as a person knows it.

    >>> named("/machine/peripheral/disk-root/virtio-backend")
    'disk root'
    """
    name = path.removesuffix("/virtio-backend").rpartition("/")[2]
    return f"disk {name.removeprefix('disk-')}" if name != "scsi" else "the disks on SCSI"
