"""A volume of a directory that becomes a parent: as it is now, by its content, while nobody writes to it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import ConfigError, LockHeld
from holdfast.machine import Format
from holdfast.runtime.confinement import Identity
from holdfast.runtime.worker import Attend
from holdfast.storage import directory, local, qcow2
from holdfast.storage.image import qemu_img
from holdfast.storage.image.cached import NOTHING, Cached
from holdfast.storage.pathname import regular
from holdfast.storage.sparse import CHUNK, copy


@contextmanager
def still(key: str, path: Path) -> Iterator[int]:
    """Open it once, from the look at its lock to the last byte. Raises LockHeld.

    The lock is looked at, not taken: taking it would end an owner that holds on without etcd. So
    look again, for a QEMU that came meanwhile, when all is read.
    """
    with regular(path) as descriptor:
        refuse_held(key, path, descriptor)
        yield descriptor


def refuse_held(key: str, path: Path, descriptor: int) -> None:
    """Raise LockHeld where a QEMU holds the lock of what is open."""
    if local.held(descriptor):
        raise LockHeld(f"{key}: {path} is in use: another QEMU holds its lock")


def judged(descriptor: int, path: Path, attend: Attend) -> Cached:
    """Judge what it is by its name. Raises ConfigError where its header, which a guest can write,
    says otherwise.
    """
    form = Format(path.suffix.removeprefix("."))
    header = qcow2.read(descriptor)
    if (header is None) is (form is Format.qcow2):
        raise ConfigError(f"is not {form.value}, which its name says")
    if header is not None and (header.backing or header.data_file or header.encrypted):
        raise ConfigError(
            "leads to another file, or is encrypted: flatten it with qemu-img convert"
        )
    size = header.size if header else os.fstat(descriptor).st_size
    if not size:
        raise ConfigError("is empty: a disk of no size cannot boot")
    sha256 = digest(descriptor, attend)
    return Cached(sha256=sha256, format=form, size=size, place=str(path), version=NOTHING)


def digest(descriptor: int, attend: Attend, algorithm: str = "sha256") -> str:
    # md5 is what some still publish; the key says so.
    made = hashlib.new(algorithm, usedforsecurity=False)
    place = 0
    while data := os.pread(descriptor, CHUNK, place):
        made.update(data)
        place += len(data)
        attend()
    return made.hexdigest()


@contextmanager
def readable(
    source: int, was: Cached, target: Path, who: Identity, attend: Attend
) -> Iterator[Path]:
    """Make a copy for the uid that converts it. Raises LockHeld where it was written to meanwhile.

    The parent is called by what was copied, so that is what is hashed; the name is of the volume
    that is made, whose next start clears away what a killed one left.
    """
    with directory.unfinished(target.with_name(f"{target.name}.copy")) as new:
        copy(source, new, attend)
        with new.open("rb") as file:
            if digest(file.fileno(), attend) != was.sha256:
                raise LockHeld(f"{was.place} was written to while it was read: try again")
        qemu_img.lend(new, who)
        yield new
