"""The keys of a disk."""

from holdfast import identifier
from holdfast.grammar import MIB, choice, size, switch
from holdfast.host_config import HostConfig
from holdfast.keys.row import FILE, Key
from holdfast.machine import Cache, DiskKind, Format

# fmt: off
DISKS = (
    Key(name="disks/<name>/rbd", parse=identifier.rbd_image, value="`pool/image`, `pool/namespace/image`",
        hardware=True, doc="an image in Ceph"),
    Key(name="disks/<name>/path", **FILE, value="path", hardware=True, doc="a file or block device of the host"),
    Key(name="disks/<name>/pool", parse=str, permit=HostConfig.permit_pool, value="pool of host.toml",
        default="`default_pool`", hardware=True, doc="the volume `<vm>-<name>`, created when it is missing"),
    Key(name="disks/<name>/size", parse=size(least=MIB, step=512), field="size", value="size, at least 1 MiB",
        default="as it is", hardware=True, doc="created with it, grown to it, never shrunk"),
    Key(name="disks/<name>/format", parse=choice(Format), field="format", value="`raw qcow2`", default="`raw`",
        hardware=True, doc="never guessed from what the guest wrote"),
    Key(name="disks/<name>/kind", parse=choice(DiskKind, later=("lun",)), field="kind", value="`disk cdrom`",
        default="`disk`", hardware=True, doc="a `cdrom` is read-only"),
    Key(name="disks/<name>/primary", parse=switch, field="primary", value="switch",
        default="the only disk, or `root`", hardware=True, doc="booted from"),
    Key(name="disks/<name>/read_only", parse=switch, field="read_only", value="switch", default="off",
        hardware=True, doc="for the guest and for QEMU"),
    Key(name="disks/<name>/serial", parse=identifier.serial, field="serial", value="1 to 20 letters, digits, `._-`",
        hardware=True, doc="what the guest sees as the disk's serial number"),
    Key(name="disks/<name>/cache", parse=choice(Cache), field="cache", value="`none writeback writethrough`",
        default="`none`", hardware=True, doc="of the host, for this disk"),
)
