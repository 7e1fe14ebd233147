"""The firmware: nothing for a BIOS, which QEMU brings along; for a UEFI two flashes, code and variables."""

from holdfast.host import Host
from holdfast.machine import Firmware, Machine
from holdfast.machine.platform import FLASHES
from holdfast.qemu.blockdev import nodes
from holdfast.qemu.spelling import Blockdev, Part, Setting, keyed
from holdfast.qemu.system import FIRMWARE
from holdfast.qemu.wiring import Wiring


def flash(machine: Machine, host: Host, wiring: Wiring) -> list[Part]:
    if machine.variables is None:
        return []
    path = FLASHES[machine.arch, machine.firmware].code
    code = Blockdev("file", {"filename": path, "node-name": FIRMWARE, "read-only": True})
    return [code, *nodes(machine.variables, host, wiring), *guarded(machine)]


def guarded(machine: Machine) -> list[Part]:
    """The guest's system must not write to the flash past its firmware, nor wake it from a sleep
    whose memory it has changed.
    """
    if machine.firmware is not Firmware.uefi_secure:
        return []
    return [
        Setting("global", keyed("", driver="cfi.pflash01", property="secure", value=True)),
        Setting("global", keyed("", driver="ICH9-LPC", property="disable_s3", value=1)),
    ]
