"""The keys of a disk."""

from holdfast.grammar import choice, identifier, size, switch, whole
from holdfast.keys import image_source
from holdfast.keys.row import FILE, Key
from holdfast.machine import KIB, MIB, Aio, Bus, Cache, Discard, DiskKind, Format, aligned
from holdfast.policy.host_config import HostConfig

MOST_TURNS = 99


def _size(text: str) -> int:
    """20GB is no multiple of the sectors that some storage has."""
    return aligned(size(least=MIB)(text))


# fmt: off
DISKS = (
    Key(name="disks/<name>/rbd", parse=identifier.rbd_image, value="`pool/image`, `pool/namespace/image`",
        hardware=True, doc="an image in Ceph"),
    Key(name="disks/<name>/path", **FILE, value="path", hardware=True, doc="a file or block device of the host"),
    Key(name="disks/<name>/pool", parse=str, permit=HostConfig.permit_pool, value="pool of host.toml",
        default="`default_pool`", hardware=True, doc="the volume `<vm>-<name>`, created when it is missing"),
    Key(name="disks/<name>/size", parse=_size, field="size", value="size, at least 1 MiB",
        default="as it is", hardware=True, doc="created with it, grown to it (a file of yours too), never shrunk; rounded up to 4096 bytes"),
    Key(name="disks/<name>/format", parse=choice(Format), field="format", value="`raw qcow2`", default="`raw`; chained in a directory: `qcow2`",
        hardware=True, doc="never guessed from what the guest wrote"),
    Key(name="disks/<name>/kind", parse=choice(DiskKind), field="kind", value="`disk cdrom lun`",
        default="`disk`", hardware=True, doc="a `cdrom` is read-only; a `lun` is a SCSI device of the host, passed through"),
    Key(name="disks/<name>/primary", parse=switch, field="primary", value="switch",
        default="the only disk, or `root`", hardware=True, doc="booted from"),
    Key(name="disks/<name>/read_only", parse=switch, field="read_only", value="switch", default="off",
        hardware=True, doc="for the guest and for QEMU"),
    Key(name="disks/<name>/serial", parse=identifier.serial, field="serial", value="1 to 20 letters, digits, `._-`",
        hardware=True, doc="what the guest sees as the disk's serial number"),
    Key(name="disks/<name>/cache", parse=choice(Cache), field="cache", value="`none writeback writethrough`",
        default="`none`", hardware=True, doc="of the host, for this disk"),
    Key(name="disks/<name>/sparse", parse=switch, field="sparse", value="switch", default="on",
        doc="off: all its room is taken when it is made; an RBD image always is sparse"),
    Key(name="disks/<name>/bus", parse=choice(Bus), field="bus", value="`virtio scsi sata ide usb nvme`",
        default="`virtio`; a cdrom: `sata`, on `pc` `ide`; a lun: `scsi`", hardware=True,
        doc="`sata` is for `q35`, `ide` for `pc`"),
    Key(name="disks/<name>/devname", parse=identifier.serial, field="devname", value="as `serial`", hardware=True,
        doc="a hint for the guest: its serial number, where none is set"),
    Key(name="disks/<name>/boot", parse=whole(1, MOST_TURNS), field="boot", value="1 to 99", hardware=True,
        doc="its turn when the firmware looks for a system; the primary disk without one comes last"),
    Key(name="disks/<name>/aio", parse=choice(Aio), field="aio", value="`native threads io_uring`",
        default="`io_uring` where this host lets us, else `native`, else `threads`",
        doc="how QEMU reads and writes a file or block device; `native` needs `cache=none`"),
    Key(name="disks/<name>/discard", parse=choice(Discard), field="discard", value="`unmap ignore`", default="`unmap`",
        doc="what becomes of blocks that the guest no longer needs"),
    Key(name="disks/<name>/iothread", parse=switch, field="iothread", value="switch",
        default="on for `virtio` and `scsi`, except on `pc`",
        doc="a thread of its own; all disks on `scsi` share one"),
    Key(name="disks/<name>/iops", parse=whole(1, 10**9), field="iops", value="1 to 1000000000", default="no limit",
        doc="reads and writes in a second"),
    Key(name="disks/<name>/bps", parse=size(least=KIB), field="bps", value="size, at least 1 KiB", default="no limit",
        doc="bytes read and written in a second"),
    Key(name="disks/<name>/source/image", parse=image_source.image, permit=image_source.permit,
        value="path, https URL, or http URL with a checksum", hardware=True,
        doc="what a volume is made from, when it is made: raw or qcow2, also as gz, xz, zst or bz2"),
    Key(name="disks/<name>/source/member", parse=image_source.member, value="name", hardware=True,
        doc="the file in a tar or zip archive"),
    Key(name="disks/<name>/source/volume", parse=image_source.volume, value="name of a volume", hardware=True,
        doc="another volume of the same pool, to be cloned; nobody may be writing to it"),
    Key(name="disks/<name>/source/format", parse=choice(Format), value="`raw qcow2`", default="found out once",
        hardware=True, doc="of the image, once it is unpacked"),
    Key(name="disks/<name>/source/checksum", parse=image_source.checksum, value="`sha256:`, `sha512:`, `md5:` or the like and digits, or the digits alone",
        hardware=True, doc="of the file as it is published, before it is unpacked"),
    Key(name="disks/<name>/chained", parse=switch, field="chained", value="switch", default="off", hardware=True,
        doc="copy-on-write over one parent, which all that have this source share"),
)
