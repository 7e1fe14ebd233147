"""Shared folders: virtiofs, served by a virtiofsd for each of them."""

from holdfast.machine import Machine, Share
from holdfast.qemu import slots
from holdfast.qemu.option import keyed
from holdfast.qemu.wiring import Wiring


def shares(machine: Machine, wiring: Wiring) -> list[str]:
    command = []
    for number, share in enumerate(machine.shares):
        name = f"share-{share.name}"
        place = slots.together(machine, "shares", number)
        # fmt: off
        command += [
            "-chardev", keyed("socket", id=name, **server(machine, share, wiring)),
            "-device", keyed("vhost-user-fs-pci", id=name, chardev=name, tag=share.name, **place),
        ]
        # fmt: on
    return command


def server(machine: Machine, share: Share, wiring: Wiring) -> dict[str, str | int]:
    """A person who pastes the command starts virtiofsd on that socket first."""
    number = wiring.shares.get(share.name)
    path = f"/run/holdfast/{machine.vm}/share-{share.name}"
    return {"path": path} if number is None else {"fd": number}
