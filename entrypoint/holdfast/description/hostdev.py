"""The host's devices that a VM is given, from their values."""

from collections.abc import Iterator

from holdfast.description.layers import Sources
from holdfast.grammar import Refused, identifier
from holdfast.machine import PciDevice, UsbDevice

MOST = 8  # of each kind


def usb_devices(sources: Sources) -> tuple[UsbDevice, ...]:
    return tuple(UsbDevice(name=name, id=text) for name, text in _members(sources, "usb"))


def pci_devices(sources: Sources) -> tuple[PciDevice, ...]:
    return tuple(PciDevice(name=name, address=text) for name, text in _members(sources, "pci"))


def _members(sources: Sources, family: str) -> Iterator[tuple[str, str]]:
    given = {name: values[""].content for name, values in sources.family(family).items()}
    if len(given) > MOST:
        sources.refuse(family, f"{len(given)} devices, and there is room for {MOST}")
    names = sorted(given, key=identifier.natural)
    for number, name in enumerate(names):
        _refuse_name(sources, family, name)
        for other in names[:number]:
            if given[other] == given[name]:
                sources.refuse(f"{family}/{name}", f"is what {family}/{other} is", given[name])
        yield name, given[name]


def _refuse_name(sources: Sources, family: str, name: str) -> None:
    try:
        identifier.member(name)
    except Refused as refused:
        sources.faults.append(refused.fault(f"{family}/{name}"))
