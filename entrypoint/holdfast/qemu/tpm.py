"""A TPM 2.0: QEMU's end of swtpm, and the guest's device."""

from holdfast.machine import Arch, Machine, Tpm
from holdfast.qemu.spelling import Chardev, Device, Part, Setting, keyed
from holdfast.qemu.wiring import Wiring


def tpm(machine: Machine, wiring: Wiring) -> list[Part]:
    """A person who pastes the command starts swtpm beside it."""
    if machine.tpm is Tpm.off:
        return []
    path = f"/run/holdfast/{machine.vm}/swtpm" if wiring.tpm is None else None
    driver = "tpm-crb" if machine.arch is Arch.x86_64 else "tpm-tis-device"
    return [
        Chardev("socket", {"id": "tpm", "path": path, "fd": wiring.tpm}),
        Setting("tpmdev", keyed("emulator", id="tpm", chardev="tpm")),
        Device(driver, {"tpmdev": "tpm"}),
    ]
