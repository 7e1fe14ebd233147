"""QEMU's command line, built from values: pure, deterministic, golden-tested.

Devices are written as `key=value`: QEMU makes devices in JSON form only after all others, so that
an `-device` in `extra_flags` would take the slot of a network card. What is no device is JSON
where QEMU reads it.
"""

from collections.abc import Sequence

from holdfast.host import Host
from holdfast.machine import Machine
from holdfast.qemu import (
    blockdev,
    console,
    display,
    firmware,
    hostdev,
    netdev,
    share,
    slots,
    spelling,
    system,
    tpm,
    usb,
)
from holdfast.qemu.spelling import Part, Setting
from holdfast.qemu.wiring import Wiring

BARE = Wiring()


def command_line(machine: Machine, host: Host, wiring: Wiring = BARE) -> list[str]:
    """Spell the whole command, `argv[0]` included."""
    return [
        host.emulator(machine.arch),
        *spelling.words(parts(machine, host, wiring)),
        *machine.extra_flags,
    ]


def parts(machine: Machine, host: Host, wiring: Wiring) -> list[Part]:
    """All that Holdfast says to QEMU. On `pc` the order of devices is that of their PCI slots."""
    return [
        *system.system(machine, host, wiring),
        *fdsets(wiring),
        *console.qmp(wiring),
        *slots.ports(machine, seed=wiring.seed is not None),
        *display.display(machine, wiring),
        *netdev.nics(machine, wiring),
        *usb.usb(machine),
        *blockdev.disks(machine, host, wiring),
        *firmware.flash(machine, host, wiring),
        *console.console(machine, wiring),
        *console.agent(machine, wiring),
        *system.helpers(machine),
        *tpm.tpm(machine, wiring),
        *share.shares(machine, wiring),
        *hostdev.usb(machine, wiring),
        *hostdev.pci(machine, wiring),
        *blockdev.seed(
            wiring.seed, slots.plugged(machine, "seed", 0)
        ),  # last: with or without it, no other device moves
    ]


def fdsets(wiring: Wiring) -> list[Part]:
    """Files the launcher opened; QEMU opens them again by the name /dev/fdset/N."""
    named = (wiring.disks, wiring.parents, wiring.usb)
    single = (wiring.seed, wiring.console, wiring.console_input)
    files = [*(end for ends in named for end in ends.values()), *single]
    numbers = sorted({number for number in files if number is not None})
    return [Setting("add-fd", f"fd={number},set={number}") for number in numbers]


def printable(argv: Sequence[str]) -> str:
    """The command for a shell: an option with its value a line, each but the last continued."""
    import shlex  # noqa: PLC0415 - only for who asks to see it

    lines: list[list[str]] = [[]]
    for word in argv:
        if word.startswith("-"):
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n  ".join(" ".join(line) for line in lines)
