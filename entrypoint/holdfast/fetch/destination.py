"""Where a stranger's URL may not lead from this host, beside what holds for every host (`url.forbidden`).

This host's own addresses are asked of the kernel for each address that a name leads to. Behind a gateway of a
container is the host that it runs on. An open place of host.toml comes before a closed one, as in the firewall.
"""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from holdfast.machine import UrlLimits
from holdfast.policy.network_limits import place
from holdfast.system import rtnetlink

Address = IPv4Address | IPv6Address

# Whatever host they are on: etcd's, for clients and members, and those of Ceph's monitors.
STORES = {2379: "etcd", 2380: "etcd", 3300: "Ceph", 6789: "Ceph"}
IPV4, IPV6 = Path("/proc/net/route"), Path("/proc/net/ipv6_route")


def refusal(address: Address, port: int, reach: UrlLimits) -> str:
    """Name what may not be reached; "" if it may. Raises OSError where the kernel does not say."""
    if is_in(address, port, reach.reachable):
        return ""
    if is_in(address, port, reach.unreachable):
        return "a place that unreachable of host.toml names"
    if port in STORES:
        return f"a port of {STORES[port]}"
    if rtnetlink.is_own(address):
        return "an address of this host"
    return "a gateway of this host" if address in gateways() else ""


def is_in(address: Address, port: int, places: tuple[str, ...]) -> bool:
    return any(
        address in found.network and found.port in (0, port) for found in map(place, places)
    )


def spelled(address: Address, port: int) -> str:
    """Spell it as host.toml has it.

    >>> spelled(ip_address("fd00::7"), 80)
    '[fd00::7]:80'
    """
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"


def gateways() -> frozenset[Address]:
    """Read both families' (proc(5)): an IPv4 address is a hex number in the host's order."""
    return frozenset({*_gateways(IPV4, 2, _four), *_gateways(IPV6, 4, _six)})


def _gateways(table: Path, column: int, parse: Callable[[str], Address]) -> Iterator[Address]:
    with suppress(FileNotFoundError):  # a kernel without this family
        for line in table.read_text(encoding="ascii").splitlines():
            words = line.split()
            if len(words) > column and set(words[column]) - set("0"):
                with suppress(ValueError):  # the heading
                    yield parse(words[column])


def _four(text: str) -> Address:
    return IPv4Address(struct.pack("=I", int(text, 16)))


def _six(text: str) -> Address:
    return ip_address(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(text)))
