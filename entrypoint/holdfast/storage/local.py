"""Disks that are files or block devices of this host: checked, and opened for QEMU."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import FOLDER, ConfigError, Fault, LockHeld
from holdfast.machine import Disk, Format, LocalPath, RbdImage, Volume
from holdfast.storage import content, pathname, qcow2
from holdfast.storage.pathname import Bounds, OpenPath, Unfit

# QEMU locks single bytes of an image, one for each thing that it does or forbids (block/file-posix.c).
FIRST_LOCK, LOCKS = 100, 200
WRITE = 1  # BLK_PERM_WRITE is 1 << 1
FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid


def check(disks: Sequence[Disk], bounds: Bounds, *, formats: bool = True) -> list[Fault]:
    """Collect what stands against these disks before anything is locked or made.

    Without `formats` their content is not looked at: somebody else says what it is.
    """
    faults = []
    for disk in disks:
        try:
            if not isinstance(disk.backend, RbdImage):
                _check(disk, disk.backend, bounds, formats=formats)
        except Unfit as unfit:
            faults.append(Fault(key=disk.key, value=str(disk.backend), rule=str(unfit)))
    return faults


def check_file(key: str, path: str, bounds: Bounds) -> list[Fault]:
    """Collect what stands against a file that is no disk, a kernel for one."""
    try:
        with pathname.found(path, bounds) as place:
            _check_regular(place)
    except Unfit as unfit:
        return [Fault(key=key, value=path, rule=str(unfit))]
    return []


@contextmanager
def reading(key: str, path: str, bounds: Bounds) -> Iterator[int]:
    """Open the file of a key that names one to be read. Raises ConfigError, or LockHeld where a guest writes to it."""
    try:
        with pathname.found(path, bounds) as place:
            _check_regular(place)
            descriptor = place.opened(os.O_RDONLY)
    except Unfit as unfit:
        raise ConfigError([Fault(key=key, value=path, rule=str(unfit))]) from unfit
    except OSError as error:
        rule = f"cannot be read: {error.strerror}"
        raise ConfigError([Fault(key=key, value=path, rule=rule)]) from error
    try:
        refuse_written(key, path, descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_written(key: str, path: str, descriptor: int) -> None:
    """Raise LockHeld for a disk that its guest writes to: it is read half old and half new, and is somebody's."""
    if written(descriptor):
        raise LockHeld(
            f"{key}: {path} is in use: a QEMU has it open for writing",
            hint="Stop that VM, or name a copy of its disk.",
        )


def bounds_of(disk: Disk, bounds: Bounds) -> Bounds:
    """Say where the disk's path may lead: a volume is named by host.toml's pool, and lies in it."""
    if not isinstance(disk.backend, Volume):
        return bounds
    return Bounds(folders=(disk.backend.directory,), name="the pool")


def _check(disk: Disk, backend: LocalPath | Volume, bounds: Bounds, *, formats: bool) -> None:
    if isinstance(backend, Volume):
        _check_pool(backend)
        if not os.path.lexists(backend.path):
            _check_new(disk, bounds)
            return
    with pathname.found(backend.path, bounds_of(disk, bounds), writable=disk.writable) as place:
        check_storage(place)
        content.check(disk, place, formats=formats)


def _check_new(disk: Disk, bounds: Bounds) -> None:
    if disk.source is not None and disk.source.image.startswith("/"):
        with pathname.found(disk.source.image, bounds) as place:
            _check_regular(place)
    elif disk.size is None and disk.source is None:
        raise Unfit("the volume does not exist: give disks/<name>/size to create it, or a source")


def _check_regular(place: OpenPath) -> None:
    if not place.is_file:
        raise Unfit(FOLDER if place.is_folder else "is not a regular file")


def check_storage(place: OpenPath) -> None:
    """Raise Unfit for what is neither a regular file nor a block device."""
    if place.is_folder:
        raise Unfit(FOLDER)
    if not (place.is_file or place.is_block_device):
        raise Unfit("is neither a regular file nor a block device")


def _check_pool(volume: Volume) -> None:
    if not Path(volume.directory).is_dir():
        raise Unfit(f"the pool's directory {volume.directory} does not exist on this host")


def identity(disk: Disk) -> str:
    """Ask what the kernel knows a file or device by that is not opened for a claim, "" where nothing is there."""
    if isinstance(disk.backend, RbdImage):
        return ""
    try:
        with pathname.found(disk.backend.path, pathname.ANYWHERE) as place:
            return place.identity
    except Unfit:
        return ""


def locked(disk: Disk) -> bool:
    """Tell whether a QEMU has the file open, before anything is taken: a launcher that takes
    a lock and gives it back would end an owner that is holding on without etcd.
    """
    return _is(held, disk)


def in_use(disk: Disk) -> bool:
    """Tell whether it is taken: who writes wants nobody to have it, who reads nobody to write."""
    try:
        return _is(held if disk.writable else written, disk)
    except OSError:  # why it cannot be opened is said where that is tried
        return False


def _is(asked: Callable[[int], bool], disk: Disk) -> bool:
    """Nothing is read: what a path may lead to is judged elsewhere."""
    if isinstance(disk.backend, RbdImage):
        return False
    try:
        descriptor = os.open(disk.backend.path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        place = OpenPath(descriptor)
        if not place.is_file and (disk.writable or not place.is_block_device):
            return False  # to write, a device is opened for us alone
        with place.reading() as file:
            return asked(file)
    finally:
        os.close(descriptor)


def held(descriptor: int) -> bool:
    return _is_locked(descriptor, FIRST_LOCK, LOCKS)


def written(descriptor: int) -> bool:
    """Tell whether a QEMU may write to it, not only read: each permission has a byte
    (file-posix.c, raw_apply_lock_bytes).
    """
    try:
        return _is_locked(descriptor, FIRST_LOCK + WRITE, 1)
    except OSError:  # a file system without locks: QEMU has none there
        return False


def _is_locked(descriptor: int, first: int, count: int) -> bool:
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    kind, *_ = FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


def open_parent(disk: Disk) -> int | None:
    """Open what a chained volume sits on, None for no such volume; nobody ever writes to it."""
    if not isinstance(disk.backend, Volume) or disk.format is not Format.qcow2:
        return None
    parent = qcow2.parent(Path(disk.backend.path))
    if parent is None:
        return None
    link = os.open(parent, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _opened_parent(disk, str(parent), OpenPath(link))
    finally:
        os.close(link)


def _opened_parent(disk: Disk, path: str, place: OpenPath) -> int:
    if not place.is_file:
        raise ConfigError([Fault(key=disk.key, rule=f"sits on {path}, which is no regular file")])
    descriptor = place.opened(os.O_RDONLY | (os.O_DIRECT if disk.direct else 0))
    try:
        refuse_written(disk.key, path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_for_qemu(disk: Disk, bounds: Bounds) -> int:
    """Open the disk. QEMU locks it through this descriptor (OFD locks), so keep no copy of it.

    Raises ConfigError, or LockHeld for a device in use.
    """
    path = str(disk.backend)
    flags = os.O_RDWR if disk.writable else os.O_RDONLY
    if disk.direct:
        # QEMU 9.1 and later look for a descriptor that has O_DIRECT as they would set it.
        flags |= os.O_DIRECT
    try:
        with pathname.found(path, bounds_of(disk, bounds), writable=disk.writable) as place:
            check_storage(place)
            if place.is_block_device and disk.writable:
                flags |= (
                    os.O_EXCL
                )  # QEMU's image lock does not reach across two nodes of one device
            return place.opened(flags)
    except Unfit as unfit:
        raise ConfigError([Fault(key=disk.key, value=path, rule=str(unfit))]) from unfit
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise LockHeld(
                f"{path} is in use: something on this host has the device",
                hint="a QEMU, a mount, LVM or multipath; `lsblk` and `lsof` name it",
            ) from error
        rule = f"cannot be opened: {error.strerror}"
        if error.errno == errno.EROFS:
            rule += f": take `:ro` off its mount, or set disks/{disk.name}/read_only to on"
        if error.errno == errno.EINVAL and flags & os.O_DIRECT:
            rule = f"its file system cannot do without a cache: set disks/{disk.name}/cache to writeback"
        raise ConfigError([Fault(key=disk.key, value=path, rule=rule)]) from error
