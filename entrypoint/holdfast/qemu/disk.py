"""The guest's side of a disk: a device on a bus, and the controllers that have to be there for it."""

from collections.abc import Mapping

from holdfast.grammar.identifier import SERIAL_LENGTH
from holdfast.machine import Bus, Cache, Disk, DiskKind, Machine
from holdfast.machine.board import bus_of, is_i440fx, on_bus, on_port
from holdfast.qemu import slots
from holdfast.qemu.spelling import Device, Object, Part, Value

DRIVERS = {
    Bus.virtio: "virtio-blk-pci",
    Bus.scsi: "scsi-hd",
    Bus.sata: "ide-hd",
    Bus.ide: "ide-hd",
    Bus.usb: "usb-storage",
    Bus.nvme: "nvme",
}
CDROMS = {Bus.scsi: "scsi-cd", Bus.sata: "ide-cd", Bus.ide: "ide-cd", Bus.usb: "usb-storage"}
LUN = "scsi-block"

THREADED = frozenset({Bus.virtio, Bus.scsi})


def is_threaded(machine: Machine, disk: Disk) -> bool:
    """The origin's board stays as it was, as long as nobody asks."""
    if bus_of(machine, disk) not in THREADED:
        return False
    return not is_i440fx(machine) if disk.iothread is None else disk.iothread


def controllers(machine: Machine) -> list[Part]:
    """Threads, and what the disks are plugged into."""
    threads = dict.fromkeys(thread(machine, disk) for disk in machine.disks)
    command: list[Part] = [Object("iothread", {"id": name}) for name in threads if name]
    if scsi := on_bus(machine, Bus.scsi):
        own = next(filter(None, (thread(machine, disk) for disk in scsi)), None)
        place = slots.fixed(machine, "scsi")
        command.append(Device("virtio-scsi-pci", {"id": "scsi", **place, "iothread": own}))
    return command


def thread(machine: Machine, disk: Disk) -> str:
    """The id of its I/O thread, "" for QEMU's main loop. SCSI disks have their controller's."""
    if not is_threaded(machine, disk):
        return ""
    return "iothread-scsi" if bus_of(machine, disk) is Bus.scsi else f"iothread-{disk.name}"


def device(machine: Machine, disk: Disk, bootindex: int | None) -> Device:
    """An error of the storage pauses a writer: the guest must not see it, and may be resumed."""
    bus = bus_of(machine, disk)
    name = f"disk-{disk.name}"
    told = {
        "id": name,
        "drive": name,
        **place(machine, disk),
        **properties(machine, disk, bus),
        "bootindex": bootindex,
        "serial": None if disk.kind is DiskKind.lun else serial(machine, disk, bus),
    }
    return Device(driver(bus, disk), told)


def driver(bus: Bus, disk: Disk) -> str:
    if disk.kind is DiskKind.lun:
        return LUN
    return CDROMS[bus] if disk.kind is DiskKind.cdrom else DRIVERS[bus]


def properties(machine: Machine, disk: Disk, bus: Bus) -> dict[str, Value]:
    if disk.kind is DiskKind.cdrom:
        return {"removable": True} if bus is Bus.usb else {}
    through = disk.cache is Cache.writethrough and disk.kind is not DiskKind.lun
    # NVMe has no such answer: there the guest sees the error.
    stop = "stop" if disk.writable and bus is not Bus.nvme else None
    threaded = bus is Bus.virtio and is_threaded(machine, disk)
    return {
        "iothread": thread(machine, disk) if threaded else None,
        "write-cache": "off" if through else None,  # to QEMU no switch: there is `auto`, too
        "werror": stop,
        "rerror": stop,
    }


def serial(machine: Machine, disk: Disk, bus: Bus) -> str | None:
    """An NVMe disk has to have one."""
    named = disk.serial or disk.devname
    return named or (f"{machine.vm}-{disk.name}"[-SERIAL_LENGTH:] if bus is Bus.nvme else None)


def place(machine: Machine, disk: Disk) -> Mapping[str, Value]:
    bus = bus_of(machine, disk)
    number = on_bus(machine, bus).index(disk)
    match bus:
        case Bus.sata:
            return {"bus": f"ide.{number}", "unit": 0}
        case Bus.ide:
            return {"bus": f"ide.{number // 2}", "unit": number % 2}
        case Bus.scsi:
            return {"bus": "scsi.0", "scsi-id": number}
        case Bus.usb:
            return {"bus": "usb.0"}
        case _:
            return slots.plugged(machine, "disks", on_port(machine).index(disk))
