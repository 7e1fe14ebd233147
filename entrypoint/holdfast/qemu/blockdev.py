"""Disks: the protocol node (file, block device, RBD), the format node on it, and the guest's device."""

from holdfast.errors import ConfigError, Fault
from holdfast.machine import Cache, Disk, DiskKind, Format, Machine, RbdImage
from holdfast.qemu import boot, slots
from holdfast.qemu.option import as_json, keyed
from holdfast.qemu.system import is_i440fx
from holdfast.qemu.wiring import Ceph, Wiring

CEPH_KEY = "ceph-key"
ADMIN = "admin"
NO_CONF = "/dev/null"  # without one, librados looks for /etc/ceph/ceph.conf
BLOCK = "virtio-blk-pci"

# One unit a port on q35's AHCI, two on each of the two channels of the i440fx's IDE.
SATA_PORTS = 6
IDE_UNITS = 4


def disks(machine: Machine, wiring: Wiring) -> list[str]:
    command = ceph_secret(machine, wiring.ceph)
    for disk in machine.disks:
        command += nodes(disk, wiring)
    for disk in machine.disks:
        command += ["-device", device(machine, disk, place(machine, disk))]
    return command


def place(machine: Machine, disk: Disk) -> slots.Place:
    cdroms = [disk for disk in machine.disks if disk.kind is DiskKind.cdrom]
    if disk in cdroms:
        return ide_place(machine, disk, cdroms.index(disk))
    return slots.plugged(machine, "disks", slots.on_port(machine.disks).index(disk))


def ceph_secret(machine: Machine, ceph: Ceph) -> list[str]:
    """The cephx key by file: in an argument everybody on the host could read it."""
    wanted = ceph.key_file and any(isinstance(disk.backend, RbdImage) for disk in machine.disks)
    return ["-object", secret(ceph)] if wanted else []


def secret(ceph: Ceph) -> str:
    properties = {"qom-type": "secret", "id": CEPH_KEY, "format": "base64", "file": ceph.key_file}
    return as_json(properties)


def nodes(disk: Disk, wiring: Wiring) -> list[str]:
    shared = {
        "read-only": not disk.writable,
        "discard": "unmap" if disk.writable else None,
        "cache": {"direct": direct(disk), "no-flush": False},
    }
    backend = disk.backend
    if isinstance(backend, RbdImage):
        protocol = rbd(backend, wiring.ceph)
    else:
        protocol = local(disk, backend.path, wiring)
    top = {"driver": disk.format.value, "node-name": f"disk-{disk.name}"}
    # fmt: off
    return [
        "-blockdev", as_json({**protocol, "node-name": f"file-{disk.name}", **shared}),
        "-blockdev", as_json({**top, **shared, "file": f"file-{disk.name}"}),
    ]
    # fmt: on


def direct(disk: Disk) -> bool:
    return disk.cache is Cache.none


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


def local(disk: Disk, path: str, wiring: Wiring) -> dict[str, object]:
    """A regular file or a block device; `locking` on, not auto: no lock, no start."""
    number = wiring.disks.get(disk.name)
    return {
        "driver": "host_device" if is_block_device(disk, path, wiring) else "file",
        "filename": path if number is None else f"/dev/fdset/{number}",
        "locking": "on",
        "aio": "native" if direct(disk) else "threads",
    }


def is_block_device(disk: Disk, path: str, wiring: Wiring) -> bool:
    """Who opened it knows; a person who pastes the command has only the path."""
    if disk.name in wiring.disks:
        return disk.name in wiring.block_devices
    return path.startswith("/dev/") and not path.startswith("/dev/shm/")  # noqa: S108 - a path is judged, none made


def device(machine: Machine, disk: Disk, place: slots.Place) -> str:
    """An error of the storage pauses a writer: the guest must not see it, and may be resumed."""
    stop = "stop" if disk.writable else None
    name = f"disk-{disk.name}"
    if disk.kind is DiskKind.cdrom:
        return keyed("ide-cd", id=name, drive=name, **place, **identity(machine, disk))
    return keyed(
        BLOCK,
        id=name,
        drive=name,
        **place,
        write_cache=False if disk.cache is Cache.writethrough else None,
        werror=stop,
        rerror=stop,
        **identity(machine, disk),
    )


def identity(machine: Machine, disk: Disk) -> dict[str, str | int | None]:
    """What the guest and its firmware know the disk by."""
    bootindex = boot.index(machine, f"disk-{disk.name}")
    return {"bootindex": bootindex, "serial": disk.serial or None}


def ide_place(machine: Machine, disk: Disk, number: int) -> slots.Place:
    room = IDE_UNITS if is_i440fx(machine) else SATA_PORTS
    if number >= room:
        rule = f"machine {machine.machine} has room for {room} CD-ROMs"
        raise ConfigError([Fault(key=f"disks/{disk.name}/kind", value="cdrom", rule=rule)])
    bus, unit = divmod(number, 2) if is_i440fx(machine) else (number, 0)
    return {"bus": f"ide.{bus}", "unit": str(unit)}


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
