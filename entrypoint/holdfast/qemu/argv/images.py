"""Images that a user's own options name: what the launcher opens, claims and hands over.

A path becomes a descriptor, because QEMU's uid may not read the user's files. An RBD image keeps
its words, and gets the key that QEMU's uid may not read in /etc/ceph either.
"""

import re
from collections.abc import Mapping

from holdfast.dataclass import dataclass, field
from holdfast.errors import UsageError, shortened
from holdfast.machine import Cache, Disk, DiskKind, LocalPath, RbdImage
from holdfast.machine.ceph import ADMIN
from holdfast.qemu.blockdev import CEPH_KEY
from holdfast.qemu.wiring import Ceph

LOCAL_DRIVERS = frozenset({"file", "host_device"})
PROTOCOL = re.compile(r"[^/:]*:")
ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, kw_only=True)
class RbdUse:
    """An RBD image as the user's options open it."""

    image: RbdImage
    user: str = ADMIN
    writable: bool = True


@dataclass(frozen=True, kw_only=True)
class Images:
    """What was found so far. The launcher knows a file by the name that it gets here."""

    files: list[Disk] = field(default_factory=list)
    rbd: list[RbdUse] = field(default_factory=list)

    def add_file(
        self, path: str, *, writable: bool, cdrom: bool = False, direct: bool = False
    ) -> Disk:
        """`direct`: QEMU is told to go past the host's page cache."""
        disk = Disk(
            name=f"file{len(self.files)}",
            backend=LocalPath(path=path),
            kind=DiskKind.cdrom if cdrom else DiskKind.disk,
            read_only=not writable,
            cache=Cache.none if direct else Cache.writeback,
        )
        self.files.append(disk)
        return disk


def path_of(text: str) -> str:
    """The path of a regular file or block device; "" where QEMU takes the text for something else."""
    text = text.removeprefix("file:")
    return "" if PROTOCOL.match(text) else text


def rbd_url(text: str, *, writable: bool) -> RbdUse:
    r"""`rbd:pool/[namespace/]image[@snapshot][:key=value...]`; `\` takes a sign its meaning."""
    name, *settings = re.split(r"(?<!\\):", text.removeprefix("rbd:"))
    name, *snapshot = re.split(r"(?<!\\)@", name, maxsplit=1)
    parts = [plain(part) for part in re.split(r"(?<!\\)/", name)]
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(f"{shortened(text)}: must be rbd:pool/image or rbd:pool/namespace/image")
    user = next((plain(one[3:]) for one in settings if one.startswith("id=")), ADMIN)
    image = RbdImage(pool=parts[0], namespace="/".join(parts[1:-1]), image=parts[-1])
    return RbdUse(image=image, user=user, writable=writable and not snapshot)


def plain(text: str) -> str:
    return ESCAPED.sub(r"\1", text)


def rbd_members(given: Mapping[str, object], *, writable: bool) -> RbdUse:
    pool, image, space = (str(given.get(key, "")) for key in ("pool", "image", "namespace"))
    return RbdUse(
        image=RbdImage(pool=pool, namespace=space, image=image),
        user=str(given.get("user", ADMIN)),
        writable=writable and "snapshot" not in given,
    )


def ceph_members(ceph: Ceph, *, has_key: bool, has_conf: bool) -> dict[str, str]:
    """The key, and where the user names no configuration, the one that QEMU's uid can read."""
    if not ceph.key_file or has_key:
        return {}
    return {**({} if has_conf else {"conf": ceph.conf}), "key-secret": CEPH_KEY}
