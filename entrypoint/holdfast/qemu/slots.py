"""Where a device sits on a PCIe board, so that its address follows from its key and not from its neighbours.

Small devices that nobody plugs have a slot of pcie.0 each. Disks, network cards and passed-through
devices come and go while the guest runs: pcie.0 refuses that, and a root port cannot be added
later. So there is a port for each, and some to spare. On other boards (pc, microvm) QEMU chooses,
in the order of the command, as it always did.
"""

from holdfast.machine import Machine
from holdfast.machine.board import on_port
from holdfast.qemu.spelling import Device, Part

Place = dict[str, str]

BUS = "pcie.0"
# By the device's id. On q35 0x0 and 0x1f are the chipset's. A number given once is never given to another.
FIXED = {
    "video": 0x1,
    "usb": 0x2,
    "serial-ports": 0x3,
    "pvpanic": 0x4,
    "rng": 0x5,
    "balloon": 0x6,
    "watchdog": 0x7,
    "memory": 0x8,
    "scsi": 0xA,
}
# Of devices of which there may be several, and that nobody plugs: they are the functions of one slot.
TOGETHER = {"shares": 0xB}
# The first slot of each family's ports. Network cards come first: a guest names a card by its bus,
# and the buses are numbered in this order. The seed comes last: a guest counts its disks in it.
FAMILIES = {"nics": 0x10, "disks": 0x14, "pci": 0x1A, "seed": 0x1E}
LOWEST = min(FAMILIES.values())
FUNCTIONS = 8  # ports in one slot
# As many ports are free for what is plugged later. Each costs every start some 3 ms (TCG): QEMU makes it, the
# firmware looks behind it, and gives its bus windows of memory.
SPARE = {"nics": 1, "disks": 1}


def has_pcie(machine: Machine) -> bool:
    name = machine.machine
    return name in ("q35", "virt") or name.startswith(("pc-q35-", "virt-"))


def fixed(machine: Machine, device: str) -> Place:
    """The place of a device that is there once and stays."""
    return {"bus": BUS, "addr": f"{FIXED[device]:#x}"} if has_pcie(machine) else {}


def together(machine: Machine, family: str, number: int) -> dict[str, str | bool]:
    """The place of one of several devices in one slot. No bus is theirs that a guest would count."""
    if not has_pcie(machine):
        return {}
    first: dict[str, str | bool] = {"multifunction": True} if number == 0 else {}
    return {"bus": BUS, "addr": f"{TOGETHER[family]:#x}.{number}", **first}


def plugged(machine: Machine, family: str, number: int) -> Place:
    """The place of a device that may be plugged while the guest runs."""
    return {"bus": port(family, number)} if has_pcie(machine) else {}


def port(family: str, number: int) -> str:
    return f"port-{family}-{number}"


def ports(machine: Machine, *, seed: bool = False) -> list[Part]:
    """The root ports, before all that sits on them."""
    if not has_pcie(machine):
        return []
    there = {
        "nics": len(machine.nics) + SPARE["nics"],
        "disks": len(on_port(machine)) + SPARE["disks"],
        "pci": len(machine.pci),
        "seed": int(seed),
    }
    return [
        root_port(family, number) for family, count in there.items() for number in range(count)
    ]


def root_port(family: str, number: int) -> Device:
    first = FAMILIES[family]
    slot, function = divmod(number, FUNCTIONS)
    told = {
        "id": port(family, number),
        "bus": BUS,
        "addr": f"{first + slot:#x}.{function}",
        "multifunction": True if function == 0 else None,
        "chassis": FUNCTIONS * (first - LOWEST) + number + 1,
    }
    return Device("pcie-root-port", told)
