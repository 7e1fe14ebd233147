"""The ports of a VM's cards on bridges, led to where its guest is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.errors import HostLacks
from holdfast.machine import Nic, NicMode
from holdfast.network.ruleset import Address, Way, ruleset
from holdfast.system import rtnetlink

if TYPE_CHECKING:
    from holdfast.network.nftables import Nftables

SYSCTL = Path("/proc/sys/net")


class Publication:
    """Opens nothing for a VM without such ports."""

    def __init__(self, vm: str, nics: Sequence[Nic]) -> None:
        self._vm = vm or "qemu"
        self._nics = [nic for nic in nics if nic.ports and nic.mode is NicMode.bridge]
        self._nftables: Nftables | None = None
        self._led: tuple[Way, ...] | None = None
        self._unled: set[str] = set()

    def lead(self, found: Mapping[str, Sequence[Address]]) -> None:
        """Lead the ports there. Raises HostLacks where this host cannot."""
        if not self._nics:
            return
        if self._nftables is None:
            from holdfast.network.nftables import Nftables  # noqa: PLC0415 - few VMs publish ports

            self._nftables = Nftables()
            for line in obstacles(self._nics, self._nftables):
                log.warning(line)
        ways = tuple(way for nic in self._nics for way in ways_to(nic, found.get(nic.name, ())))
        if ways != self._led:
            self._nftables.run(ruleset(self._vm, ways))
            self._led = ways
            for way in ways:
                log.info(f"port {way.port} of this host leads to {way.guest}")

    def leased(self, nic: Nic) -> tuple[Address, ...]:
        """Tell what a DHCP server last gave the card: no guest and no neighbour says it."""
        if self._nftables is None or nic not in self._nics:
            return ()
        from holdfast.network import spoofing  # noqa: PLC0415 - there, where it keeps a set of leases

        table, noted = spoofing.table(self._vm), spoofing.lease_set(nic.name)
        try:
            found = self._nftables.elements(table, noted)
        except HostLacks:
            self._say_unled(nic)
            return ()
        youngest = sorted(found, key=lambda lease: lease[1], reverse=True)[:1]
        return tuple(IPv4Address(number) for number, _ in youngest)

    def _say_unled(self, nic: Nic) -> None:
        if nic.name not in self._unled:
            log.warning(
                f"nics/{nic.name}/ports lead nowhere: this kernel does not note DHCP leases, and the key address is not set"
            )
        self._unled.add(nic.name)

    def close(self) -> None:
        """Let go: the kernel removes what we own."""
        if self._nftables is not None:
            self._nftables.close()
            self._nftables = None


def ways_to(nic: Nic, addresses: Sequence[Address]) -> Iterator[Way]:
    """Yield ways to the first address of each family that lies on the card's own bridge: neither a
    guest nor a key may lead a port of this host to anybody else.
    """
    local = has_localnet(nic.bridge)
    for version in (4, 6):
        of_one = [address for address in addresses if address.version == version]
        for guest in [one for one in of_one if leads(one, nic)][:1]:
            for port in nic.ports:
                yield Way(port=port, bridge=nic.bridge, guest=guest, localnet=local)


def leads(address: Address, nic: Nic) -> bool:
    """Tell whether it is a neighbour on the card's bridge, and nobody else was heard with it."""
    with suppress(OSError):
        own = bytes.fromhex(nic.mac.replace(":", ""))
        others = (there for there, mac in rtnetlink.heard_on(nic.bridge) if mac != own)
        return rtnetlink.on_link(address, nic.bridge) and address not in others
    return False


def has_localnet(bridge: str) -> bool:
    return any(_is_on(f"ipv4/conf/{name}/route_localnet") for name in (bridge, "all"))


def require_own(nics: Sequence[Nic], listed: Collection[Address]) -> None:
    """Raise HostLacks for another host's address: what this host sends there would be lost."""
    for nic in nics:
        for port in nic.ports:
            at = port.address
            if (
                nic.mode is not NicMode.bridge
                or at is None
                or at in listed
                or rtnetlink.is_own(at)
            ):
                continue
            raise HostLacks(
                f"nics/{nic.name}/ports: {port}: this host has no address {at}",
                hint="`ip address` lists them; in a container without `--network host` they are its own. "
                "One that moves between hosts must stand in published_addresses of host.toml's [network].",
            )


def require_ways(nics: Sequence[Nic]) -> None:
    """Raise HostLacks for loopback: it needs what is off by default, and IPv6 does not have."""
    for nic in nics:
        for port in nic.ports:
            if nic.mode is not NicMode.bridge or not port.address or not port.address.is_loopback:
                continue
            if port.address.version == 4 and has_localnet(nic.bridge):  # noqa: PLR2004 - IPv4
                continue
            raise HostLacks(
                f"nics/{nic.name}/ports: {port}: the kernel does not lead {port.address} to a bridge",
                hint="Publish on an address of the host, or on all. For 127.0.0.1: "
                f"`sysctl -w net.ipv4.conf.{nic.bridge}.route_localnet=1`; guests on that bridge "
                "then reach what listens on the host's 127.0.0.1 unless a firewall keeps them off.",
            )


def obstacles(nics: Sequence[Nic], nftables: "Nftables") -> Iterator[str]:
    """Yield what keeps others than this host itself from a published port."""
    if not _is_on("ipv4/ip_forward"):
        yield "net.ipv4.ip_forward is 0: only this host itself reaches its published ports"
    try:
        forward = nftables.run("list chain ip filter FORWARD")
        rules = nftables.run("list table ip filter")
    except HostLacks:
        return  # no such chain
    for bridge in sorted({nic.bridge for nic in nics}):
        if "policy drop" in forward and f'"{bridge}"' not in rules:
            yield (
                f"this host's firewall (docker's?) forwards nothing to {bridge}: only the host itself reaches "
                f"published ports. `iptables -I DOCKER-USER -o {bridge} -m conntrack --ctstatus DNAT -j ACCEPT; "
                f"iptables -I DOCKER-USER -i {bridge} -m conntrack --ctstate ESTABLISHED -j ACCEPT` lets them through"
            )


def _is_on(name: str) -> bool:
    with suppress(OSError):
        return (SYSCTL / name).read_text(encoding="ascii").strip() not in ("0", "")
    return False
