"""The guest's screen: SPICE with a qxl adapter, as the origin had it, or none."""

from holdfast.machine import Arch, Machine, Spice
from holdfast.qemu import slots
from holdfast.qemu.board import is_i440fx
from holdfast.qemu.option import as_json, keyed
from holdfast.qemu.system import ORIGIN_VIDEO
from holdfast.qemu.wiring import Wiring

PASSWORD = "spice-password"  # noqa: S105 - the id of the object, not what it holds


def display(machine: Machine, wiring: Wiring) -> list[str]:
    if machine.spice is None:
        return ["-display", "none"]
    # fmt: off
    return [
        "-display", "none",
        *spice(machine.spice, wiring),
        "-device", keyed(adapter(machine), id="video", **video_place(machine)),
        *pointer(machine),
    ]
    # fmt: on


def adapter(machine: Machine) -> str:
    """A board without legacy VGA takes none that needs it."""
    return "qxl-vga" if machine.arch is Arch.x86_64 else "virtio-gpu-pci"


def video_place(machine: Machine) -> slots.Place:
    return {"addr": ORIGIN_VIDEO} if is_i440fx(machine) else slots.fixed(machine, "video")


def spice(server: Spice, wiring: Wiring) -> list[str]:
    """With neither ticketing disabled nor a secret, SPICE lets nobody in: so it is when pasted."""
    path = wiring.spice_password_file
    free = server.password is None
    secret = as_json({"qom-type": "secret", "id": PASSWORD, "file": path})
    listen = keyed(
        "",
        addr=server.addr,
        port=server.port,
        disable_ticketing=True if free else None,
        password_secret=PASSWORD if path and not free else None,
    )
    return [*(["-object", secret] if path and not free else []), "-spice", listen]


def pointer(machine: Machine) -> list[str]:
    """A tablet follows the client's pointer. The origin's machine had none and keeps its PS/2 mouse."""
    if is_i440fx(machine):
        return []
    return [
        "-device",
        keyed("qemu-xhci", id="usb", **slots.fixed(machine, "usb")),
        "-device",
        keyed("usb-tablet", id="tablet", bus="usb.0"),
        *keyboard(machine),
    ]


def keyboard(machine: Machine) -> list[str]:
    """Only a PC has one of its own, on PS/2."""
    if machine.arch is Arch.x86_64:
        return []
    return ["-device", keyed("usb-kbd", id="keyboard", bus="usb.0")]
