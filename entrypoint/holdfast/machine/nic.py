"""A network card."""

from enum import StrEnum, auto
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from holdfast.dataclass import dataclass

LINK_PREFIX = "hf-"  # of the names of macvtap links that launchers make


class NicMode(StrEnum):
    bridge = auto()
    user = auto()
    macvtap = auto()
    none = auto()


class MacvtapMode(StrEnum):
    bridge = auto()
    private = auto()
    vepa = auto()
    passthrough = auto()


class Protocol(StrEnum):
    tcp = auto()
    udp = auto()


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of the host that leads to one of the guest. Without an address: on all of the host's."""

    host: int
    guest: int
    protocol: Protocol = Protocol.tcp
    address: IPv4Address | IPv6Address | None = None

    def __str__(self) -> str:
        shown = f"[{self.address}]" if isinstance(self.address, IPv6Address) else self.address
        return f"{f'{shown}:' if shown else ''}{self.host}:{self.guest}/{self.protocol}"

    def collides(self, other: "Port") -> bool:
        """Whether one connection could be meant for both."""
        one_address = self.address == other.address or None in (self.address, other.address)
        return (self.host, self.protocol) == (other.host, other.protocol) and one_address


@dataclass(frozen=True, kw_only=True)
class Nic:
    name: str
    mode: NicMode
    mac: str
    bridge: str = ""
    vlan: int = 0  # 0: none
    device: str = ""
    macvtap_mode: MacvtapMode = MacvtapMode.bridge
    model: str = "virtio"
    mtu: int = 0  # 0: the bridge's
    queues: int = 1
    link: bool = True
    ports: tuple[Port, ...] = ()
    address: tuple[IPv4Interface | IPv6Interface, ...] = ()
    gateway: tuple[IPv4Address | IPv6Address, ...] = ()
    dns: tuple[IPv4Address | IPv6Address, ...] = ()
    search: tuple[str, ...] = ()

    @property
    def parent(self) -> str:
        """The interface of the host that it hangs on, if any."""
        return self.bridge or self.device

    @property
    def is_described(self) -> bool:
        """Whether the guest must be told of it. In user mode QEMU's own DHCP hands out `dns` and `search`."""
        by_dhcp = self.mode is NicMode.user
        return bool(self.address or self.gateway or (not by_dhcp and (self.dns or self.search)))

    @property
    def by_helper(self) -> bool:
        """qemu-bridge-helper gives taps of one queue, on the VLAN that the bridge has for all."""
        return self.mode is NicMode.bridge and self.queues == 1 and not self.vlan
