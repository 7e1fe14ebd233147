"""Golden images of a directory pool: parents that many volumes share, called by their content.

They are made when the first volume wants one, never written again, and go only when the operator asks.
A volume names its parent in its header, so who sits on what can be read at any time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.machine import Disk, Format
from holdfast.runtime.confinement import Identity
from holdfast.runtime.worker import Attend, idle
from holdfast.storage import directory, local, qcow2
from holdfast.storage.image import qemu_img
from holdfast.storage.image.cache import taken
from holdfast.storage.image.cached import Cached
from holdfast.storage.pathname import regular

LOCK = ".golden.lock"


@dataclass(frozen=True, kw_only=True)
class Golden:
    path: Path
    size: int
    children: tuple[str, ...]


@contextmanager
def in_use(pool: Path, attend: Attend) -> Iterator[None]:
    """Keep parents: from the look at one until its child has a name, none may be removed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(pool / LOCK, flags, 0o600)
    try:
        while not taken(lock):
            attend()
        yield
    finally:
        os.close(lock)


def place(pool: Path, cached: Cached) -> Path:
    return pool / f"golden-{cached.sha256}.qcow2"


def provide(pool: Path, image: Path, cached: Cached, who: Identity, attend: Attend) -> Path:
    """Make the parent with this content where there is none. Returns its path."""
    golden = place(pool, cached)
    if not golden.exists():
        with directory.unfinished(golden) as new:
            convert(image, cached.format, new, Format.qcow2, who, attend)
            new.chmod(0o400)
            new.rename(golden)
    return golden


def chain(golden: Path, path: Path, disk: Disk, size: int) -> None:
    """Make a child. -u: the parent is known, and need not be opened with our rights."""
    parent = ["-u", "-b", golden.name, "-F", Format.qcow2.value]
    command = ["qemu-img", "create", "-q", "-f", Format.qcow2.value, *parent]
    directory.run(disk, [*command, str(path), str(size)])


def convert(
    source: Path, was: Format, target: Path, form: Format, who: Identity, attend: Attend
) -> None:
    """Write the image in another format. The new file is the converter's until it is whole."""
    new = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchown(new, who.uid, who.gid)
        with source.open("rb") as file:
            qemu_img.convert(file.fileno(), was, new, form, who, attend)
        os.fchown(new, 0, 0)
        os.fsync(new)
    finally:
        os.close(new)


def found(pool: Path) -> list[Golden]:
    children: dict[str, list[str]] = {}
    for path in sorted(pool.iterdir()):
        # Also one that is on its way: its start may be about to give it its name. What a guest has written
        # into a raw disk is no header.
        if ".qcow2" not in path.name:
            continue
        if path.is_file() and not path.is_symlink() and (parent := qcow2.parent(path)):
            children.setdefault(parent.name, []).append(path.name)
    return [
        Golden(
            path=path,
            size=path.stat().st_blocks * 512,
            children=tuple(children.get(path.name, ())),
        )
        for path in sorted(pool.glob("golden-*.qcow2"))
        if qcow2.GOLDEN.fullmatch(path.name) and path.is_file()
    ]


def remove(pool: Path, name: str) -> bool:
    """Delete a parent. False: a volume sits on it, or is about to; or a QEMU has it open, whose volume lost its name."""
    with in_use(pool, idle):
        unused = [
            golden
            for golden in found(pool)
            if golden.path.name == name and not golden.children and not is_open(golden.path)
        ]
        for golden in unused:
            golden.path.unlink()
        return bool(unused)


def is_open(path: Path) -> bool:
    with regular(path) as file:
        return local.held(file)
