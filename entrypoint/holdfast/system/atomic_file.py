"""Files that are there whole or not at all: written under another name, then renamed (rename(2)) or linked (link(2))."""

import contextlib
import os
from pathlib import Path


def write(
    path: Path, data: bytes, *, mode: int = 0o666, instead: bool = True, durable: bool = True
) -> None:
    """Give the path this content. With `instead` it takes the place of what is there; without, what is there stays.

    `durable`: it outlasts a power cut when this returns. Raises OSError, FileExistsError where something stays.
    """
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
        if instead:
            new.replace(path)
        else:
            os.link(new, path)
        if durable:
            settle(path.parent)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
