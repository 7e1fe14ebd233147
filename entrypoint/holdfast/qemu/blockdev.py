"""Disks: the protocol node (file, block device, RBD), the format node on it, and limits on top."""

from holdfast.host import Host
from holdfast.machine import Aio, Disk, Format, Machine, RbdImage
from holdfast.machine.ceph import ADMIN
from holdfast.qemu import boot, slots
from holdfast.qemu import disk as guest
from holdfast.qemu.spelling import Blockdev, Device, Object, Part
from holdfast.qemu.wiring import Ceph, Wiring

CEPH_KEY = "ceph-key"
NO_CONF = "/dev/null"  # without one, librados looks for /etc/ceph/ceph.conf
BLOCK = "virtio-blk-pci"


def disks(machine: Machine, host: Host, wiring: Wiring) -> list[Part]:
    command: list[Part] = ceph_secret(machine, wiring.ceph)
    for disk in machine.disks:
        command += [*limits(disk), *nodes(disk, host, wiring)]
    command += guest.controllers(machine)
    for disk in machine.disks:
        bootindex = boot.index(machine, f"disk-{disk.name}")
        command.append(guest.device(machine, disk, bootindex))
    return command


def ceph_secret(machine: Machine, ceph: Ceph) -> list[Part]:
    """The cephx key by file: in an argument everybody on the host could read it."""
    wanted = ceph.key_file and any(isinstance(disk.backend, RbdImage) for disk in machine.storage)
    return [secret(ceph)] if wanted else []


def secret(ceph: Ceph) -> Object:
    return Object("secret", {"id": CEPH_KEY, "format": "base64", "file": ceph.key_file})


def limits(disk: Disk) -> list[Part]:
    """An object of its own, so that limits can be changed while the guest runs."""
    if not is_limited(disk):
        return []
    both = {"iops-total": disk.iops, "bps-total": disk.bps}
    given = {key: value for key, value in both.items() if value is not None}
    return [Object("throttle-group", {"id": f"limits-{disk.name}", "limits": given})]


def is_limited(disk: Disk) -> bool:
    return disk.iops is not None or disk.bps is not None


def nodes(disk: Disk, host: Host, wiring: Wiring) -> list[Part]:
    """The guest's device sits on `disk-<name>`, whatever lies below it."""
    shared = {
        "read-only": not disk.writable,
        "discard": disk.discard.value if disk.writable else None,
        "cache": {"direct": disk.direct, "no-flush": False},
    }
    backend = disk.backend
    if isinstance(backend, RbdImage):
        driver, protocol = "rbd", rbd(backend, wiring.ceph)
    else:
        driver, protocol = local(disk, backend.path, host, wiring)
    name = f"disk-{disk.name}"
    image = f"img-{disk.name}" if is_limited(disk) else name
    parent = f"gold-{disk.name}" if disk.name in wiring.parents else None
    file = f"file-{disk.name}"
    top = {"node-name": image, **shared, "file": file, "backing": parent}
    filter_ = {"node-name": name, "throttle-group": f"limits-{disk.name}", **shared, "file": image}
    return [
        Blockdev(driver, {**protocol, "node-name": file, **shared}),
        *([golden(disk, host, wiring, parent)] if parent else []),
        Blockdev(disk.format.value, top),
        *([Blockdev("throttle", filter_)] if is_limited(disk) else []),
    ]


def golden(disk: Disk, host: Host, wiring: Wiring, name: str) -> Blockdev:
    """The parent of a chained volume. Said here, QEMU does not look for it where the header says."""
    file = {
        "driver": "file",
        "filename": f"/dev/fdset/{wiring.parents[disk.name]}",
        "locking": "on",
        "aio": aio(disk, host).value,
        "cache": {"direct": disk.direct, "no-flush": False},
    }
    properties = {
        "node-name": name,
        "read-only": True,
        "cache": {"direct": disk.direct, "no-flush": False},
        "file": {**file, "read-only": True},
    }
    return Blockdev(Format.qcow2.value, properties)


def rbd(image: RbdImage, ceph: Ceph) -> dict[str, object]:
    """Where host.toml names the monitors, no ceph.conf is read: this host's may be another cluster's."""
    servers = [{"host": one.host, "port": str(one.port)} for one in image.access.monitors]
    return {
        "pool": image.pool,
        "namespace": image.namespace or None,
        "image": image.image,
        "conf": NO_CONF if servers else ceph.conf,
        "server": servers or None,
        "user": ceph.user or image.access.user or ADMIN,
        "key-secret": CEPH_KEY if ceph.key_file else None,
    }


def local(disk: Disk, path: str, host: Host, wiring: Wiring) -> tuple[str, dict[str, object]]:
    """A regular file or a block device; `locking` on, not auto: no lock, no start."""
    number = wiring.disks.get(disk.name)
    driver = "host_device" if is_block_device(disk, path, wiring) else "file"
    return driver, {
        "filename": path if number is None else f"/dev/fdset/{number}",
        "locking": "on",
        "aio": aio(disk, host).value,
    }


def aio(disk: Disk, host: Host) -> Aio:
    if disk.aio is not None:
        return disk.aio
    if host.io_uring:
        return Aio.io_uring
    return Aio.native if disk.direct else Aio.threads


def is_block_device(disk: Disk, path: str, wiring: Wiring) -> bool:
    """Who opened it knows; a person who pastes the command has only the path."""
    if disk.name in wiring.disks:
        return disk.name in wiring.block_devices
    return path.startswith("/dev/") and not path.startswith("/dev/shm/")  # noqa: S108 - a path is judged, none made


def seed(number: int | None, place: slots.Place | None = None) -> list[Part]:
    """The NoCloud image, which cloud-init finds by its label."""
    if number is None:
        return []
    file = {"node-name": "file-seed", "filename": f"/dev/fdset/{number}", "read-only": True}
    return [
        Blockdev("file", file),
        Blockdev(Format.raw.value, {"node-name": "seed", "read-only": True, "file": "file-seed"}),
        Device(BLOCK, {"id": "seed", "drive": "seed", **(place or {})}),
    ]
