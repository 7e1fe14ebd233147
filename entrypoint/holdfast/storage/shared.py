"""Disks that other hosts may write to, past every lock of this kernel: only time can guard them.

Each needs a name that is the same wherever it is mounted, under which it is claimed. A device has
one: its LUN's, or its logical volume's. A file has none that all file systems keep (FUSE may number
inodes as it likes, and one server goes by many names), so its folder gets one: the file `.holdfast-id`.
"""

import contextlib
import errno
import os
import re
import stat
import uuid
from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import ConfigError, Fault, LockHeld
from holdfast.machine import Cache, Disk, RbdImage
from holdfast.policy.host_config import HostConfig
from holdfast.system import mounts

FOLDER_ID = ".holdfast-id"
LONGEST_ID = 64  # bytes of it; a UUID has 36
SYSFS = Path("/sys/dev/block")
# Where the kernel keeps the name of a logical volume or multipath, of SCSI's LUN, of NVMe's namespace.
NAMES = ("dm/uuid", "device/wwid", "wwid")
# Multipath says with a digit what SCSI says with a word (scsi_id(8)).
MULTIPATH = re.compile(r"(?:(part\d+)-)?mpath-([123])(.*)")
DESIGNATORS = {"1": "t10.", "2": "eui.", "3": "naa."}

NEEDS = (
    'that only time can guard there, and needs storage_fence = "time" in host.toml; the operator then '
    "takes upon himself what time cannot guard against: a stale leader of etcd, a paused host whose "
    'clock stood still, the page cache of a dead host (docs/ownership.md, "What time cannot guard")'
)


class _Unfit(Exception):
    pass


def identities(disks: Sequence[Disk], config: HostConfig) -> dict[str, str]:
    """The shared ones among the disks that may be written, by name, with what all hosts know them by.

    Raises ConfigError for one that must not be used. A folder that has no name yet gets one.
    """
    found, faults = {}, []
    for disk in disks:
        if isinstance(disk.backend, RbdImage) or not disk.writable:
            continue
        try:
            path = Path(disk.backend.path).resolve()
            if not is_local(path, disk.backend.path, config):
                _check(disk, path, config)
                found[disk.name] = _identity(path)
        except _Unfit as unfit:
            key, value = disk.key, str(disk.backend)
            faults.append(Fault(key=key, value=value, rule=str(unfit)))
    if faults:
        raise ConfigError(faults)
    return found


def is_local(path: Path, named: str, config: HostConfig) -> bool:
    """`path` is where `named` leads. A volume that is not made yet is where its folder is."""
    if path.is_block_device():
        return config.is_local_device(named, str(path))
    # Local here, and shared all the same: this is the server, and others mount the folder from it.
    if (path.parent / FOLDER_ID).exists():
        return False
    return mounts.is_local(str(path if path.exists() else path.parent))


def _check(disk: Disk, path: Path, config: HostConfig) -> None:
    if not config.time_fence:
        raise _Unfit(_without_consent(path))
    if disk.cache is not Cache.none:
        raise _Unfit(
            f"can be reached by other hosts: disks/{disk.name}/cache must be none, because what a dead "
            "host still had in its cache would be written when nobody expects it"
        )
    if path.exists():
        _check_direct(path)
    if not path.is_block_device():
        _check_name(path)


def _without_consent(path: Path) -> str:
    if path.is_block_device():
        return (
            "is a block device, which other hosts may reach too. If only this one does, name it in "
            f'host.toml: local_devices = ["{path}"]; if not: {NEEDS}'
        )
    if (path.parent / FOLDER_ID).exists():
        return f"lies in a folder that other hosts use too, as its {FOLDER_ID} says: {NEEDS}"
    there = mounts.kind(str(path if path.exists() else path.parent))
    return f"lies on {there}, which other hosts may mount too: {NEEDS}"


def _check_direct(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise _Unfit(f"cannot be opened: {error.strerror}") from error
        raise _Unfit(
            "can be reached by other hosts, and its file system cannot do without a cache (O_DIRECT)"
        ) from error


def _check_name(path: Path) -> None:
    """It is claimed by its folder and its name there: that must be its only name."""
    if path.name == FOLDER_ID:
        raise _Unfit("is the folder's name, not a disk")
    if not path.exists():
        return
    if path.stat().st_dev != path.parent.stat().st_dev:
        raise _Unfit("is mounted by itself: mount the folder that it lies in on every host")
    if path.stat().st_nlink > 1:
        raise _Unfit("has a second name (hard link), by which another VM could claim it")


def _identity(path: Path) -> str:
    if path.is_block_device():
        return device_name(path.stat().st_rdev)
    return f"{folder_id(path.parent)}/{path.name}"


def refuse_another(disk: Disk, descriptor: int, claimed: str) -> None:
    """The kernel gives a device's number to another one, and /dev/disk its link, while a VM waits or starts again.

    `claimed` is the id under which the disk was claimed.
    """
    device = os.fstat(descriptor)
    if not stat.S_ISBLK(device.st_mode):
        return  # the number of an inode is FUSE's to choose
    name = f"block-{os.major(device.st_rdev)}:{os.minor(device.st_rdev)}"
    try:
        name = device_name(device.st_rdev) if claimed.startswith("shared/") else name
    except _Unfit:
        name = "none"
    if not claimed.endswith(f"/{name}"):
        raise LockHeld(
            f"{disk.backend} leads to another device than the one that was claimed ({claimed})",
            hint="It has changed since; what it is now is claimed at the next try.",
        )


def folder_id(folder: Path) -> str:
    """The folder's own name. Whoever is the first to need it writes it."""
    mark = folder / FOLDER_ID
    try:
        if not mark.exists():
            _name(mark)
        return str(uuid.UUID(_content(mark).decode("ascii").strip()))
    except OSError as error:
        raise _Unfit(
            f"needs a name for its folder, and {mark} cannot be written: {error.strerror}; "
            f"put one there by hand: uuidgen >{mark}"
        ) from error
    except ValueError as error:
        raise _Unfit(f"{mark} must hold a UUID") from error


def _content(mark: Path) -> bytes:
    """A FIFO in its place, which somebody else may have put there, holds nobody up."""
    descriptor = os.open(mark, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, LONGEST_ID)
    except BlockingIOError:
        return b""
    finally:
        os.close(descriptor)


def _name(mark: Path) -> None:
    """Whole or not at all: a link comes into being with its content, and never replaces another."""
    unfinished = mark.with_name(f"{mark.name}.{uuid.uuid4()}")
    try:
        with unfinished.open("x", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, mark)
    finally:
        unfinished.unlink(missing_ok=True)


def device_name(device: int, sysfs: Path = SYSFS) -> str:
    """What every host that reaches the device knows it by."""
    node = sysfs / f"{os.major(device)}:{os.minor(device)}"
    partition = _read(node / "partition")
    # A partition lies in its disk's folder (Documentation/admin-guide/abi: block).
    whole = node.resolve().parent if partition else node
    name = next(filter(None, (_read(whole / one) for one in NAMES)), "")
    if not name:
        raise _Unfit(
            "is a block device that has no name of its own (neither a wwid nor a device-mapper uuid), so "
            "other hosts cannot know it for the same: put LVM or multipath on it, or, if only this "
            "host reaches it, name it in local_devices of host.toml"
        )
    return one_name(name, partition)


def one_name(name: str, partition: str = "") -> str:
    """A LUN has one name, whether it is reached by one path or by many.

    >>> one_name("mpath-36001405a"), one_name("part1-mpath-36001405a"), one_name("naa.6001405a", "1")
    ('naa.6001405a', 'naa.6001405a-part1', 'naa.6001405a-part1')
    """
    if found := MULTIPATH.fullmatch(name):
        part, digit, rest = found.groups()
        name, partition = DESIGNATORS[digit] + rest, (part or "").removeprefix("part")
    name = re.sub(r"\s+", "_", name)
    return f"{name}-part{partition}" if partition else name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
