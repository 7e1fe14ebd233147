"""What the keys of one disk say against each other, whatever the board is."""

from collections.abc import Collection, Iterator

from holdfast.machine import (
    Aio,
    Bus,
    Disk,
    DiskKind,
    Format,
    LocalPath,
    RbdImage,
    RbdVolume,
    Source,
    Volume,
)
from holdfast.qemu.disk import THREADED

Found = Iterator[tuple[str, str]]  # the key, below `disks/<name>/`, and the rule it breaks

NOT_FOR_CDROMS = (Bus.virtio, Bus.nvme)


def contradictions(disk: Disk, given: Collection[str]) -> Found:
    """`given` are the keys that are there."""
    yield from _of_storage(disk, given)
    yield from _of_source(disk)
    yield from _of_effect(disk, given)
    yield from _of_access(disk, given)
    if disk.kind is DiskKind.cdrom:
        yield from _of_cdrom(disk, given)
    if disk.kind is DiskKind.lun:
        yield from _of_lun(disk, given)


def _of_storage(disk: Disk, given: Collection[str]) -> Found:
    if isinstance(disk.backend, RbdImage) and disk.format is not Format.raw:
        yield "format", "an RBD image is raw"
    if isinstance(disk.backend, RbdImage) and disk.sparse is False:
        yield "sparse", "an RBD image is always sparse"
    if "size" in given and isinstance(disk.backend, LocalPath) and not _can_grow(disk):
        yield "size", "what is read-only, or a lun, is not grown"
    if "sparse" in given and isinstance(disk.backend, LocalPath):
        yield "sparse", "is for volumes, which are made; a file of yours stays as it is"


def _can_grow(disk: Disk) -> bool:
    return disk.writable and disk.kind is DiskKind.disk


def _of_source(disk: Disk) -> Found:
    source = disk.source
    if disk.chained and (source is None or not source.place):
        yield "chained", "needs source/image or source/volume: what it is to share"
    if disk.chained and isinstance(disk.backend, Volume) and disk.format is Format.raw:
        yield "format", "a chained volume in a directory is qcow2"
    if source is None:
        return
    if not isinstance(disk.backend, Volume | RbdVolume):
        yield (
            "source/image" if source.image else "source/volume",
            "is for volumes in a pool, which are made",
        )
    if isinstance(disk.backend, RbdVolume) and not disk.writable:
        yield "read_only", "a volume in Ceph that is made from a source must be writable"
    if source.image and source.volume:
        yield "source/volume", "is a second source beside source/image"
    yield from _of_image(source)


def _of_effect(disk: Disk, given: Collection[str]) -> Found:
    """What would do nothing was meant otherwise."""
    if "sparse" in given and disk.sparse is False and disk.chained:
        yield "sparse", "a chained volume takes its room as it is written to"
    if "discard" in given and not disk.writable:
        yield "discard", "nothing is given back by what is read-only"
    if "discard" in given and disk.kind is DiskKind.lun:
        yield "discard", "a lun obeys the guest's own commands"


def _of_image(source: Source) -> Found:
    """What describes an image, and which of them a URL has to have."""
    if not source.image:
        for name in ("member", "format", "checksum"):
            if getattr(source, name):
                yield f"source/{name}", "needs source/image, which it describes"
    if source.image.startswith("http://") and source.checksum is None:
        yield (
            "source/image",
            "http needs source/checksum: anybody on the way could change it; or use https",
        )


def _of_access(disk: Disk, given: Collection[str]) -> Found:
    if "aio" in given and isinstance(disk.backend, RbdImage):
        yield "aio", "is for files and block devices; librbd has a way of its own"
    if disk.aio is Aio.native and not disk.direct:
        yield "aio", "native needs cache=none: QEMU refuses it with a cache"
    if "iothread" in given and disk.iothread and not _is_threaded(disk):
        yield "iothread", f"is for virtio and scsi; {disk.bus or 'the bus of a cdrom'} has none"
    if disk.read_only and disk.kind is DiskKind.disk and disk.bus in (Bus.sata, Bus.ide):
        yield "read_only", f"a disk on {disk.bus} is always writable; use virtio or scsi"


def _is_threaded(disk: Disk) -> bool:
    return disk.bus in THREADED or (disk.bus is None and disk.kind is not DiskKind.cdrom)


def _of_cdrom(disk: Disk, given: Collection[str]) -> Found:
    if disk.primary:
        yield "primary", "a cdrom cannot be the primary disk"
    if "read_only" in given and not disk.read_only:
        yield "read_only", "a cdrom is always read-only"
    if disk.bus in NOT_FOR_CDROMS:
        yield "bus", f"there is no cdrom on {disk.bus}"


def _of_lun(disk: Disk, given: Collection[str]) -> Found:
    if isinstance(disk.backend, RbdImage | Volume):
        yield "kind", "a lun is a SCSI device of the host: give its path"
    if disk.bus not in (None, Bus.scsi):
        yield "bus", "a lun is on scsi"
    if disk.format is not Format.raw:
        yield "format", "a lun is raw"
    if not disk.direct:
        yield "cache", "a lun has none: its commands go to the device"
    if disk.read_only:
        yield "read_only", "a lun obeys the guest's own commands, which may write"
    if disk.iops is not None or disk.bps is not None:
        yield "kind", "a lun has no limits: its commands go to the device"
    if {"serial", "devname"} & set(given):
        yield "kind", "a lun shows the serial number of its device"
