"""Shared folders: virtiofs, served by a virtiofsd for each of them."""

from holdfast.machine import Machine, Share
from holdfast.qemu import slots
from holdfast.qemu.spelling import Chardev, Device, Part
from holdfast.qemu.wiring import Wiring


def shares(machine: Machine, wiring: Wiring) -> list[Part]:
    command: list[Part] = []
    for number, share in enumerate(machine.shares):
        name = f"share-{share.name}"
        place = slots.together(machine, "shares", number)
        told = {"id": name, "chardev": name, "tag": share.name, **place}
        command += [
            Chardev("socket", {"id": name, **server(machine, share, wiring)}),
            Device("vhost-user-fs-pci", told),
        ]
    return command


def server(machine: Machine, share: Share, wiring: Wiring) -> dict[str, str | int]:
    """A person who pastes the command starts virtiofsd on that socket first."""
    number = wiring.shares.get(share.name)
    path = f"/run/holdfast/{machine.vm}/share-{share.name}"
    return {"path": path} if number is None else {"fd": number}
