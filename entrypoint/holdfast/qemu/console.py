"""Character devices: the serial console, QMP and the guest agent's port."""

from holdfast.machine import Arch, Machine
from holdfast.qemu import slots
from holdfast.qemu.option import keyed
from holdfast.qemu.wiring import Wiring


def console(machine: Machine, wiring: Wiring) -> list[str]:
    chardev = ["-chardev", console_chardev(wiring)]
    if machine.arch is not Arch.x86_64:
        return [*chardev, "-serial", "chardev:console"]  # the board's own
    return [*chardev, "-device", keyed("isa-serial", id="serial", chardev="console")]


def console_chardev(wiring: Wiring, name: str = "console") -> str:
    """A person who pastes the command gets the console on the terminal, and Ctrl-C ends QEMU."""
    if wiring.console is None:
        return keyed("stdio", id=name, signal=True)
    typed = None if wiring.console_input is None else f"/dev/fdset/{wiring.console_input}"
    path = f"/dev/fdset/{wiring.console}"
    # Without `append` QEMU would truncate it, which a pipe refuses.
    return keyed("file", id=name, path=path, input_path=typed, append=True)


def listening(name: str, number: int) -> str:
    """A unix socket that already listens: clients may come and go, the guest does not wait for one."""
    return keyed("socket", id=name, fd=number, server=True, wait=False)


def qmp(wiring: Wiring) -> list[str]:
    """A socket that is already connected: no path, and nobody but the launcher can ever speak on it."""
    if wiring.qmp is None:
        return []
    return [
        "-chardev",
        keyed("socket", id="qmp", fd=wiring.qmp),
        "-mon",
        keyed("", chardev="qmp", mode="control"),
    ]


def agent(machine: Machine, wiring: Wiring) -> list[str]:
    """The port stays without a socket too, so that a pasted command shows the guest the same devices."""
    if not machine.guest_agent:
        return []
    port = keyed(
        "virtserialport",
        id="agent",
        bus="serial-ports.0",
        chardev="agent",
        name="org.qemu.guest_agent.0",
    )
    # fmt: off
    return [
        "-chardev", keyed("null", id="agent") if wiring.agent is None else listening("agent", wiring.agent),
        "-device", keyed("virtio-serial-pci", id="serial-ports", **slots.fixed(machine, "serial-ports")),
        "-device", port,
    ]
    # fmt: on


def first_serial(wiring: Wiring) -> list[str]:
    """The port QEMU gives every PC by itself, with our end in place of its own."""
    if wiring.console is None:
        return []
    return ["-chardev", console_chardev(wiring), "-serial", "chardev:console"]
