"""QEMU's lock on an image, taken by us while the image grows: whoever has it open, of whatever tree of keys, comes first."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast import log
from holdfast.errors import LockHeld
from holdfast.storage.local import FIRST_LOCK, FLOCK, LOCKS, held

ALL = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, FIRST_LOCK, LOCKS, 0)


@contextmanager
def locked_out(path: Path, name: object) -> Iterator[int]:
    """Open the file to write to it, with QEMU's lock on it; people know it by `name`.

    Raises LockHeld where a QEMU has it open.
    """
    with path.open("r+b") as file:
        try:
            fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, ALL)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES: fcntl(2)
            raise in_use(name) from error
        except OSError as error:  # a file system without locks: QEMU goes without as well
            log.debug(f"{name} cannot be locked: {error.strerror}")
        yield file.fileno()


def refuse_held(path: Path, name: object) -> None:
    """Raise LockHeld for a program that takes the lock itself, and has no word for it."""
    with path.open("rb") as file:
        if held(file.fileno()):
            raise in_use(name)


def in_use(name: object) -> LockHeld:
    return LockHeld(
        f"{name} is in use: another QEMU holds its lock",
        hint=f"stop that one first; on its host `lsof {name}` names it",
    )
