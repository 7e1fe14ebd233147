"""Network cards: the host's end (`-netdev`) and the guest's (`-device`)."""

from holdfast.machine import Machine, Nic, NicMode
from holdfast.qemu import slots
from holdfast.qemu.option import as_json, keyed
from holdfast.qemu.system import ORIGIN_NIC, is_i440fx
from holdfast.qemu.wiring import Wiring


def nics(machine: Machine, wiring: Wiring) -> list[str]:
    command = []
    for number, nic in enumerate(machine.nics):
        command += [*netdev(nic, wiring), "-device", device(machine, nic, number)]
    return command


def netdev(nic: Nic, wiring: Wiring) -> list[str]:
    if nic.mode is NicMode.none:
        return []
    return [
        "-netdev",
        as_json(
            {"type": "user", "id": node(nic)} if nic.mode is NicMode.user else bridge(nic, wiring)
        ),
    ]


def bridge(nic: Nic, wiring: Wiring) -> dict[str, object]:
    """A tap that the launcher got from the bridge helper: a confined QEMU cannot start it."""
    if nic.name in wiring.taps:
        return {"type": "tap", "id": node(nic), "fd": str(wiring.taps[nic.name])}
    return {"type": "bridge", "id": node(nic), "br": nic.bridge}


def node(nic: Nic) -> str:
    return f"nic-{nic.name}"


def device(machine: Machine, nic: Nic, number: int) -> str:
    """Without disk and kernel the first card boots; all others go without iPXE, whose ROM costs time."""
    boots = number == 0 and not machine.disks and not machine.kernel
    return keyed(
        "virtio-net-pci" if nic.model == "virtio" else nic.model,
        id=node(nic),
        netdev=None if nic.mode is NicMode.none else node(nic),
        mac=nic.mac,
        addr=ORIGIN_NIC if number == 0 and is_i440fx(machine) else None,
        **slots.plugged(machine, "nics", number),
        bootindex=1 if boots else None,
        romfile=None if boots else "",
    )
