"""Architecture, board and firmware: each has a default that follows from the one before."""

from holdfast.description.disk import volume
from holdfast.description.layers import Layer, Sources
from holdfast.grammar import Refused
from holdfast.machine import (
    Arch,
    Backend,
    Disk,
    Firmware,
    Format,
    LocalPath,
    Machine,
    RbdImage,
    RbdVolume,
    Volume,
)
from holdfast.machine.platform import FLASHES, VARIABLES, Flash

BOARDS = {Arch.x86_64: "q35", Arch.aarch64: "virt"}
X86_BOARDS = ("pc", "q35")


def arch(sources: Sources) -> Arch:
    """The allow-list holds for the host's own emulator too, asked for or not."""
    if given := sources.values.get("arch"):
        return Arch(given.content)
    own = sources.settings.arch
    try:
        if not sources.settings.options:
            sources.settings.host_config.permit_emulator(own)
    except Refused as refused:
        sources.refuse("arch", f"is not given, and this host's own {refused.rule}", own)
    return Arch(own) if own in Arch.__members__ else Arch.x86_64


def board(sources: Sources, arch: Arch) -> str:
    """A VM of the origin keeps the board it had: a guest's hardware does not change unasked."""
    own = [value for value in sources.values.values() if value.layer is not Layer.defaults]
    hardware = any(value.is_hardware for value in own)
    return BOARDS[arch] if hardware or arch is not Arch.x86_64 else "pc"


def firmware(arch: Arch) -> Firmware:
    return Firmware.uefi if arch is Arch.aarch64 else Firmware.bios


def variables(sources: Sources, machine: Machine) -> Disk | None:
    """Where the variables of this VM's UEFI are: beside its primary disk, so that they follow it."""
    _refuse_contradictions(sources, machine)
    flash = FLASHES.get((machine.arch, machine.firmware))
    if flash is None or sources.settings.options:
        return None
    try:
        return _volume(flash, _backend(sources, machine))
    except Refused as refused:
        sources.refuse("firmware", refused.rule, machine.firmware.value)
        return None


def _volume(flash: Flash, backend: Backend) -> Disk:
    # Without a cache: a flash has no way to flush one.
    return Disk(name=VARIABLES, backend=backend, size=flash.size, template=flash.template)


def _backend(sources: Sources, machine: Machine) -> Backend:
    vm = sources.settings.vm
    primary = next((disk.backend for disk in machine.disks if disk.primary), None)
    match primary:
        case RbdImage(pool=pool, namespace=namespace, access=access):
            image = f"{vm}-{VARIABLES}"
            label = primary.label if isinstance(primary, RbdVolume) else ""
            return RbdVolume(
                pool=pool, namespace=namespace, image=image, access=access, label=label
            )
        case Volume(pool=pool, directory=directory):
            return Volume(pool=pool, directory=directory, name=f"{vm}-{VARIABLES}.raw")
        case LocalPath() | None:
            return _in_default_pool(sources)


def _in_default_pool(sources: Sources) -> Backend:
    """A file of the user's has no pool, and nothing is put beside it unasked."""
    config = sources.settings.host_config
    if not config.default_pool:
        raise Refused(
            "keeps its variables in the primary disk's pool, and this VM's is in none: "
            "set default_pool in host.toml"
        )
    return volume(sources, VARIABLES, config.default_pool, Format.raw)


def _refuse_contradictions(sources: Sources, machine: Machine) -> None:
    is_x86 = machine.arch is Arch.x86_64
    if is_x86 is not machine.machine.partition("-")[0].startswith(X86_BOARDS) and not (
        is_x86 and machine.machine == "microvm"
    ):
        sources.refuse("machine", f"is no board of {machine.arch}", machine.machine)
    if not is_x86 and (machine.arch, machine.firmware) not in FLASHES:
        sources.refuse(
            "firmware", f"is not there for {machine.arch}: use uefi", str(machine.firmware)
        )
    if not is_x86 and machine.hyperv:
        sources.refuse("hyperv", f"is not there for {machine.arch}")
    secure = machine.firmware is Firmware.uefi_secure
    if secure and is_x86 and "q35" not in machine.machine:
        sources.refuse("firmware", "needs machine q35: no other protects its keys", "uefi-secure")
    if secure and machine.kernel:
        sources.refuse("kernel", "is not signed for firmware uefi-secure; boot from a disk")
