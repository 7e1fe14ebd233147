"""Which board it is, and on which bus of it a disk sits."""

from collections.abc import Sequence

from holdfast.machine import Bus, Disk, DiskKind, Machine

# As many as fit: a port each on q35's AHCI, two units on each of the i440fx's two channels, a target
# each on SCSI, and on USB what qemu-xhci has beside a tablet's.
ROOM = {Bus.sata: 6, Bus.ide: 4, Bus.scsi: 255, Bus.usb: 3}


def is_i440fx(machine: Machine) -> bool:
    return machine.machine == "pc" or machine.machine.startswith("pc-i440fx")


def is_q35(machine: Machine) -> bool:
    return machine.machine == "q35" or machine.machine.startswith("pc-q35-")


def bus_of(machine: Machine, disk: Disk) -> Bus:
    if disk.bus is not None:
        return disk.bus
    if disk.kind is DiskKind.disk:
        return Bus.virtio
    if disk.kind is DiskKind.lun:
        return Bus.scsi
    return Bus.ide if is_i440fx(machine) else Bus.sata if is_q35(machine) else Bus.scsi


def on_bus(machine: Machine, *buses: Bus) -> Sequence[Disk]:
    """The disks there, in the order of their places."""
    return [disk for disk in machine.disks if bus_of(machine, disk) in buses]


def lacks_ahci(machine: Machine) -> bool:
    """q35's controller, which nothing can be plugged into. A user's own options may put a drive there."""
    own = any("ide-" in word for word in machine.extra_flags)
    return is_q35(machine) and not own and not on_bus(machine, Bus.sata)


def on_port(machine: Machine) -> Sequence[Disk]:
    """The disks that are PCI devices themselves."""
    return on_bus(machine, Bus.virtio, Bus.nvme)
