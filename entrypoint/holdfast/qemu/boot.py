"""What the firmware boots from, and in which order."""

from holdfast.machine import Machine


def index(machine: Machine, device: str) -> int | None:
    """`bootindex` of a device, by its id; None: it is not booted from."""
    order = machine.boot_order or default_order(machine)
    return order.index(device) + 1 if device in order else None


def default_order(machine: Machine) -> tuple[str, ...]:
    """Disks by their turn, then the primary disk; the first card where there is no disk at all. A
    kernel given directly is first.
    """
    if machine.kernel:
        return ()
    if not machine.disks:
        return tuple(f"nic-{nic.name}" for nic in machine.nics[:1])
    booted = [disk for disk in machine.disks if disk.primary or disk.boot is not None]
    booted.sort(key=lambda disk: (disk.boot is None, disk.boot))
    return tuple(f"disk-{disk.name}" for disk in booted)
