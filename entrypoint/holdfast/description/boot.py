"""`boot_order`: names of disks and network cards become the devices that have them."""

from holdfast.description.layers import Sources
from holdfast.machine import Disk, Nic

KEY = "boot_order"


def boot_order(
    sources: Sources, disks: tuple[Disk, ...], nics: tuple[Nic, ...]
) -> tuple[str, ...]:
    """Ids of QEMU's devices. A name that a disk and a card share is written `disks/<name>`."""
    _refuse_two_orders(sources, disks)
    if KEY not in sources.values:
        return ()
    devices = {f"disks/{disk.name}": f"disk-{disk.name}" for disk in disks}
    devices |= {f"nics/{nic.name}": f"nic-{nic.name}" for nic in nics}
    order: list[str] = []
    for word in sources.values[KEY].content:
        found = [
            devices[name] for name in (word, f"disks/{word}", f"nics/{word}") if name in devices
        ]
        if rule := _fault(found, order, sources):
            sources.refuse(sources.values[KEY].label, rule, word)
        order += found
    return tuple(order)


def _refuse_two_orders(sources: Sources, disks: tuple[Disk, ...]) -> None:
    turns = {disk.boot: disk for disk in disks if disk.boot is not None}
    for disk in disks:
        if disk.boot is None:
            continue
        if KEY in sources.values:
            sources.refuse(f"disks/{disk.name}/boot", f"is a second order beside {KEY}")
        elif turns[disk.boot] is not disk:
            rule = f"is the turn of disks/{turns[disk.boot].name} as well"
            sources.refuse(f"disks/{disk.name}/boot", rule, str(disk.boot))


def _fault(found: list[str], order: list[str], sources: Sources) -> str:
    if len(found) > 1:
        return "is a disk and a network card: write disks/<name> or nics/<name>"
    if found and found[0] in order:
        return "is there twice"
    broken = sources.is_faulty("disks/") or sources.is_faulty("nics/")
    return "" if found or broken else "is neither a disk nor a network card of this VM"
