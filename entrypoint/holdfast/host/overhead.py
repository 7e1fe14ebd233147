"""How much memory a VM needs beside the guest's own. docs/operations.md has the measurements."""

from holdfast.host import Host
from holdfast.machine import GIB, MIB, Accelerator, Format, Machine, RbdImage, Tpm

QEMU = 64 * MIB  # and the launcher
PER_GIB = 4 * MIB  # page tables: QEMU's, and KVM's for the guest
PER_CPU = 2 * MIB
PER_IMAGE_IN_CEPH = 64 * MIB  # librbd's cache and threads
PER_QCOW2 = 32 * MIB  # the most that QEMU keeps of an image's tables
PER_SHARE = 32 * MIB  # its virtiofsd
TPM = 16 * MIB  # swtpm
SCREEN = 144 * MIB  # qxl's memory, the largest, and a copy of the screen for the client
TRANSLATIONS = 256 * MIB  # TCG's; a busy guest may take more,
MOST_TRANSLATIONS = GIB  # up to this
LEAST_CEILING = 512 * MIB  # for what makes volumes before QEMU is there


def headroom(machine: Machine, host: Host) -> int:
    return _untranslated(machine) + (TRANSLATIONS if _emulated(machine, host) else 0)


def _untranslated(machine: Machine) -> int:
    in_ceph = sum(isinstance(disk.backend, RbdImage) for disk in machine.disks)
    tables = sum(disk.format is Format.qcow2 for disk in machine.disks)
    return (
        QEMU
        + PER_GIB * -(-most(machine) // GIB)
        + PER_CPU * (machine.cpus_max or machine.cpus)
        + PER_IMAGE_IN_CEPH * in_ceph
        + PER_QCOW2 * tables
        + PER_SHARE * len(machine.shares)
        + (TPM if machine.tpm is not Tpm.off else 0)
        + (SCREEN if machine.spice or machine.vnc or machine.video else 0)
    )


def _emulated(machine: Machine, host: Host) -> bool:
    return host.accelerator(machine) is Accelerator.tcg


def most(machine: Machine) -> int:
    """What the guest may come to have."""
    return machine.ram_max or machine.ram


def needed(machine: Machine, host: Host) -> int:
    """What the control group must allow. Huge pages are counted apart from its memory."""
    own = most(machine) if machine.hugepages is None else 0
    return own + headroom(machine, host)


def ceiling(machine: Machine, host: Host) -> int:
    """The limit for a VM of which nobody has said one. A limit that is met kills the VM, so it is for what
    has run wild only: twice the headroom, and huge pages too, which newer kernels may count.
    """
    translations = MOST_TRANSLATIONS if _emulated(machine, host) else 0
    whole = most(machine) + 2 * _untranslated(machine) + translations
    return max(LEAST_CEILING, -(-whole // MIB) * MIB)
