"""Character devices: the serial console, QMP and the guest agent's port."""

from holdfast.machine import Arch, Machine
from holdfast.qemu import slots
from holdfast.qemu.spelling import Chardev, Device, Part, Setting, keyed
from holdfast.qemu.wiring import Wiring

SERIAL = Setting("serial", "chardev:console")


def console(machine: Machine, wiring: Wiring) -> list[Part]:
    if machine.arch is not Arch.x86_64:
        return [console_chardev(wiring), SERIAL]  # the board's own
    return [
        console_chardev(wiring),
        Device("isa-serial", {"id": "serial", "chardev": "console"}),
    ]


def console_chardev(wiring: Wiring, name: str = "console") -> Chardev:
    """A person who pastes the command gets the console on the terminal, and Ctrl-C ends QEMU."""
    if wiring.console is None:
        return Chardev("stdio", {"id": name, "signal": True})
    typed = None if wiring.console_input is None else f"/dev/fdset/{wiring.console_input}"
    path = f"/dev/fdset/{wiring.console}"
    # Without `append` QEMU would truncate it, which a pipe refuses.
    return Chardev("file", {"id": name, "path": path, "input-path": typed, "append": True})


def listening(name: str, number: int) -> Chardev:
    """A unix socket that already listens: clients may come and go, the guest does not wait for one."""
    return Chardev("socket", {"id": name, "fd": number, "server": True, "wait": False})


def qmp(wiring: Wiring) -> list[Part]:
    """A socket that is already connected: no path, and nobody but the launcher can ever speak on it."""
    if wiring.qmp is None:
        return []
    return [
        Chardev("socket", {"id": "qmp", "fd": wiring.qmp}),
        Setting("mon", keyed("", chardev="qmp", mode="control")),
    ]


def agent(machine: Machine, wiring: Wiring) -> list[Part]:
    """The port stays without a socket too, so that a pasted command shows the guest the same devices."""
    if not machine.guest_agent:
        return []
    number, place = wiring.agent, slots.fixed(machine, "serial-ports")
    port = {"id": "agent", "bus": "serial-ports.0", "chardev": "agent"}
    return [
        Chardev("null", {"id": "agent"}) if number is None else listening("agent", number),
        Device("virtio-serial-pci", {"id": "serial-ports", **place}),
        Device("virtserialport", {**port, "name": "org.qemu.guest_agent.0"}),
    ]


def first_serial(wiring: Wiring) -> list[Part]:
    """The port QEMU gives every PC by itself, with our end in place of its own."""
    return [] if wiring.console is None else [console_chardev(wiring), SERIAL]
