"""What a guest finds before its own system runs: the architecture, its firmware, a TPM."""

from collections.abc import Mapping
from enum import StrEnum, auto

from holdfast.dataclass import dataclass

VARIABLES = "vars"  # the volume `<vm>-vars`; no disk of the keys may have the name


class Arch(StrEnum):
    """As in the names of QEMU's emulators."""

    x86_64 = auto()
    aarch64 = auto()


class Firmware(StrEnum):
    bios = "bios"
    uefi = "uefi"
    uefi_secure = "uefi-secure"


class Tpm(StrEnum):
    off = "off"
    v2 = "2.0"


@dataclass(frozen=True, kw_only=True)
class Flash:
    """A UEFI as Debian packages it: the code, and the variables that a new VM begins with.

    `size` is that of the variables. Flash cannot grow, and code that expects another size does not
    start: so it is fixed for the life of a VM.
    """

    code: str
    template: str
    size: int
    package: str


_OVMF, _AAVMF = "/usr/share/OVMF", "/usr/share/AAVMF"
FLASHES: Mapping[tuple[Arch, Firmware], Flash] = {
    (Arch.x86_64, Firmware.uefi): Flash(
        code=f"{_OVMF}/OVMF_CODE_4M.fd",
        template=f"{_OVMF}/OVMF_VARS_4M.fd",
        size=528 * 1024,
        package="ovmf",
    ),
    # The template holds the keys that Microsoft signs with: shim and Windows start.
    (Arch.x86_64, Firmware.uefi_secure): Flash(
        code=f"{_OVMF}/OVMF_CODE_4M.secboot.fd",
        template=f"{_OVMF}/OVMF_VARS_4M.ms.fd",
        size=528 * 1024,
        package="ovmf",
    ),
    (Arch.aarch64, Firmware.uefi): Flash(
        code=f"{_AAVMF}/AAVMF_CODE.no-secboot.fd",
        template=f"{_AAVMF}/AAVMF_VARS.fd",
        size=64 * 1024**2,
        package="qemu-efi-aarch64",
    ),
}
