"""The network cards of a VM, from their values."""

from collections.abc import Mapping

from holdfast import identifier
from holdfast.description.source import Sources, Value, fields
from holdfast.grammar import Refused
from holdfast.machine import Nic, NicMode

FIRST = "nic0"


def nics(sources: Sources) -> tuple[Nic, ...]:
    """A VM that says nothing of cards has one, unless QEMU's own options say what it has."""
    given = sources.family("nics")
    if not given and not sources.is_faulty("nics/") and not sources.settings.options:
        given = {FIRST: {}}
    found = [nic for name, values in given.items() if (nic := _nic(sources, name, values))]
    _refuse_doubles(sources, found)
    return tuple(sorted(found, key=lambda nic: identifier.natural(nic.name)))


def _nic(sources: Sources, name: str, values: Mapping[str, Value]) -> Nic | None:
    if sources.is_faulty(f"nics/{name}/"):
        return None
    given = fields(values.values())
    bridge = given.pop("bridge", sources.settings.bridge)
    mode = given.pop("mode", NicMode.bridge if bridge else NicMode.user)
    mac = given.pop("mac", None) or derived_mac(sources.settings.vm, name)
    try:
        identifier.member(name)
    except Refused as refused:
        sources.faults.append(refused.fault(f"nics/{name}"))
        return None
    if mode is NicMode.bridge and not bridge:
        sources.refuse(f"nics/{name}/bridge", "is not set, and neither is BRIDGE_IF")
    return Nic(
        name=name, mode=mode, mac=mac, bridge=bridge if mode is NicMode.bridge else "", **given
    )


def derived_mac(vm: str, nic: str) -> str:
    """Stable, unicast and locally administered. Five octets of hash keep thousands of VMs apart;
    the three that QEMU's customary 52:54:00 leaves would not.
    """
    from hashlib import sha256  # noqa: PLC0415 - a VM with MACs of its own need not pay

    return ":".join(
        ["52", *(f"{octet:02x}" for octet in sha256(f"{vm}/{nic}".encode()).digest()[:5])]
    )


def _refuse_doubles(sources: Sources, found: list[Nic]) -> None:
    for number, nic in enumerate(found):
        for other in found[:number]:
            if nic.mac == other.mac:
                rule = f"is the address of nics/{other.name} as well"
                sources.refuse(f"nics/{nic.name}/mac", rule, nic.mac)
