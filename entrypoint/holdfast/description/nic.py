"""The network cards of a VM, from their values."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from itertools import combinations

from holdfast.description.layers import Sources, Value, fields
from holdfast.grammar import MOST_ITEMS, Refused, identifier
from holdfast.machine import Nic, NicMode

FIRST = "nic0"
MOST_ADDRESSES = (
    32  # of all cards: each is claimed in one transaction, which etcd holds to 128 operations
)
USER_MTU = 1500  # libslirp's

# Which modes a property has a meaning in; the others have it everywhere.
BELONGS = {
    "ports": (NicMode.user, NicMode.bridge),
    "vlan": (NicMode.bridge,),
    "device": (NicMode.macvtap,),
    "macvtap_mode": (NicMode.macvtap,),
    "queues": (NicMode.bridge, NicMode.macvtap),
}
VIRTIO = ("mtu", "queues")


def nics(sources: Sources) -> tuple[Nic, ...]:
    """A VM that says nothing of cards has one, unless QEMU's own options say what it has."""
    given = sources.family("nics")
    if not given and not sources.is_faulty("nics/") and not sources.settings.options:
        given = {FIRST: {}}
    found = [nic for name, values in given.items() if (nic := _nic(sources, name, values))]
    if not _are_too_many(sources, found):
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
    if mode is NicMode.macvtap and "device" not in given:
        sources.refuse(f"nics/{name}/device", "is not set, and mode macvtap needs it")
    nic = Nic(
        name=name, mode=mode, mac=mac, bridge=bridge if mode is NicMode.bridge else "", **given
    )
    _refuse_strangers(sources, nic, values)
    _refuse_of_user_mode(sources, nic)
    return nic


def derived_mac(vm: str, nic: str) -> str:
    """Stable, unicast and locally administered. Five octets of hash keep thousands of VMs apart;
    the three that QEMU's customary 52:54:00 leaves would not.
    """
    from hashlib import sha256  # noqa: PLC0415 - a VM with MACs of its own need not pay

    return ":".join(
        ["52", *(f"{octet:02x}" for octet in sha256(f"{vm}/{nic}".encode()).digest()[:5])]
    )


def _refuse_strangers(sources: Sources, nic: Nic, values: Mapping[str, Value]) -> None:
    """What would be without effect was meant otherwise."""
    for name, modes in BELONGS.items():
        if name in values and nic.mode not in modes:
            rule = f"needs mode {' or '.join(modes)}, and this card's is {nic.mode}"
            sources.refuse(values[name].label, rule)
    for name in VIRTIO:
        if name in values and nic.model != "virtio":
            sources.refuse(
                values[name].label, f"needs model virtio, and this card's is {nic.model}"
            )


def _refuse_of_user_mode(sources: Sources, nic: Nic) -> None:
    """QEMU's own network speaks IPv4 to the host, and has frames of one size."""
    if nic.mode is not NicMode.user:
        return
    if nic.mtu > USER_MTU:
        rule = f"must be at most {USER_MTU} in mode user"
        sources.refuse(f"nics/{nic.name}/mtu", rule, str(nic.mtu))
    for port in nic.ports:
        if isinstance(port.address, IPv6Address):
            rule = "mode user publishes on IPv4 addresses only"
            sources.refuse(f"nics/{nic.name}/ports", rule, str(port))


def _are_too_many(sources: Sources, found: list[Nic]) -> bool:
    """Judged before the ports are compared with each other."""
    count, most = (
        sum(len(nic.ports) for nic in found),
        sources.settings.host_config.network.ports_per_vm,
    )
    if count > most:
        rule = f"{count} ports are published, and ports_per_vm of host.toml's [network] is {most}"
        sources.refuse("nics/*/ports", rule)
    return count > most


def _refuse_doubles(sources: Sources, found: list[Nic]) -> None:
    for other, nic in combinations(found, 2):
        if nic.mac == other.mac:
            rule = f"is the address of nics/{other.name} as well"
            sources.refuse(f"nics/{nic.name}/mac", rule, nic.mac)
    _refuse_one_address_twice(sources, found)
    published = [(nic, port) for nic in found for port in nic.ports]
    if len(published) > MOST_ITEMS:
        sources.refuse("nics", f"{len(published)} published ports, and a VM may have {MOST_ITEMS}")
        return
    for (other, taken), (nic, port) in combinations(published, 2):
        if port.collides(taken):
            rule = f"collides with {taken} of nics/{other.name}"
            sources.refuse(f"nics/{nic.name}/ports", rule, str(port))


def _refuse_one_address_twice(sources: Sources, found: list[Nic]) -> None:
    seen: dict[IPv4Address | IPv6Address, str] = {}
    for nic in found:
        for one in nic.address:
            if one.ip in seen:
                rule = f"is the address of nics/{seen[one.ip]} already"
                sources.refuse(f"nics/{nic.name}/address", rule, str(one))
            seen[one.ip] = nic.name
    if (count := sum(len(nic.address) for nic in found)) > MOST_ADDRESSES:
        sources.refuse("nics", f"{count} addresses, and a VM may have {MOST_ADDRESSES}")
