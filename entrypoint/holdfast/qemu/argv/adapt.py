"""Argv mode: a user's complete QEMU options, under our supervision.

`adapt` reads them once and finds what the launcher must serve; `serve` gives the command. What it
does not know goes through as it came.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from holdfast.dataclass import dataclass, field
from holdfast.machine import Accelerator, Disk
from holdfast.qemu import blockdev, console, fdsets, spelling, system
from holdfast.qemu.argv.bridge import Bridge, bridge
from holdfast.qemu.argv.device import device
from holdfast.qemu.argv.drive import drive, is_drive
from holdfast.qemu.argv.images import Images, RbdUse
from holdfast.qemu.argv.node import node
from holdfast.qemu.argv.refused import refuse
from holdfast.qemu.argv.renamed import renamed
from holdfast.qemu.argv.stdio import stdio
from holdfast.qemu.option import Option, scan
from holdfast.qemu.spelling import Setting
from holdfast.qemu.wiring import Wiring


class Part(Protocol):
    """A piece of the command that knows its words once the wiring is known."""

    def words(self, wiring: Wiring) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class Plain:
    option: Option

    def words(self, wiring: Wiring) -> list[str]:
        return self.option.words()


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """QEMU reads these files before it knows of descriptors, so the launcher makes a copy."""

    option: Option

    def words(self, wiring: Wiring) -> list[str]:
        copy = wiring.kernel if self.option.name == "kernel" else wiring.initrd
        return [f"-{self.option.name}", copy or self.option.value or ""]


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """What the launcher has to do for these options, and the options themselves.

    `files` are opened and handed over as `Wiring.disks`, by their names. `bridges` become
    `Wiring.taps`. A CD-ROM that is not there may be left out: `Wiring.missing`.
    """

    parts: tuple[Part, ...]
    bridges: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Disk, ...] = ()
    rbd: tuple[RbdUse, ...] = ()
    kernel: str = ""
    initrd: str = ""
    warnings: tuple[str, ...] = ()
    wants_kvm: bool = False
    names_accelerator: bool = False
    has_serial: bool = False  # or wants none
    has_display: bool = False


def adapt(words: Sequence[str]) -> Adapted:
    """Raises UsageError for what cannot be supervised."""
    given = scan(words)
    for option in given:
        refuse(option)
    options, warnings = renamed(given)
    images = Images()
    parts = [part(option, options, images) for option in options]
    named = accelerators(options)
    return Adapted(
        parts=tuple(parts),
        bridges={each.name: each.bridge for each in parts if isinstance(each, Bridge)},
        files=tuple(images.files),
        rbd=tuple(images.rbd),
        kernel=last(options, "kernel"),
        initrd=last(options, "initrd"),
        warnings=tuple(warnings),
        wants_kvm=set(named) == {"kvm"},
        names_accelerator=bool(named),
        has_serial=any(option.name in ("serial", "nodefaults") for option in options),
        has_display=any(option.name in ("display", "spice", "vnc") for option in options),
    )


def part(option: Option, options: Sequence[Option], images: Images) -> Part:
    if is_drive(option):
        return drive(option, images, snapshot=Option("snapshot") in options)
    if option.name == "blockdev":
        return node(option, images)
    if option.name in ("kernel", "initrd"):
        return Kernel(option=option)
    if (found := bridge(option, options.index(option))) is not None:
        return found
    return stdio(option) or Plain(option=device(option, options))


def last(options: Sequence[Option], name: str) -> str:
    return next((one.value or "" for one in reversed(options) if one.name == name), "")


def accelerators(options: Sequence[Option]) -> list[str]:
    """All that may be tried, in order; `accel=kvm:tcg` is two."""
    named: list[str] = []
    for option in options:
        if option.name == "enable-kvm":
            named.append("kvm")
        if option.name == "accel":
            named += [value for key, value in option.pairs("accel") if key == "accel"]
        if option.name in ("machine", "M"):
            given = [value for key, value in option.pairs("type") if key == "accel"]
            named += [name for value in given for name in value.split(":")]
    return named


def serve(adapted: Adapted, wiring: Wiring, accelerator: Accelerator | None = None) -> list[str]:
    """The options with all that was found served. `accelerator` is for options that name none.

    Our devices are JSON here, unlike in a command of our own: QEMU makes those last, so that each
    device of the user stays in its slot.
    """
    chosen = None if adapted.names_accelerator else accelerator
    return [
        *spelling.words(before(adapted, wiring, chosen)),
        *(word for each in adapted.parts for word in each.words(wiring)),
        *spelling.words(after(adapted, wiring), late=True),
    ]


def before(
    adapted: Adapted, wiring: Wiring, accelerator: Accelerator | None
) -> list[spelling.Part]:
    """What is ours before the user's options, some of which name it."""
    return [
        *([Setting("accel", system.accel(accelerator))] if accelerator else []),
        *system.launched(wiring),
        *fdsets(wiring),
        *console.qmp(wiring),
        *([blockdev.secret(wiring.ceph)] if adapted.rbd and wiring.ceph.key_file else []),
    ]


def after(adapted: Adapted, wiring: Wiring) -> list[spelling.Part]:
    """What is ours where the user has said nothing."""
    return [
        # The default one would let whoever sees the display `cont` a VM that is not ours yet.
        Setting("monitor", "none"),
        # And QEMU would open VNC to everybody on this host.
        *([] if adapted.has_display else [Setting("display", "none")]),
        *(console.first_serial(wiring) if not adapted.has_serial else []),
        *blockdev.seed(wiring.seed),
    ]
