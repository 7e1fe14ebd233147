"""What operators read of a VM that runs here: the key `status`, and status.json in its run directory.

The key goes with the lease, and is written when something changes. The file is there without etcd,
too, and has the figures that would cost a write every two seconds.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

FILE = "status.json"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Status:
    """Facts by name. Any thread may report one."""

    def __init__(self, **facts: object) -> None:
        self._facts = facts
        self._figures: dict[str, object] = {}
        self._directory: Path | None = None
        self._turn = threading.Lock()
        self.news = False  # since the key was written
        self.hearsay = False  # likewise, of what the guest alone has caused
        self.stale = ""  # why the file is not what it should be
        self.wake: Callable[[], None] = self.show

    def report(self, **facts: object) -> None:
        with self._turn:
            if facts.items() <= self._facts.items():
                return
            self._facts |= facts
            self.news = True
        self.wake()

    def hear(self, **facts: object) -> None:
        """The same of what a guest says, which is written once a minute at most."""
        with self._turn:
            if facts.items() <= self._facts.items():
                return
            self._facts |= facts
            self.hearsay = True
        self.wake()

    def value(self) -> bytes:
        """Of the key."""
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

    def show(self, **figures: object) -> None:
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


def _encoded(facts: dict[str, object]) -> bytes:
    return json.dumps(facts, separators=(",", ":"), default=list).encode()
