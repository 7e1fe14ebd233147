"""A VM's nftables table: what its ports on bridges become. Pure text, from values only.

The table is owned (`flags owner`): nobody else can change it, `nft flush ruleset` passes it over,
and the kernel deletes it when the process that made it ends, however that ends.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from holdfast.dataclass import dataclass
from holdfast.machine import Port

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, kw_only=True)
class Way:
    """From a port of this host to a guest's address. `localnet`: 127.0.0.0/8 can be led there, too."""

    port: Port
    bridge: str
    guest: Address
    localnet: bool = False


def ruleset(vm: str, ways: Iterable[Way]) -> str:
    ways = tuple(ways)
    led = [rule for way in ways for rule in dnat(way)]
    chains = [
        *chain("prerouting", "dstnat", led),  # from elsewhere
        *chain("output", "-100", led),  # from this host itself
        *chain("postrouting", "srcnat", masquerades(ways)),
    ]
    return owned(f"inet holdfast-{vm}", chains if ways else ())


def owned(name: str, lines: Sequence[str]) -> str:
    """Make a table this in one transaction, whatever it was before; without lines, none."""
    gone = [f"table {name} {{ flags owner; }}", f"delete table {name}"]
    made = [f"table {name} {{", "  flags owner", *lines, "}"] if lines else []
    return "\n".join([*gone, *made, ""])


def chain(hook: str, priority: str, rules: Iterable[str]) -> list[str]:
    begin = [f"  chain {hook} {{", f"    type nat hook {hook} priority {priority}"]
    return [*begin, *(f"    {rule}" for rule in rules), "  }"]


def dnat(way: Way) -> list[str]:
    """Write the rule; none where the host's address and the guest's are of different families.

    What is not for this host is never led: else a key could name etcd's address, and be etcd.
    """
    port, four = way.port, isinstance(way.guest, IPv4Address)
    family, loopback = ("ip", "127.0.0.0/8") if four else ("ip6", "::1")
    local = "fib daddr type local"
    if port.address:
        if isinstance(port.address, IPv4Address) is not four:
            return []
        local += f" {family} daddr {port.address}"
    elif not (four and way.localnet):
        local += f" {family} daddr != {loopback}"  # led astray it would hang, so it is refused
    guest = way.guest if four else f"[{way.guest}]"
    return [f"{local} {port.protocol} dport {port.host} dnat {family} to {guest}:{port.guest}"]


def masquerades(ways: Iterable[Way]) -> list[str]:
    """Hide the asker: a neighbour would answer it directly; 127.0.0.1 is any guest to itself."""
    own = {f'iifname "{way.bridge}" oifname "{way.bridge}"' for way in ways}
    local = {f'ip saddr 127.0.0.0/8 oifname "{way.bridge}"' for way in ways if way.localnet}
    return [f"ct status dnat {packets} masquerade" for packets in sorted(own | local)]
