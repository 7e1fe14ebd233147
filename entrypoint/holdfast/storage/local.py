"""Disks that are files or block devices of this host: checked, and opened for QEMU."""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import FOLDER, ConfigError, Fault, LockHeld
from holdfast.machine import BLOCK, Disk, DiskKind, Format, LocalPath, RbdImage, Volume
from holdfast.storage import qcow2
from holdfast.storage.variables import HEAD, unfit

# QEMU locks single bytes of an image, one for each thing that it does or forbids (block/file-posix.c).
FIRST_LOCK, LOCKS = 100, 200
WRITE = 1  # BLK_PERM_WRITE is 1 << 1
FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
SG_GET_VERSION_NUM = 0x2282  # scsi/sg.h; what is no SCSI device does not know it


def check(
    disks: Sequence[Disk], image_paths: Sequence[str], *, formats: bool = True
) -> list[Fault]:
    """What stands against these disks before anything is locked or made.

    Without `formats` their content is not looked at: somebody else says what it is.
    """
    faults = []
    for disk in disks:
        try:
            _check(disk, image_paths)
            if formats and not isinstance(disk.backend, RbdImage):
                _check_format(disk, disk.backend.path)
        except _Unfit as unfit:
            faults.append(Fault(key=disk.key, value=str(disk.backend), rule=str(unfit)))
    return faults


def check_file(key: str, path: str, image_paths: Sequence[str]) -> list[Fault]:
    """What stands against a file that is no disk, a kernel for one."""
    try:
        _check_path(path, image_paths)
        _check_regular(path)
    except _Unfit as unfit:
        return [Fault(key=key, value=path, rule=str(unfit))]
    return []


class _Unfit(Exception):
    pass


def _check(disk: Disk, image_paths: Sequence[str]) -> None:
    match disk.backend:
        case LocalPath(path=path):
            _check_path(path, image_paths)
            if disk.kind is DiskKind.lun:
                _check_lun(path)
            _check_storage(path)
            _check_own(disk, path)
        case Volume() as volume:
            _check_pool(volume)
            if os.path.lexists(volume.path):
                _check_path(volume.path, [volume.directory])
                _check_storage(volume.path)
                _check_variables(disk, volume.path)
            elif disk.source is not None and disk.source.image.startswith("/"):
                _check_path(disk.source.image, image_paths)
                _check_regular(disk.source.image)
            elif disk.size is None and disk.source is None:
                raise _Unfit(
                    "the volume does not exist: give disks/<name>/size to create it, or a source"
                )
        case RbdImage():
            pass


def _check_variables(disk: Disk, path: str) -> None:
    if disk.template and (rule := unfit(*_head(path), *_head(disk.template))):
        raise _Unfit(rule)


def _head(path: str) -> tuple[bytes, int]:
    with Path(path).open("rb") as file:
        return file.read(HEAD), os.fstat(file.fileno()).st_size


def _check_path(path: str, allowed: Sequence[str]) -> None:
    if not Path(path).exists():
        link = Path(path).is_symlink()
        raise _Unfit("is a link to nothing" if link else "does not exist on this host")
    real = Path(path).resolve()
    if not any(real.is_relative_to(Path(root).resolve()) for root in allowed):
        raise _Unfit(
            f"is {real}, which lies outside {', '.join(allowed)}"
            if str(real) != path
            else "lies outside image_paths"
        )


def _check_regular(path: str) -> None:
    if not Path(path).is_file():
        raise _Unfit(FOLDER if Path(path).is_dir() else "is not a regular file")


def _check_storage(path: str) -> None:
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise _Unfit(FOLDER)
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise _Unfit("is neither a regular file nor a block device")


def _check_own(disk: Disk, path: str) -> None:
    """What does not depend on its content, of a file or device that is not ours to make."""
    if not Path(path).is_file():
        if disk.size is not None:
            raise _Unfit(
                f"is a block device, which has its own size: delete disks/{disk.name}/size"
            )
    elif Path(path).stat().st_size % BLOCK:
        from holdfast.storage import sectors  # noqa: PLC0415 - few files are of such a size

        if rule := sectors.unfit(disk, path):
            raise _Unfit(rule)


def _check_lun(path: str) -> None:
    """QEMU's scsi-block hands the guest's commands to the device as they are."""
    try:
        with Path(path).open("rb", buffering=0) as device:
            fcntl.ioctl(device, SG_GET_VERSION_NUM, bytes(4))
    except OSError as error:
        raise _Unfit("is no SCSI device, which a lun must be") from error


def _check_format(disk: Disk, path: str) -> None:
    """The format is what the key says, never a guess: a guest can write any header into a raw disk."""
    if not Path(path).is_file():
        return  # a volume that is not made yet; a block device is raw
    if not Path(path).stat().st_size:
        _check_empty(disk, path)
        return
    header = qcow2.header(Path(path))
    if (header is None) is (disk.format is Format.qcow2):
        found = "not qcow2" if header is None else "qcow2"
        raise _Unfit(f"its header says {found}, disks/{disk.name}/format says {disk.format.value}")
    if header is not None:
        _check_qcow2(disk, Path(path), header)
    elif isinstance(disk.backend, LocalPath) and not disk.format_named:
        _check_head(disk, path)


def _check_empty(disk: Disk, path: str) -> None:
    if disk.format is Format.qcow2:
        raise _Unfit(f"is empty: `qemu-img create -f qcow2 {path} SIZE` makes an image of it")
    if disk.size is None or not disk.writable:
        raise _Unfit(
            f"is empty: a disk of no size cannot boot; disks/{disk.name}/size gives it one"
        )


def _check_head(disk: Disk, path: str) -> None:
    """Of nobody who says that it is raw: a guest may have written an archive onto its disk."""
    from holdfast.storage import image_head  # noqa: PLC0415 - for files of the user's own

    with Path(path).open("rb") as file:
        rule = image_head.unfit(file.read(image_head.HEAD))
    if rule:
        raise _Unfit(f"{rule}; where it is meant as it is, set disks/{disk.name}/format to raw")


def _check_qcow2(disk: Disk, path: Path, header: qcow2.Header) -> None:
    """A header may name other files of the host; they would bypass image_paths."""
    parent = qcow2.parent(path) if isinstance(disk.backend, Volume) else None
    if parent is not None and (parent.is_symlink() or not parent.is_file()):
        raise _Unfit(f"sits on {parent.name}, which is not in the pool any more")
    if header.backing and parent is None:
        raise _Unfit(
            "has a backing file, which is for volumes with chained=on: flatten it with qemu-img convert"
        )
    if header.encrypted:
        raise _Unfit("is encrypted, which is not supported: decrypt it with qemu-img convert")
    if header.data_file:
        raise _Unfit("keeps its data in another file: flatten it with qemu-img convert")
    from holdfast.storage import qcow2_extent  # noqa: PLC0415 - most disks are raw

    with path.open("rb") as file:
        if rule := qcow2_extent.cut_off(file.fileno()):
            raise _Unfit(
                f"{rule}; take a whole copy of it: the guest would read zeros for the rest"
            )


def _check_pool(volume: Volume) -> None:
    if not Path(volume.directory).is_dir():
        raise _Unfit(f"the pool's directory {volume.directory} does not exist on this host")


def identities(disks: Sequence[Disk]) -> dict[str, str]:
    """What the kernel knows each file by: device and inode. A volume that is not made yet has its
    folder's, and its name.
    """
    return {
        disk.name: _identity(Path(disk.backend.path))
        for disk in disks
        if isinstance(disk.backend, LocalPath | Volume) and disk.writable
    }


def _identity(path: Path) -> str:
    if not path.exists():
        return f"{_identity(path.parent)}/{path.name}"
    found = path.stat()
    device = found.st_rdev if stat.S_ISBLK(found.st_mode) else found.st_dev
    kind = "block" if stat.S_ISBLK(found.st_mode) else "inode"
    number = "" if kind == "block" else f"-{found.st_ino}"
    return f"{kind}-{os.major(device)}:{os.minor(device)}{number}"


def locked(disk: Disk) -> bool:
    """Whether a QEMU has the file open: asked before anything is taken, because a launcher that takes
    a lock and gives it back would end an owner that is holding on without etcd.
    """
    if not isinstance(disk.backend, LocalPath | Volume) or not Path(disk.backend.path).is_file():
        return False
    with Path(disk.backend.path).open("rb") as file:
        return held(file.fileno())


def held(descriptor: int) -> bool:
    return _is_locked(descriptor, FIRST_LOCK, LOCKS)


def written(descriptor: int) -> bool:
    """Whether a QEMU may write to it, not only read: each permission has a byte (file-posix.c, raw_apply_lock_bytes)."""
    return _is_locked(descriptor, FIRST_LOCK + WRITE, 1)


def _is_locked(descriptor: int, first: int, count: int) -> bool:
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    kind, *_ = FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


def open_parent(disk: Disk) -> int | None:
    """What a chained volume sits on; nobody ever writes to it."""
    if not isinstance(disk.backend, Volume) or disk.format is not Format.qcow2:
        return None
    parent = qcow2.parent(Path(disk.backend.path))
    if parent is None:
        return None
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(parent, flags | (os.O_DIRECT if disk.direct else 0))


def open_for_qemu(disk: Disk) -> int:
    """A descriptor of the disk. QEMU locks it through this one (OFD locks), so keep no copy of it."""
    path = str(disk.backend)
    flags = os.O_CLOEXEC | (os.O_RDWR if disk.writable else os.O_RDONLY)
    if disk.direct:
        # QEMU 9.1 and later look for a descriptor that has O_DIRECT as they would set it.
        flags |= os.O_DIRECT
    try:
        if stat.S_ISBLK(Path(path).stat().st_mode) and disk.writable:
            flags |= os.O_EXCL  # QEMU's image lock does not reach across two nodes of one device
        return os.open(path, flags)
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
