"""What keeps a guest on a bridge to its own addresses: rules for its taps, as text from values only.

They stand in the bridge family, before the bridge learns anything. The same table notes what a DHCP
server has leased to the card: the kernel does that, as the server's word passes by.
"""

from collections.abc import Iterable, Sequence

from holdfast.dataclass import dataclass
from holdfast.machine import Nic
from holdfast.network.ruleset import Address, owned

# Of a DHCP message behind its UDP header (RFC 2131): yiaddr, chaddr, and the first option, which servers make
# the kind of the message: 53, one byte long, 5 for an ACK.
LEASED, ASKED_FOR, IS_ACK = "@th,192,32", "@th,288,48", "@th,1984,24 0x350105"
REMEMBERED = "365d"  # a lease that was renewed since counts as younger
MOST_LEASES = 16


@dataclass(frozen=True, kw_only=True)
class Plugged:
    """A card on a bridge, and its tap."""

    nic: Nic
    tap: str


def table(label: str) -> str:
    return f"bridge holdfast-{label}"


def lease_set(nic: str) -> str:
    return f"lease-{nic}"


def guarded(vm: str, cards: Sequence[Plugged], denied: Iterable[str], *, guard: bool) -> str:
    """Write the table. `denied` hold for each card (see `boundary`); `guard` False: no others."""
    denied = tuple(denied)
    lines = []
    for card in cards:
        lines += [
            f"  set {lease_set(card.nic.name)} {{",
            f"    typeof {LEASED}",
            f"    size {MOST_LEASES}",
            "    flags dynamic,timeout",
            f"    timeout {REMEMBERED}",
            "  }",
            f"  chain of-{card.nic.name} {{",
            *(f"    {rule}" for rule in (*(own(card.nic) if guard else ()), *denied)),
            "  }",
        ]
    jumps = [f'iifname "{card.tap}" jump of-{card.nic.name}' for card in cards]
    lines += _chain("prerouting", "-300", jumps)
    lines += _chain("postrouting", "0", [rule for card in cards for rule in leases(card)])
    return owned(table(vm), lines)


def bounded(label: str, taps: Iterable[str], denied: Iterable[str]) -> str:
    """Bound taps of which only the names are known: QEMU's own words say what card is behind."""
    rules = [f"    {rule}" for rule in denied]
    jumps = [f'iifname "{tap}" jump of-guest' for tap in taps]
    lines = ["  chain of-guest {", *rules, "  }", *_chain("prerouting", "-300", jumps)]
    return owned(table(label), lines)


def own(nic: Nic) -> list[str]:
    """Let a guest speak as itself only, and serve no addresses or routes to others.

    `meta protocol` sees through a VLAN's tag; a second tag hides from it, and is nobody's here.
    """
    arp, icmp6 = "meta protocol arp", "meta protocol ip6 meta l4proto ipv6-icmp"
    chaddr = f"0x{nic.mac.replace(':', '')}"
    four = [one.ip for one in nic.address if one.version == 4]  # noqa: PLR2004 - IPv4
    six = [one.ip for one in nic.address if one.version == 6]  # noqa: PLR2004 - IPv6
    rules = [
        f"ether saddr != {nic.mac} drop",
        "meta protocol { 8021q, 8021ad } drop",
        f"{arp} arp saddr ether != {nic.mac} drop",
        "udp sport { 67, 547 } drop",
        f"udp dport 67 {ASKED_FOR} != {chaddr} drop",
        f"{icmp6} icmpv6 type {{ nd-router-advert, nd-redirect }} drop",
    ]
    if four:
        rules.append(f"{arp} arp saddr ip != {{ 0.0.0.0, {_listed(four)} }} drop")
    if six:
        rules.append(
            f"{icmp6} icmpv6 type nd-neighbor-advert icmpv6 taddr != {{ fe80::/10, {_listed(six)} }} drop"
        )
    return rules


def leases(card: Plugged) -> list[str]:
    """Note what the server says to the card; what it leases to another is not the card's."""
    chaddr, noted = f"0x{card.nic.mac.replace(':', '')}", lease_set(card.nic.name)
    ack = f"udp sport 67 udp dport 68 {IS_ACK}"
    return [
        f'oifname "{card.tap}" {ack} {ASKED_FOR} {chaddr} {LEASED} != 0 update @{noted} {{ {LEASED} }}',
        f"{ack} {ASKED_FOR} != {chaddr} delete @{noted} {{ {LEASED} }}",
    ]


def _listed(addresses: Iterable[Address]) -> str:
    return ", ".join(sorted({str(address) for address in addresses}))


def _chain(hook: str, priority: str, rules: Iterable[str]) -> list[str]:
    begin = [f"  chain {hook} {{", f"    type filter hook {hook} priority {priority}"]
    return [*begin, *(f"    {rule}" for rule in rules), "  }"]
