"""A TPM 2.0: QEMU's end of swtpm, and the guest's device."""

from holdfast.machine import Arch, Machine, Tpm
from holdfast.qemu.option import keyed
from holdfast.qemu.wiring import Wiring


def tpm(machine: Machine, wiring: Wiring) -> list[str]:
    """A person who pastes the command starts swtpm beside it."""
    if machine.tpm is Tpm.off:
        return []
    end = (
        {"path": f"/run/holdfast/{machine.vm}/swtpm"} if wiring.tpm is None else {"fd": wiring.tpm}
    )
    # fmt: off
    return [
        "-chardev", keyed("socket", id="tpm", **end),
        "-tpmdev", keyed("emulator", id="tpm", chardev="tpm"),
        "-device", keyed("tpm-crb" if machine.arch is Arch.x86_64 else "tpm-tis-device", tpmdev="tpm"),
    ]
    # fmt: on
