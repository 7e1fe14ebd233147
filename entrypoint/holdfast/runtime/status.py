"""What operators read of a VM that runs here: the key `status`, and status.json in its run directory.

The key goes with the lease, and is written when something changes. The file is there without etcd,
too, and has the figures that would cost a write every two seconds.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypedDict, Unpack

FILE = "status.json"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class VmState(StrEnum):
    starting = "starting"  # its QEMU is not up yet
    running = "running"
    paused = "paused"  # by QEMU, until a disk that fails answers again
    panicked = "panicked"  # the guest's kernel has, and on_crash keeps it as it is
    restarting = "restarting"  # QEMU has ended, and is started again in place
    stopping = "stopping"


class Restart(TypedDict):
    when: str  # as `since`
    why: str


class Lease(TypedDict):
    since: str  # when the lock was taken, or taken again; as below
    renewed: str  # the last time that etcd said so
    seconds_left: float  # negative: it has run out, and the VM holds on without it


class Facts(TypedDict, total=False):
    """An operator's API, as JSON in this order; docs/keys.md has the same list. What is not known is left out."""

    state: VmState
    host: str  # the owner's name for it: HOSTNAME
    since: str  # when this launcher began with the VM; ISO 8601, UTC, in whole seconds
    epoch: int  # without etcd there is none
    ttl: float  # seconds of the lease, as etcd granted them; likewise
    accelerator: str  # kvm or tcg
    unknown: Sequence[str]  # a line for each key that Holdfast does not know
    qemu: str  # its version, once the guest may run
    restarts: int  # of QEMU in place, under this lock
    last_restart: Restart
    trouble: str  # what ails the VM, for a person; "" when that is over
    broken: (
        str  # names of helpers (swtpm, virtiofsd) that have ended; they come with commas between
    )
    addresses: Mapping[str, Sequence[str]]  # the guest's, by its card
    next_start: Sequence[str]  # keys that were changed, and wait for it


class Figures(TypedDict, total=False):
    """What the file has beyond the key."""

    lease: Lease
    etcd: str  # `answers`, or why it does not


ORDER = (*Facts.__annotations__, *Figures.__annotations__)


class Status:
    """One VM's. Any thread may report a fact."""

    def __init__(self, **facts: Unpack[Facts]) -> None:
        self._facts = facts
        self._figures: Figures = {}
        self._directory: Path | None = None
        self._turn = threading.Lock()
        self.news = False  # since the key was written
        self.hearsay = False  # likewise, of what the guest alone has caused
        self.stale = ""  # why the file is not what it should be
        self.wake: Callable[[], None] = self.show

    def report(self, **facts: Unpack[Facts]) -> None:
        with self._turn:
            if facts.items() <= self._facts.items():
                return
            self._facts |= facts
            self.news = True
        self.wake()

    def hear(self, **facts: Unpack[Facts]) -> None:
        """Report what a guest says, which is written once a minute at most."""
        with self._turn:
            if facts.items() <= self._facts.items():
                return
            self._facts |= facts
            self.hearsay = True
        self.wake()

    def value(self) -> bytes:
        """Return the key's value. What is reported from now on is news."""
        with self._turn:
            self.news = self.hearsay = False
            return _encoded(self._facts)

    @contextmanager
    def shown_in(self, directory: Path) -> Iterator[None]:
        self._directory = directory
        self.show()
        try:
            yield
        finally:
            with self._turn:  # nobody writes into a directory that is about to go
                self._directory = None

    def show(self, **figures: Unpack[Figures]) -> None:
        """Write the file. One that cannot be written must not end a VM."""
        with self._turn:
            self._figures |= figures
            if self._directory is None:
                return
            try:
                self._write(self._directory, _encoded({**self._facts, **self._figures}) + b"\n")
                self.stale = ""
            except OSError as error:
                self.stale = f"{FILE} cannot be written, and is gone: {error.strerror}"
                with suppress(OSError):  # none at all says more than one of some time ago
                    (self._directory / FILE).unlink()

    def _write(self, directory: Path, data: bytes) -> None:
        unfinished = directory / f".{FILE}"
        unfinished.write_bytes(data)
        unfinished.replace(directory / FILE)


def _encoded(known: Mapping[str, object]) -> bytes:
    ordered = {name: known[name] for name in ORDER if name in known}
    return json.dumps(ordered, separators=(",", ":"), default=list).encode()
