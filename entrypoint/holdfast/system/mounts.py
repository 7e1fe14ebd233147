"""The file system that holds a path, and whether this machine's kernel alone decides who writes there."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from holdfast.dataclass import dataclass

# Whatever is not named here may be mounted elsewhere too: NFS, CephFS, FUSE, virtiofs, OCFS2, a new one.
LOCAL = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "tmpfs", "xfs", "zfs"})
MOUNTINFO = Path("/proc/self/mountinfo")
UPPER = re.compile(r"(?:^|,)upperdir=([^,]*)")
ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    device: str
    point: str
    kind: str
    options: str


def holding(path: str) -> Mount | None:
    """Find the mount of the file system that has the path."""
    lines = _lines()
    device = Path(path).stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = next((line for line in lines if line.split(" ", 3)[2] == wanted), None)
    return _parsed(found) if found else _deepest(lines, os.path.realpath(path))


def mounted_at(path: str) -> Mount | None:
    """Find the mount that a path leads into, by its name: a folder may be mounted at several points."""
    return _deepest(_lines(), os.path.realpath(path))


def kind(path: str) -> str:
    mount = holding(path)
    return mount.kind if mount else "an unknown file system"


def is_local(path: str) -> bool:
    mount = holding(path)
    while mount is not None and mount.kind == "overlay":
        # It writes to its upper directory. One that cannot be seen from here is the container
        # engine's own, and no two machines may mount an upper directory at once.
        upper = UPPER.search(mount.options)
        if upper is None or not Path(upper[1]).exists():
            return True
        below = holding(upper[1])
        if below == mount:
            return True  # the same name, inside: it is not the directory that was meant
        mount = below
    return mount is not None and mount.kind in LOCAL


def by_point(lines: Iterable[str]) -> dict[str, Mount]:
    """Parse mountinfo (proc_pid_mountinfo(5)): the last mount on each point, which hides the others.

    >>> by_point(["22 1 0:2 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a"])["/"].kind
    'overlay'
    """
    return {mount.point: mount for mount in map(_parsed, lines)}


def _lines() -> list[str]:
    return MOUNTINFO.read_text(encoding="utf-8", errors="replace").splitlines()


def _parsed(line: str) -> Mount:
    fields = line.split(" ")
    kind, _, options = fields[fields.index("-") + 1 :]
    return Mount(device=fields[2], point=_plain(fields[4]), kind=kind, options=_plain(options))


def _plain(text: str) -> str:
    r"""Blanks and the like stand as octal numbers in mountinfo.

    >>> _plain(r"/my\040disks")
    '/my disks'
    """
    return ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def _deepest(lines: list[str], path: str) -> Mount | None:
    """Btrfs gives subvolumes, and overlay its files, device numbers that mountinfo does not list."""
    mounts = by_point(lines)
    parents = [path, *map(str, Path(path).parents)]
    return next((mounts[parent] for parent in parents if parent in mounts), None)
