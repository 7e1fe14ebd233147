"""Disks that other hosts may write to, past every lock of this kernel: only time can guard them.

Each needs a name that is the same wherever it is mounted, under which it is claimed. A device has
one: its LUN's, or its logical volume's. A file has none that all file systems keep (FUSE may number
inodes as it likes, and one server goes by many names), so its folder gets one: the file `.holdfast-id`.
"""

import contextlib
import errno
import os
import uuid
from pathlib import Path

from holdfast.machine import Cache, Disk
from holdfast.policy.host_config import HostConfig
from holdfast.storage import pathname
from holdfast.storage.device_name import device_name
from holdfast.storage.pathname import FOLDER_ID, OpenPath, Site, Unfit
from holdfast.system import atomic_file, mounts

LONGEST_ID = 64  # bytes of it; a UUID has 36

NEEDS = (
    'that only time can guard there, and needs storage_fence = "time" in host.toml; the operator then '
    "takes upon himself what time cannot guard against: a stale leader of etcd, a paused host whose "
    'clock stood still, the page cache of a dead host (docs/ownership.md, "What time cannot guard")'
)


def check(disk: Disk, site: Site, config: HostConfig) -> None:
    """Raise Unfit for what must not be used where only time guards it."""
    if not config.time_fence:
        raise Unfit(_without_consent(site))
    if disk.cache is not Cache.none:
        raise Unfit(
            f"can be reached by other hosts: disks/{disk.name}/cache must be none, because what a dead "
            "host still had in its cache would be written when nobody expects it"
        )
    if site.file is not None:
        _check_direct(site.file)


def _without_consent(site: Site) -> str:
    if site.folder is None:
        return (
            "is a block device, which other hosts may reach too. If only this one does, name it in "
            f'host.toml: local_devices = ["{pathname.where(site.place.descriptor)}"]; if not: {NEEDS}'
        )
    if site.has(FOLDER_ID):
        return f"lies in a folder that other hosts use too, as its {FOLDER_ID} says: {NEEDS}"
    return f"lies on {mounts.kind(site.place.path)}, which other hosts may mount too: {NEEDS}"


def _check_direct(file: OpenPath) -> None:
    try:
        os.close(file.opened(os.O_RDONLY | os.O_DIRECT | os.O_NONBLOCK))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise Unfit(f"cannot be opened: {error.strerror}") from error
        raise Unfit(
            "can be reached by other hosts, and its file system cannot do without a cache (O_DIRECT)"
        ) from error


def identity(site: Site) -> str:
    """Ask what all hosts know it by; raises Unfit where they cannot."""
    if site.folder is None:
        return device_name(site.place.stat.st_rdev)
    _check_name(site, site.folder)
    return f"{folder_id(site.folder)}/{site.name}"


def _check_name(site: Site, folder: OpenPath) -> None:
    """It is claimed by its folder and its name there: that must be its only name."""
    if site.name == FOLDER_ID:
        raise Unfit("is the folder's name, not a disk")
    if site.file is None:
        return
    if site.file.stat.st_dev != folder.stat.st_dev:
        raise Unfit("is mounted by itself: mount the folder that it lies in on every host")
    if site.file.stat.st_nlink > 1:
        raise Unfit("has a second name (hard link), by which another VM could claim it")


def folder_id(folder: OpenPath) -> str:
    """Read the folder's own name; whoever is the first to need it writes it. Raises Unfit."""
    mark = f"{pathname.where(folder.descriptor)}/{FOLDER_ID}"
    own = Path(folder.path) / FOLDER_ID
    try:
        if not os.path.lexists(own):
            # Another host may be as quick: what it has put there stays.
            with contextlib.suppress(FileExistsError):
                atomic_file.write(own, f"{uuid.uuid4()}\n".encode(), instead=False)
        return read_id(own)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unfit(f"{mark} must hold a UUID: it is no regular file") from error
        raise Unfit(
            f"needs a name for its folder, and {mark} cannot be written: {error.strerror}; "
            f"put one there by hand: uuidgen >{mark}"
        ) from error
    except ValueError as error:
        raise Unfit(f"{mark} must hold a UUID") from error


def read_id(mark: Path) -> str:
    """Read a UUID from a file. Raises OSError for what cannot be read, ValueError for what is none."""
    with pathname.regular(mark) as file:
        return str(uuid.UUID(os.read(file, LONGEST_ID).decode("ascii").strip()))
