"""How much memory a VM needs beside the guest's own. docs/operations.md has the measurements."""

from holdfast.host import Host
from holdfast.machine import Accelerator, Machine, RbdImage

MIB = 1024**2
GIB = 1024**3

QEMU = 64 * MIB  # and the launcher
PER_GIB = 4 * MIB  # page tables: QEMU's, and KVM's for the guest
PER_CPU = 2 * MIB
PER_IMAGE_IN_CEPH = 64 * MIB  # librbd's cache and threads
SCREEN = 144 * MIB  # qxl's memory, the largest, and a copy of the screen for the client
TRANSLATIONS = 256 * MIB  # TCG's; a busy guest may take more, up to 1 GiB


def headroom(machine: Machine, host: Host) -> int:
    in_ceph = sum(isinstance(disk.backend, RbdImage) for disk in machine.disks)
    emulated = host.accelerator(machine) is Accelerator.tcg
    return (
        QEMU
        + PER_GIB * -(-most(machine) // GIB)
        + PER_CPU * (machine.cpus_max or machine.cpus)
        + PER_IMAGE_IN_CEPH * in_ceph
        + (SCREEN if machine.spice or machine.vnc or machine.video else 0)
        + (TRANSLATIONS if emulated else 0)
    )


def most(machine: Machine) -> int:
    """What the guest may come to have."""
    return machine.ram_max or machine.ram


def needed(machine: Machine, host: Host) -> int:
    """What the control group must allow. Huge pages are counted apart from its memory."""
    own = most(machine) if machine.hugepages is None else 0
    return own + headroom(machine, host)
