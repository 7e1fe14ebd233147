"""What QEMU and the guests on bridges may not reach: rules, as text from values only.

QEMU is known by its uid, wherever its packets go; a guest on a bridge by its tap (see `spoofing`).
"""

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address

from holdfast.dataclass import dataclass
from holdfast.machine.ceph import MONITOR_PORTS
from holdfast.network.ruleset import Address, owned
from holdfast.policy.network_limits import ETCD, Place

# Where clouds answer a machine with its credentials: most of them, AWS's containers, Alibaba, Azure; AWS, Google.
METADATA = (
    "ip daddr { 169.254.169.254, 169.254.170.2, 100.100.100.200, 168.63.129.16 }",
    "ip6 daddr { fd00:ec2::254, fd20:ce::254 }",
)
LOOPBACK = ("ip daddr 127.0.0.0/8", "ip6 daddr ::1")


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """`etcd` are its addresses, `etcd_ports` beside the usual ones; `monitors` are Ceph's, likewise. `ceph`: QEMU
    opens images in Ceph itself; `loopback`: through this host's loopback. `resolvers` may be asked for names. `answers`: QEMU
    answers by UDP, as it does where it publishes such a port.
    """

    etcd: tuple[Address, ...] = ()
    etcd_ports: tuple[int, ...] = ()
    monitors: tuple[Address, ...] = ()
    monitor_ports: tuple[int, ...] = ()
    reachable: tuple[Place, ...] = ()
    unreachable: tuple[Place, ...] = ()
    resolvers: tuple[Address, ...] = ()
    ceph: bool = False
    loopback: bool = False
    answers: bool = False


def label(vm: str, uid: int) -> str:
    """Name a VM's tables. Two without a name share a host, but no uid; no name has a dot."""
    return vm or f"uid.{uid}"


def of_qemu(
    label: str, uid: int, mute: Collection[int], boundary: Boundary, who: str = "qemu"
) -> str:
    """Write what QEMU may not reach. `who`: what has this uid meanwhile. `mute`: the uids of
    helpers that have no business on a network.

    Before anybody translates an address (priority -100): what is meant counts. Only what opens a
    connection is judged: a listener of QEMU's answers with SYN and ACK, from wherever it is asked.
    """
    lines = [
        "  chain output {",
        "    type filter hook output priority -150",
        f"    meta skuid {uid} jump qemu",
        *(f"    meta skuid {one} reject" for one in mute),
        "  }",
        "  chain qemu {",
        *(f"    {rule}" for rule in _qemu(boundary)),
        "  }",
    ]
    return owned(f"inet holdfast-{label}.{who}", lines)


def _qemu(boundary: Boundary) -> Iterator[str]:
    yield "tcp flags & (syn | ack) != syn accept"
    if boundary.answers:
        yield "ct state established,related accept"
    for address in boundary.resolvers:
        yield f"{to(address)} meta l4proto {{ tcp, udp }} th dport 53 accept"
    yield from (f"{one} accept" for one in places(boundary.reachable))
    yield from (f"{one} reject" for one in denied(boundary))
    yield f"{tcp(ETCD)} reject"  # of members, too, that no endpoint names
    yield f"fib daddr type local {etcd_ports(boundary)} reject"
    if not boundary.loopback:
        yield from (f"{one} reject" for one in LOOPBACK)
    if not boundary.ceph:
        yield f"{tcp(MONITOR_PORTS)} reject"
        yield from (f"{one} reject" for one in monitors(boundary))
        yield f"fib daddr type local {monitor_ports(boundary)} reject"


def of_guest(boundary: Boundary, own: Iterable[Address]) -> list[str]:
    """Write the last rules of a tap's chain. `own` are this host's addresses: what is elsewhere
    may be published there. Loopback is among them where the bridge has route_localnet.
    """
    stores = tcp((*ETCD, *boundary.etcd_ports, *MONITOR_PORTS, *boundary.monitor_ports))
    own_stores = [f"{those} {stores}" for those in among(own)]
    closed = (*denied(boundary), *monitors(boundary), *LOOPBACK, *own_stores)
    return [
        *(f"{one} return" for one in places(boundary.reachable)),
        *(f"{one} drop" for one in closed),
    ]


def denied(boundary: Boundary) -> Iterator[str]:
    yield from places(boundary.unreachable)
    yield from (f"{those} {etcd_ports(boundary)}" for those in among(boundary.etcd))
    yield from METADATA


def monitors(boundary: Boundary) -> Iterator[str]:
    yield from (f"{those} {monitor_ports(boundary)}" for those in among(boundary.monitors))


def places(given: Iterable[Place]) -> Iterator[str]:
    for place in given:
        family = "ip" if place.network.version == 4 else "ip6"  # noqa: PLR2004 - IPv4
        port = f" meta l4proto {{ tcp, udp }} th dport {place.port}" if place.port else ""
        yield f"{family} daddr {place.network}{port}"


def to(address: Address) -> str:
    return f"{'ip' if isinstance(address, IPv4Address) else 'ip6'} daddr {address}"


def among(addresses: Iterable[Address]) -> Iterator[str]:
    """Yield one match for each family, however many there are."""
    named = {str(one): isinstance(one, IPv4Address) for one in addresses}
    for family, four in (("ip", True), ("ip6", False)):
        if those := [name for name, is_four in named.items() if is_four is four]:
            yield f"{family} daddr {{ {', '.join(those)} }}"


def etcd_ports(boundary: Boundary) -> str:
    return tcp((*ETCD, *boundary.etcd_ports))


def monitor_ports(boundary: Boundary) -> str:
    return tcp((*MONITOR_PORTS, *boundary.monitor_ports))


def tcp(ports: Iterable[int]) -> str:
    return f"tcp dport {{ {', '.join(map(str, sorted(set(ports))))} }}"
