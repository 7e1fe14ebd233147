"""Two questions to the kernel (rtnetlink(7)): who was heard with which address, and where a way leads.

pyroute2 would ask the same, for 100 ms and 24 MiB of a launcher that lives as long as its VM.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from holdfast.dataclass import dataclass

Address = IPv4Address | IPv6Address

LENGTHS = (4, 16)  # bytes of an address
RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE, RTM_NEWNEIGH, RTM_GETNEIGH = 22, 24, 26, 28, 30
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, DUMP = 0x001, 0x300
IFA_ADDRESS, IFA_LOCAL = 1, 2
NDA_DST, NDA_LLADDR = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_VIA = 1, 4, 5, 18
UNICAST, LOCAL = 1, 2  # rtm_type
HEARD = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # NUD_REACHABLE, STALE, DELAY, PROBE, PERMANENT
HEADER = struct.Struct("=IHHII")  # nlmsghdr
INTERFACE = struct.Struct("=BBBBI")  # ifaddrmsg
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg
ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg
ATTRIBUTE = struct.Struct("=HH")  # rtattr
PATIENCE = 2.0


def neighbours(mac: str, interface: str) -> tuple[Address, ...]:
    """Return the addresses that `mac` was heard with on `interface`."""
    wanted = bytes.fromhex(mac.replace(":", ""))
    return tuple(address for address, heard in heard_on(interface) if heard == wanted)


def heard_on(interface: str) -> tuple[tuple[Address, bytes], ...]:
    """List every neighbour there, with its MAC."""
    index = socket.if_nametoindex(interface)
    found = []
    for message in _asked(RTM_GETNEIGH, REQUEST | DUMP, NEIGHBOUR.pack(0, 0, 0, 0, 0)):
        _, where, state, _, _ = NEIGHBOUR.unpack_from(message)
        given = _attributes(message[NEIGHBOUR.size :])
        if where == index and state & HEARD and NDA_LLADDR in given:
            found.append((ip_address(given[NDA_DST]), given[NDA_LLADDR]))
    return tuple(found)


def own_addresses() -> tuple[Address, ...]:
    """List those of this host that others may reach it by: also fe80::/10 of a bridge, by its
    guests.
    """
    found = set()
    for message in _asked(RTM_GETADDR, REQUEST | DUMP, INTERFACE.pack(0, 0, 0, 0, 0)):
        given = _attributes(message[INTERFACE.size :])
        packed = given.get(IFA_LOCAL) or given.get(IFA_ADDRESS) or b""
        if len(packed) in LENGTHS:  # of IP: there are other families
            found.add(ip_address(packed))
    usable = (one for one in found if not one.is_loopback)
    return tuple(sorted(usable, key=lambda one: (one.version, int(one))))


@dataclass(frozen=True, kw_only=True)
class Route:
    """`kind` is rtm_type; `interface` is "" where there is no way."""

    kind: int = 0
    interface: str = ""
    gateway: bool = False


def route(address: Address) -> Route:
    """Ask how this host reaches an address."""
    four = isinstance(address, IPv4Address)
    family = socket.AF_INET if four else socket.AF_INET6
    packed = address.packed
    ask = ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    ask += ATTRIBUTE.pack(ATTRIBUTE.size + len(packed), RTA_DST) + packed
    for message in _asked(RTM_GETROUTE, REQUEST, ask):
        kind = ROUTE.unpack_from(message)[7]
        given = _attributes(message[ROUTE.size :])
        index = given.get(RTA_OIF)
        name = socket.if_indextoname(struct.unpack("=I", index)[0]) if index else ""
        return Route(
            kind=kind, interface=name, gateway=bool({RTA_GATEWAY, RTA_VIA} & given.keys())
        )
    return Route()


def on_link(address: Address, interface: str) -> bool:
    """Tell whether it is a neighbour there: neither behind a gateway, nor this host itself, nor
    everybody.
    """
    found = route(address)
    return (found.kind, found.interface, found.gateway) == (UNICAST, interface, False)


def is_own(address: Address) -> bool:
    return route(address).kind == LOCAL


def _asked(kind: int, flags: int, body: bytes) -> Iterator[bytes]:
    """The messages of the answer, without their headers. An error is an answer without any."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as rtnetlink:
        rtnetlink.settimeout(PATIENCE)
        rtnetlink.send(HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body)
        while True:
            data = rtnetlink.recv(1 << 16)
            while data:
                size, got, *_ = HEADER.unpack_from(data)
                if got in (NLMSG_DONE, NLMSG_ERROR):
                    return
                yield data[HEADER.size : size]
                data = data[_aligned(size) :]
            if not flags & DUMP:
                return


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= ATTRIBUTE.size:
        size, kind = ATTRIBUTE.unpack_from(data)
        found[kind] = data[ATTRIBUTE.size : size]
        data = data[_aligned(size) :]
    return found


def _aligned(size: int) -> int:
    return (size + 3) & ~3
