"""A VM's disk as it is seen from outside, past launcher and QEMU."""

import time
from pathlib import Path
from typing import Protocol

from chaos import journal


class Disk(Protocol):
    def read(self) -> bytes: ...

    def block(self, sector: int) -> bytes: ...


class FileDisk:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        return self.path.read_bytes()

    def block(self, sector: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(sector * journal.SECTOR)
            return file.read(journal.SECTOR)


def stamped(disk: Disk, writer: str, count: int = 3, timeout: float = 30) -> int:
    """Wait until this boot has written so many stamps more; how many there are."""
    deadline = time.monotonic() + timeout
    first: int | None = None
    while True:
        stamp = journal.parse(disk.block(journal.FIXED))
        n = stamp.n if stamp and stamp.writer == writer else 0
        first = n if first is None else first
        if n >= first + count:
            return n
        assert time.monotonic() < deadline, f"{writer} writes no more: {stamp}"
        time.sleep(0.05)


def silent(disk: Disk, seconds: float) -> None:
    """Nobody writes for so long."""
    before = disk.block(journal.FIXED)
    time.sleep(seconds)
    assert disk.block(journal.FIXED) == before, "somebody writes"
