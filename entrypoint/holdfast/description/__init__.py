"""A VM's keys, as text, become a Machine. Nothing after this sees raw text."""

from collections.abc import Mapping

from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass, replace
from holdfast.description import display, memory, pinned, platform, processor
from holdfast.description.boot import boot_order
from holdfast.description.disk import disks, refuse_doubles, refuse_two_clusters
from holdfast.description.guest import guest
from holdfast.description.hostdev import pci_devices, usb_devices
from holdfast.description.idle import refuse_idle
from holdfast.description.layers import Layer, Sources, fields, gather
from holdfast.description.nic import nics
from holdfast.description.share import shares
from holdfast.errors import ConfigError
from holdfast.grammar import Refused
from holdfast.keys.guest import GUEST
from holdfast.machine import Bus, Machine, Pinned
from holdfast.machine.board import ROOM, is_i440fx, is_q35, on_bus, on_port

__all__ = ["Description", "describe", "examine"]

# Fixed for ever: it is in the UUID of every VM that has no `uuid` key.
NAMESPACE = "5b6d0e3c-8d0b-4c55-9a35-d4b1a2f0c7e9"
MOST_DEVICES = 20  # a PCI bus has 32 slots; video, USB, serial, seed and such take their share


@dataclass(frozen=True, kw_only=True)
class Description:
    """`unknown` are warnings, a line each, about keys that this version passes over."""

    machine: Machine
    unknown: tuple[str, ...] = ()


def describe(
    settings: Settings, own: Mapping[str, bytes], defaults: Mapping[str, bytes]
) -> Description:
    """Keys are relative: `ram`, `disks/root/path`. All faults are raised together."""
    machine, sources = examine(settings, own, defaults)
    if sources.faults:
        raise ConfigError(sources.faults)
    return Description(machine=machine, unknown=tuple(sources.unknown))


def examine(
    settings: Settings, own: Mapping[str, bytes], defaults: Mapping[str, bytes]
) -> tuple[Machine, Sources]:
    """The machine as far as it can be read, and what was found wrong on the way."""
    sources = gather(settings, own, defaults)
    kept = _pinned(sources, own)
    _refuse_nothing(sources)
    _refuse_boot_without_kernel(sources)
    machine = _machine(sources, kept)
    display.refuse_unclear(sources)
    memory.refuse_contradictions(sources, machine)
    processor.refuse_contradictions(sources, machine)
    _refuse_other_boards_bus(sources, machine)
    machine = replace(machine, variables=platform.variables(sources, machine))
    refuse_idle(sources, machine)
    refuse_doubles(sources, machine.storage)
    refuse_two_clusters(sources, machine.storage)
    _refuse_others(sources, machine)
    _refuse_crowd(sources, machine)
    return machine, sources


def _pinned(sources: Sources, own: Mapping[str, bytes]) -> Pinned | None:
    if pinned.KEY not in own or sources.settings.options:
        return None
    try:
        return pinned.decode(own[pinned.KEY])
    except Refused as refused:
        sources.faults.append(refused.fault(pinned.KEY))
        return None


def _machine(sources: Sources, kept: Pinned | None) -> Machine:
    settings = sources.settings
    arch = platform.arch(sources)
    given = {
        "arch": arch,
        "hostname": settings.vm or "localhost",
        "firmware": platform.firmware(arch),
        **fields(value for key, value in sources.values.items() if is_machines_own(key)),
    }
    if words := given.get("extra_flags"):
        from holdfast.qemu.argv.renamed import in_todays_words  # noqa: PLC0415 - most VMs have none

        try:
            given["extra_flags"] = in_todays_words(words)
        except Refused as refused:
            sources.faults.append(refused.fault("extra_flags"))
    given["machine"] = pinned.board(kept, given.get("machine", ""), platform.board(sources, arch))
    given["cpu_model"] = given.get("cpu_model") or pinned.cpu_model(kept)
    found, cards = disks(sources), nics(sources)
    return Machine(
        vm=settings.vm,
        uuid=given.pop("uuid", None) or derived_uuid(settings.vm),
        disks=found,
        nics=cards,
        boot_order=boot_order(sources, found, cards),
        spice=display.spice(sources),
        vnc=display.vnc(sources),
        guest=guest(sources),
        shares=shares(sources),
        usb=usb_devices(sources),
        pci=pci_devices(sources),
        options=settings.options,
        pinned=kept,
        **given,
    )


def is_machines_own(key: str) -> bool:
    """Neither a part's of it nor the guest's."""
    return "/" not in key and all(key != row.name for row in GUEST)


def derived_uuid(vm: str) -> str:
    from uuid import UUID, uuid5  # noqa: PLC0415 - a VM with a UUID of its own need not pay

    return str(uuid5(UUID(NAMESPACE), vm))


def _refuse_nothing(sources: Sources) -> None:
    """A misspelt VM would otherwise be a VM without disks."""
    own = [value for value in sources.values.values() if value.layer is not Layer.defaults]
    if own or sources.refused or sources.settings.options:
        return
    place = sources.settings.vm_file or sources.settings.vm_prefix
    sources.refuse(place, "no key of a VM is there: is this its name?")


def _refuse_boot_without_kernel(sources: Sources) -> None:
    if "kernel" in sources.values or "kernel" in sources.refused:
        return
    for name in ("initrd", "cmdline"):
        value = sources.values.get(name)
        if value and value.layer is not Layer.defaults:
            sources.refuse(value.label, "needs kernel too")


def _refuse_others(sources: Sources, machine: Machine) -> None:
    """What belongs to other VMs, or is nobody's to write to."""
    limited = sources.settings.host_config.disks is not None
    if limited or any(disk.source and disk.source.volume for disk in machine.disks):
        from holdfast.description import belonging  # noqa: PLC0415 - for hosts with tenants, and clones

        belonging.refuse_others(sources, machine)


def _refuse_other_boards_bus(sources: Sources, machine: Machine) -> None:
    boards = {Bus.sata: is_q35(machine), Bus.ide: is_i440fx(machine)}
    for disk in machine.disks:
        if disk.bus is not None and not boards.get(disk.bus, True):
            other = "ide" if is_i440fx(machine) else "sata" if is_q35(machine) else "scsi"
            rule = f"machine {machine.machine} has none: use {other}"
            sources.refuse(f"disks/{disk.name}/bus", rule, disk.bus.value)


def _refuse_crowd(sources: Sources, machine: Machine) -> None:
    for bus, room in ROOM.items():
        if (count := len(on_bus(machine, bus))) > room:
            rule = f"{count} on the bus {bus}, and machine {machine.machine} has room for {room}"
            sources.refuse("disks", rule)
    devices = len(on_port(machine)) + len(machine.nics) + len(machine.pci)
    if devices > MOST_DEVICES:
        rule = f"{devices} disks, network cards and PCI devices, and there are slots for {MOST_DEVICES}"
        sources.refuse("disks", rule)
