"""The firmware: nothing for a BIOS, which QEMU brings along; for a UEFI two flashes, code and variables."""

from holdfast.host import Host
from holdfast.machine import Firmware, Machine
from holdfast.machine.platform import FLASHES
from holdfast.qemu.blockdev import nodes
from holdfast.qemu.option import as_json, keyed
from holdfast.qemu.system import FIRMWARE
from holdfast.qemu.wiring import Wiring


def flash(machine: Machine, host: Host, wiring: Wiring) -> list[str]:
    if machine.variables is None:
        return []
    path = FLASHES[machine.arch, machine.firmware].code
    code = {"driver": "file", "filename": path, "node-name": FIRMWARE, "read-only": True}
    return ["-blockdev", as_json(code), *nodes(machine.variables, host, wiring), *guarded(machine)]


def guarded(machine: Machine) -> list[str]:
    """The guest's system must not write to the flash past its firmware, nor wake it from a sleep
    whose memory it has changed.
    """
    if machine.firmware is not Firmware.uefi_secure:
        return []
    # fmt: off
    return [
        "-global", keyed("", driver="cfi.pflash01", property="secure", value=True),
        "-global", keyed("", driver="ICH9-LPC", property="disable_s3", value=1),
    ]
    # fmt: on
