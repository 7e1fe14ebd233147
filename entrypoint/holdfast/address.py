"""Addresses of network cards: parsers that return them in one spelling."""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)

from holdfast.grammar import Refused

HEX = frozenset("0123456789abcdef")


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
        return ip_address(value)
    except ValueError:
        raise Refused("must be an IPv4 or IPv6 address") from None


def listen_address(value: str) -> str:
    return str(address(value))


def interface_address(value: str) -> IPv4Interface | IPv6Interface:
    try:
        parsed = ip_interface(value)
    except ValueError:
        raise Refused("must be an address with its prefix length, such as 10.77.0.5/24") from None
    if "/" not in value:
        raise Refused("lacks the prefix length, such as /24")
    if parsed.ip.is_multicast or parsed.ip.is_unspecified or parsed.ip.is_loopback:
        raise Refused("is no address for a network card")
    return parsed
