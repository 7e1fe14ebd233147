"""What a disk's file or device is, against what its keys say."""

import fcntl
import os
from pathlib import Path

from holdfast.machine import BLOCK, Disk, DiskKind, Format, LocalPath, Volume
from holdfast.storage import qcow2
from holdfast.storage.pathname import OpenPath, Unfit

SG_GET_VERSION_NUM = 0x2282  # scsi/sg.h; what is no SCSI device does not know it


def check(disk: Disk, place: OpenPath, *, formats: bool) -> None:
    """Look at what the disk's file or device is. Raises Unfit."""
    try:
        if isinstance(disk.backend, Volume):
            _check_variables(disk, place)
        else:
            _check_own(disk, place)
        if formats and place.is_file:  # a block device is raw
            _check_format(disk, place)
    except OSError as error:  # a server that lets root look, and not read
        raise Unfit(f"cannot be read: {error.strerror}") from error


def _check_variables(disk: Disk, place: OpenPath) -> None:
    if disk.template:
        from holdfast.storage.variables import unfit  # noqa: PLC0415 - for a VM with a UEFI

        with place.reading() as file, Path(disk.template).open("rb") as template:
            if rule := unfit(*_head(file), *_head(template.fileno())):
                raise Unfit(rule)


def _head(descriptor: int) -> tuple[bytes, int]:
    from holdfast.storage.variables import HEAD  # noqa: PLC0415 - for an image with UEFI's variables

    return os.pread(descriptor, HEAD, 0), os.fstat(descriptor).st_size


def _check_own(disk: Disk, place: OpenPath) -> None:
    """What does not depend on its content, of a file or device that is not ours to make."""
    if disk.kind is DiskKind.lun:
        _check_lun(place)
    if not place.is_file:
        if disk.size is not None:
            raise Unfit(
                f"is a block device, which has its own size: delete disks/{disk.name}/size"
            )
    elif place.stat.st_size % BLOCK:
        from holdfast.storage import sectors  # noqa: PLC0415 - few files are of such a size

        if rule := sectors.unfit(disk, place.path):
            raise Unfit(rule)


def _check_lun(place: OpenPath) -> None:
    """QEMU's scsi-block hands the guest's commands to the device as they are."""
    try:
        with place.reading() as device:
            fcntl.ioctl(device, SG_GET_VERSION_NUM, bytes(4))
    except OSError as error:
        raise Unfit("is no SCSI device, which a lun must be") from error


def _check_format(disk: Disk, place: OpenPath) -> None:
    """The format is what the key says, never a guess: a guest can write any header into a raw disk."""
    if not place.stat.st_size:
        _check_empty(disk)
        return
    with place.reading() as file:
        header = qcow2.read(file)
        if (header is None) is (disk.format is Format.qcow2):
            found = "not qcow2" if header is None else "qcow2"
            raise Unfit(
                f"its header says {found}, disks/{disk.name}/format says {disk.format.value}"
            )
        if header is not None:
            _check_qcow2(disk, file, header)
        elif isinstance(disk.backend, LocalPath) and not disk.format_named:
            _check_head(disk, file)


def _check_empty(disk: Disk) -> None:
    if disk.format is Format.qcow2:
        raise Unfit(
            f"is empty: `qemu-img create -f qcow2 {disk.backend} SIZE` makes an image of it"
        )
    if disk.size is None or not disk.writable:
        raise Unfit(
            f"is empty: a disk of no size cannot boot; disks/{disk.name}/size gives it one"
        )


def _check_head(disk: Disk, file: int) -> None:
    """Of nobody who says that it is raw: a guest may have written an archive onto its disk."""
    from holdfast.storage import image_head  # noqa: PLC0415 - for files of the user's own

    if rule := image_head.unfit(os.pread(file, image_head.HEAD, 0)):
        raise Unfit(f"{rule}; where it is meant as it is, set disks/{disk.name}/format to raw")


def _check_qcow2(disk: Disk, file: int, header: qcow2.Header) -> None:
    """A header may name other files of the host; they would bypass image_paths."""
    in_pool = isinstance(disk.backend, Volume)
    parent = qcow2.parent_of(Path(str(disk.backend)), header) if in_pool else None
    if parent is not None and (parent.is_symlink() or not parent.is_file()):
        raise Unfit(f"sits on {parent.name}, which is not in the pool any more")
    if header.backing and parent is None:
        raise Unfit(
            "has a backing file, which is for volumes with chained=on: flatten it with qemu-img convert"
        )
    if header.encrypted:
        raise Unfit("is encrypted, which is not supported: decrypt it with qemu-img convert")
    if header.data_file:
        raise Unfit("keeps its data in another file: flatten it with qemu-img convert")
    from holdfast.storage import qcow2_extent  # noqa: PLC0415 - most disks are raw

    if rule := qcow2_extent.cut_off(file):
        raise Unfit(f"{rule}; take a whole copy of it: the guest would read zeros for the rest")
