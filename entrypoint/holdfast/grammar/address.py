"""Addresses of network cards: parsers that return them in one spelling."""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)

from holdfast.grammar import HIGHEST_PORT, Refused, one_of, whole
from holdfast.grammar.identifier import HEX
from holdfast.machine import Port, Protocol

_number = whole(1, HIGHEST_PORT)
_protocol = one_of(*Protocol)


def mac(value: str) -> str:
    """A unicast MAC address, in QEMU's spelling."""
    octets = value.lower().replace("-", ":").split(":")
    if len(octets) != 6 or any(len(octet) != 2 or not HEX.issuperset(octet) for octet in octets):  # noqa: PLR2004 - EUI-48
        raise Refused("must be a MAC address such as 52:54:00:12:34:56")
    if int(octets[0], 16) & 1:
        raise Refused("is a multicast address: the first octet must be even")
    if not any(int(octet, 16) for octet in octets):
        raise Refused("is no address of a card")
    return ":".join(octets)


def address(value: str) -> IPv4Address | IPv6Address:
    try:
        parsed = ip_address(value)
    except ValueError:
        raise Refused("must be an IPv4 or IPv6 address") from None
    _refuse_scope(value)
    return parsed


def listen_address(value: str) -> str:
    parsed = address(value)
    if parsed.is_multicast:
        raise Refused("is no address of a host")
    return str(parsed)


def interface_address(value: str) -> IPv4Interface | IPv6Interface:
    try:
        parsed = ip_interface(value)
    except ValueError:
        raise Refused("must be an address with its prefix length, such as 10.77.0.5/24") from None
    if "/" not in value:
        raise Refused("lacks the prefix length, such as /24")
    _refuse_scope(value)
    if parsed.ip.is_multicast or parsed.ip.is_unspecified or parsed.ip.is_loopback:
        raise Refused("is no address for a network card")
    return parsed


def _refuse_scope(value: str) -> None:
    """Python takes any text behind the %."""
    if "%" in value:
        raise Refused("must not name an interface behind a %")


def port(value: str) -> Port:
    """A published port: `[addr:]host:guest`, then `/tcp` or `/udp`; IPv6 in brackets."""
    ends, slash, protocol = value.partition("/")
    rest, _, guest = ends.rpartition(":")
    where, colon, host = rest.rpartition(":")
    if not host or (colon and not where):
        raise Refused("must be [address:]host:guest, then /tcp or /udp")
    if "-" in host + guest:
        raise Refused("is a range: give each port an item of its own")
    return Port(
        host=_number(host),
        guest=_number(guest),
        protocol=Protocol(_protocol(protocol)) if slash else Protocol.tcp,
        address=_local_address(where) if where else None,
    )


def _local_address(value: str) -> IPv4Address | IPv6Address:
    bare = value.removeprefix("[").removesuffix("]")
    parsed = address(bare)
    if (f"[{bare}]" if isinstance(parsed, IPv6Address) else bare) != value:
        raise Refused("must have an IPv6 address in brackets, and an IPv4 address without")
    if parsed.is_unspecified:
        raise Refused("means all addresses of the host: leave the address out")
    if parsed.is_multicast:
        raise Refused("is no address of a host")
    return parsed
