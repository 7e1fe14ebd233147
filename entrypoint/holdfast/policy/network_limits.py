"""[network] of host.toml: what VMs may do to this host's network, and may reach through it."""

from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar

from holdfast import grammar
from holdfast.dataclass import dataclass, field
from holdfast.errors import Fault
from holdfast.grammar import Refused
from holdfast.machine import Port, UrlLimits

T = TypeVar("T")
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SSH = 22
ETCD = (2379, 2380)  # etcd's, for clients and for its members
MOST_PORTS = 1024  # that one VM may publish, whatever host.toml says: each is a rule and a socket
NAMES = (
    "published_addresses",
    "published_ports",
    "ports_per_vm",
    "anti_spoofing",
    "reachable",
    "unreachable",
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Addresses that a guest may, or may not, reach; `port` 0: all of theirs."""

    network: Network
    port: int = 0

    def __str__(self) -> str:
        """As `place` reads it."""
        bare = f"[{self.network}]" if self.network.version == 6 else str(self.network)  # noqa: PLR2004 - IPv6
        return f"{bare}:{self.port}" if self.port else str(self.network)


@dataclass(frozen=True, kw_only=True)
class NetworkLimits:
    """`addresses` need not be on this host: they move between hosts. `ports` None: all but ssh's and etcd's."""

    addresses: tuple[Address, ...] = ()
    ports: tuple[range, ...] | None = None
    ports_per_vm: int = 32
    anti_spoofing: bool = True
    reachable: tuple[Place, ...] = field(default=())
    unreachable: tuple[Place, ...] = field(default=())

    @property
    def reach(self) -> UrlLimits:
        """For URLs that are fetched in another process."""
        return UrlLimits(
            reachable=tuple(map(str, self.reachable)),
            unreachable=tuple(map(str, self.unreachable)),
        )

    def permit_port(self, port: int) -> None:
        if self.ports is None:
            if port in (SSH, *ETCD):
                rule = (
                    "is ssh's or etcd's on many hosts: published_ports of host.toml must list it"
                )
                raise Refused(rule, part=str(port))
        elif not any(port in allowed for allowed in self.ports):
            named = ", ".join(map(spelled, self.ports)) or "none"
            rule = f"is not one of published_ports of host.toml ({named})"
            raise Refused(rule, part=str(port))

    def permit_ports(self, ports: Collection[Port]) -> None:
        """Of one card: all cards of a VM are counted where it is described."""
        for port in ports:
            self.permit_port(port.host)


def spelled(allowed: range) -> str:
    return f"{allowed[0]}-{allowed[-1]}" if len(allowed) > 1 else str(allowed[0])


def network_limits(table: object, faults: list[Fault]) -> NetworkLimits:
    """Faults are added to the list."""
    if not isinstance(table, Mapping):
        faults.append(Fault(key="host.toml network", rule="must be a table: [network]"))
        return NetworkLimits()
    for name in table.keys() - set(NAMES):
        rule = f"is none of {', '.join(NAMES)}"
        faults.append(Fault(key="host.toml [network]", value=str(name), rule=rule))
    reading = _Reading(table, faults)
    ports = reading.items("published_ports", _ports) if "published_ports" in table else None
    return NetworkLimits(
        addresses=reading.items("published_addresses", _address),
        ports=ports,
        ports_per_vm=reading.number("ports_per_vm", NetworkLimits.ports_per_vm),
        anti_spoofing=reading.switch("anti_spoofing", default=True),
        reachable=reading.items("reachable", place),
        unreachable=reading.items("unreachable", place),
    )


class _Reading:
    def __init__(self, table: Mapping[str, Any], faults: list[Fault]) -> None:
        self.table = table
        self.faults = faults

    def fault(self, name: str, rule: str, value: object) -> None:
        self.faults.append(Fault(key=f"host.toml network.{name}", value=str(value), rule=rule))

    def items(self, name: str, parser: Callable[[str], T]) -> tuple[T, ...]:
        given = self.table.get(name, [])
        if not isinstance(given, list):
            self.fault(name, "must be a list", given)
            return ()
        found = []
        for item in given:
            try:
                found.append(parser(item if isinstance(item, str) else str(item)))
            except Refused as refused:
                self.fault(name, refused.rule, item)
        return tuple(found)

    def number(self, name: str, default: int) -> int:
        given = self.table.get(name, default)
        if type(given) is int and 0 <= given <= MOST_PORTS:
            return given
        self.fault(name, f"must be a whole number from 0 to {MOST_PORTS}", given)
        return default

    def switch(self, name: str, *, default: bool) -> bool:
        given = self.table.get(name, default)
        if isinstance(given, bool):
            return given
        self.fault(name, "must be true or false", given)
        return default


def _address(text: str) -> Address:
    try:
        found = ip_address(text)
    except ValueError:
        raise Refused("must be an IPv4 or IPv6 address") from None
    if found.is_unspecified or found.is_multicast or found.is_loopback or "%" in text:
        raise Refused("is no address that moves between hosts")
    return found


def _ports(text: str) -> range:
    """`80`, or `8000-8999`."""
    number = grammar.whole(1, grammar.HIGHEST_PORT)
    first, dash, last = text.partition("-")
    found = range(number(first), number(last if dash else first) + 1)
    if not found:
        raise Refused("ends before it begins")
    return found


def place(text: str) -> Place:
    """`192.0.2.0/24`, `192.0.2.7:5432`, `[fd00::7]:443`, `[fd00::/64]:443`: an address or network, and a port."""
    bare, port = text, ""
    if text.startswith("["):
        bare, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise Refused("must have the IPv6 address in brackets, then :port")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        bare, _, port = text.partition(":")
    try:
        network = ip_network(bare)
    except ValueError:
        raise Refused("must be an address or a network, with or without :port") from None
    return Place(network=network, port=grammar.whole(1, grammar.HIGHEST_PORT)(port) if port else 0)
