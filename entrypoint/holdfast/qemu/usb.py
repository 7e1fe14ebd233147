"""The USB controller, and what is always on it."""

from holdfast.machine import Arch, Bus, Machine
from holdfast.machine.board import is_i440fx, on_bus
from holdfast.qemu import slots
from holdfast.qemu.spelling import Device, Part

PORTS = 15  # of each speed, as many as it can have


def usb(machine: Machine) -> list[Part]:
    """The origin's machine had no tablet and keeps its PS/2 mouse."""
    screen = has_screen(machine) and not is_i440fx(machine)
    if not (screen or machine.usb or on_bus(machine, Bus.usb)):
        return []
    place = slots.fixed(machine, "usb")
    controller = Device("qemu-xhci", {"id": "usb", "p2": PORTS, "p3": PORTS, **place})
    return [controller, *(pointer(machine) if screen else [])]


def has_screen(machine: Machine) -> bool:
    return machine.spice is not None or machine.vnc is not None


def pointer(machine: Machine) -> list[Part]:
    """A tablet follows the client's pointer. Only a PC has a keyboard of its own, on PS/2."""
    tablet = Device("usb-tablet", {"id": "tablet", "bus": "usb.0"})
    if machine.arch is Arch.x86_64:
        return [tablet]
    return [tablet, Device("usb-kbd", {"id": "keyboard", "bus": "usb.0"})]
