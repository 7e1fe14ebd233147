"""The guest's memory: what it starts with, what can be plugged into it, and the balloon."""

from holdfast.machine import MIB, Machine
from holdfast.qemu import slots
from holdfast.qemu.spelling import Device, Object, Part, Setting, keyed

RAM = "ram"
PLUGGED = "memory-plugged"


def memory(machine: Machine) -> list[Part]:
    most = machine.ram_max and size(machine.ram_max)
    there = Setting("m", keyed(size(machine.ram), maxmem=most))
    return [there, *([backend(machine, RAM, machine.ram)] if has_backend(machine) else [])]


def has_backend(machine: Machine) -> bool:
    """Whether the memory is a file that QEMU could also show to others, and not just its own."""
    return machine.hugepages is not None or bool(machine.shares)


def size(number: int) -> str:
    """A plain number would be MiB to QEMU, so the unit is always there."""
    return f"{number // MIB}M" if number % MIB == 0 else f"{number}B"


def backend(machine: Machine, name: str, number: int, *, reserve: bool | None = None) -> Object:
    """Huge pages come from the kernel's pool by the system call: no file system has to be mounted."""
    pages = machine.hugepages
    properties = {
        "id": name,
        "size": number,
        "share": True if machine.shares else None,  # virtiofsd reads and writes it, too
        "reserve": reserve,
        "hugetlb": None if pages is None else True,
        "hugetlbsize": pages or None,
    }
    return Object("memory-backend-memfd", properties)


def devices(machine: Machine) -> list[Part]:
    return [*plugged(machine), *balloon(machine)]


def plugged(machine: Machine) -> list[Part]:
    """virtio-mem: empty at the start, filled while the guest runs. What is not filled costs nothing."""
    if machine.ram_max is None:
        return []
    device = {
        "id": "memory",
        "memdev": PLUGGED,
        "requested-size": 0,
        # Too few pages: an error, no SIGBUS.
        "prealloc": None if machine.hugepages is None else True,
        **slots.fixed(machine, "memory"),
    }
    rest = backend(machine, PLUGGED, machine.ram_max - machine.ram, reserve=False)
    return [rest, Device("virtio-mem-pci", device)]


def balloon(machine: Machine) -> list[Part]:
    """It also tells the host at once which memory the guest has freed."""
    if not has_balloon(machine):
        return []
    place = slots.fixed(machine, "balloon")
    told = {"id": "balloon", "free-page-reporting": True, **place}
    return [Device("virtio-balloon-pci", told)]


def has_balloon(machine: Machine) -> bool:
    """QEMU takes only one, and a user's own options may already have it. With vfio it would do nothing."""
    if machine.pci:
        return False
    if machine.balloon is None:
        own = any("virtio-balloon" in word for word in machine.extra_flags)
        return slots.has_pcie(machine) and not own
    return machine.balloon
