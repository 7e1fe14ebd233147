"""Network cards: the host's end (`-netdev`) and the guest's (`-device`)."""

from collections.abc import Mapping
from ipaddress import IPv6Address

from holdfast.machine import Machine, Nic, NicMode, Port
from holdfast.machine.board import is_i440fx
from holdfast.qemu import boot, slots
from holdfast.qemu.spelling import Device, Netdev, Part, Value
from holdfast.qemu.system import ORIGIN_NIC
from holdfast.qemu.wiring import Tap, Wiring

PASTED_FD = 3  # `3<>/dev/tapN` at the end of the shell's line


def nics(machine: Machine, wiring: Wiring) -> list[Part]:
    command: list[Part] = []
    for number, nic in enumerate(machine.nics):
        command += [*netdev(nic, number, wiring), device(machine, nic, number, wiring)]
    return command


def netdev(nic: Nic, number: int, wiring: Wiring) -> list[Netdev]:
    if nic.mode is NicMode.none:
        return []
    return [user(nic) if nic.mode is NicMode.user else tap(nic, number, wiring)]


def user(nic: Nic) -> Netdev:
    """QEMU's own network. What it tells the guest by DHCP is one server of each family."""
    servers: dict[str, str] = {}
    for server in nic.dns:
        servers.setdefault("ipv6-dns" if isinstance(server, IPv6Address) else "dns", str(server))
    lists = {
        "dnssearch": list(nic.search),
        "hostfwd": [forward(port) for port in nic.ports],
    }
    given = {name: [{"str": text} for text in texts] for name, texts in lists.items() if texts}
    return Netdev("user", {"id": node(nic), **servers, **given})


def forward(port: Port) -> str:
    return f"{port.protocol}:{port.address or ''}:{port.host}-:{port.guest}"


def tap(nic: Nic, number: int, wiring: Wiring) -> Netdev:
    """Descriptors that the launcher got: a confined QEMU can neither make a tap nor start the helper."""
    made = wiring.taps.get(nic.name)
    if made is None:
        return pasted(nic, number)
    ends = {"fd": made.queues, "vhostfd": made.vhost}
    plural = "s" if len(made.queues) > 1 else ""
    given = {f"{name}{plural}": ":".join(map(str, fds)) for name, fds in ends.items() if fds}
    return Netdev("tap", {"id": node(nic), "vhost": True if made.vhost else None, **given})


def pasted(nic: Nic, number: int) -> Netdev:
    """A person's QEMU can start the helper; a macvtap link and its descriptor are theirs to make."""
    if nic.mode is NicMode.macvtap:
        return Netdev("tap", {"id": node(nic), "fd": str(PASTED_FD + number)})
    return Netdev("bridge", {"id": node(nic), "br": nic.bridge})


def node(nic: Nic) -> str:
    return f"nic-{nic.name}"


def device(machine: Machine, nic: Nic, number: int, wiring: Wiring) -> Device:
    """A card that is not booted from goes without iPXE, whose ROM costs time."""
    bootindex = boot.index(machine, node(nic))
    told = {
        "id": node(nic),
        "netdev": None if nic.mode is NicMode.none else node(nic),
        "mac": nic.mac,
        "addr": ORIGIN_NIC if number == 0 and is_i440fx(machine) else None,
        **slots.plugged(machine, "nics", number),
        "bootindex": bootindex,
        "romfile": "" if bootindex is None else None,
        **virtio(nic, wiring.taps.get(nic.name)),
    }
    return Device("virtio-net-pci" if nic.model == "virtio" else nic.model, told)


def virtio(nic: Nic, tap: Tap | None) -> Mapping[str, Value]:
    """What only a virtio card can be told."""
    if nic.model != "virtio":
        return {}
    # An interrupt for each direction of each queue, one for changes and one for the control queue.
    queues = {"mq": True, "vectors": 2 * nic.queues + 2} if nic.queues > 1 else {}
    return {**queues, "host_mtu": nic.mtu or (tap.mtu if tap else 0) or None}
