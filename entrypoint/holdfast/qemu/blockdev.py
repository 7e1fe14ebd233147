"""Disks: the protocol node (file, block device, RBD), the format node on it, and limits on top."""

from holdfast.host import Host
from holdfast.machine import Aio, Disk, Format, Machine, RbdImage
from holdfast.qemu import boot, slots
from holdfast.qemu import disk as guest
from holdfast.qemu.option import as_json, keyed
from holdfast.qemu.wiring import Ceph, Wiring

CEPH_KEY = "ceph-key"
ADMIN = "admin"
NO_CONF = "/dev/null"  # without one, librados looks for /etc/ceph/ceph.conf
BLOCK = "virtio-blk-pci"


def disks(machine: Machine, host: Host, wiring: Wiring) -> list[str]:
    command = ceph_secret(machine, wiring.ceph)
    for disk in machine.disks:
        command += [*limits(disk), *nodes(disk, host, wiring)]
    command += guest.controllers(machine)
    for disk in machine.disks:
        command += [
            "-device",
            guest.device(machine, disk, boot.index(machine, f"disk-{disk.name}")),
        ]
    return command


def ceph_secret(machine: Machine, ceph: Ceph) -> list[str]:
    """The cephx key by file: in an argument everybody on the host could read it."""
    wanted = ceph.key_file and any(isinstance(disk.backend, RbdImage) for disk in machine.storage)
    return ["-object", secret(ceph)] if wanted else []


def secret(ceph: Ceph) -> str:
    properties = {"qom-type": "secret", "id": CEPH_KEY, "format": "base64", "file": ceph.key_file}
    return as_json(properties)


def limits(disk: Disk) -> list[str]:
    """An object of its own, so that limits can be changed while the guest runs."""
    if not is_limited(disk):
        return []
    given = {"iops-total": disk.iops, "bps-total": disk.bps}
    properties = {key: value for key, value in given.items() if value is not None}
    group = {"qom-type": "throttle-group", "id": f"limits-{disk.name}", "limits": properties}
    return ["-object", as_json(group)]


def is_limited(disk: Disk) -> bool:
    return disk.iops is not None or disk.bps is not None


def nodes(disk: Disk, host: Host, wiring: Wiring) -> list[str]:
    """The guest's device sits on `disk-<name>`, whatever lies below it."""
    shared = {
        "read-only": not disk.writable,
        "discard": disk.discard.value if disk.writable else None,
        "cache": {"direct": disk.direct, "no-flush": False},
    }
    backend = disk.backend
    if isinstance(backend, RbdImage):
        protocol = rbd(backend, wiring.ceph)
    else:
        protocol = local(disk, backend.path, host, wiring)
    name = f"disk-{disk.name}"
    image = f"img-{disk.name}" if is_limited(disk) else name
    parent = f"gold-{disk.name}" if disk.name in wiring.parents else None
    top = {"driver": disk.format.value, "node-name": image, **shared, "file": f"file-{disk.name}"}
    filter_ = {"driver": "throttle", "node-name": name, "throttle-group": f"limits-{disk.name}"}
    # fmt: off
    return [
        "-blockdev", as_json({**protocol, "node-name": f"file-{disk.name}", **shared}),
        *(["-blockdev", as_json(golden(disk, host, wiring, parent))] if parent else []),
        "-blockdev", as_json({**top, "backing": parent}),
        *(["-blockdev", as_json({**filter_, **shared, "file": image})] if is_limited(disk) else []),
    ]
    # fmt: on


def golden(disk: Disk, host: Host, wiring: Wiring, name: str) -> dict[str, object]:
    """The parent of a chained volume. Said here, QEMU does not look for it where the header says."""
    file = {
        "driver": "file",
        "filename": f"/dev/fdset/{wiring.parents[disk.name]}",
        "locking": "on",
        "aio": aio(disk, host).value,
        "cache": {"direct": disk.direct, "no-flush": False},
    }
    return {
        "driver": Format.qcow2.value,
        "node-name": name,
        "read-only": True,
        "cache": {"direct": disk.direct, "no-flush": False},
        "file": {**file, "read-only": True},
    }


def rbd(image: RbdImage, ceph: Ceph) -> dict[str, object]:
    """Where host.toml names the monitors, no ceph.conf is read: this host's may be another cluster's."""
    servers = [{"host": one.host, "port": str(one.port)} for one in image.access.monitors]
    return {
        "driver": "rbd",
        "pool": image.pool,
        "namespace": image.namespace or None,
        "image": image.image,
        "conf": NO_CONF if servers else ceph.conf,
        "server": servers or None,
        "user": ceph.user or image.access.user or ADMIN,
        "key-secret": CEPH_KEY if ceph.key_file else None,
    }


def local(disk: Disk, path: str, host: Host, wiring: Wiring) -> dict[str, object]:
    """A regular file or a block device; `locking` on, not auto: no lock, no start."""
    number = wiring.disks.get(disk.name)
    return {
        "driver": "host_device" if is_block_device(disk, path, wiring) else "file",
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


def seed(number: int | None, place: slots.Place | None = None, *, late: bool = False) -> list[str]:
    """The NoCloud image, which cloud-init finds by its label. `late`: QEMU makes it after all others."""
    if number is None:
        return []
    protocol = {"driver": "file", "node-name": "file-seed", "filename": f"/dev/fdset/{number}"}
    raw = {"driver": Format.raw.value, "node-name": "seed", "read-only": True, "file": "file-seed"}
    device = {"id": "seed", "drive": "seed", **(place or {})}
    # fmt: off
    return [
        "-blockdev", as_json({**protocol, "read-only": True}),
        "-blockdev", as_json(raw),
        "-device", as_json({"driver": BLOCK, **device}) if late else keyed(BLOCK, **device),
    ]
    # fmt: on
