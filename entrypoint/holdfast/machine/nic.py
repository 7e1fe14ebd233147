"""A network card."""

from dataclasses import dataclass
from enum import StrEnum, auto
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface


class NicMode(StrEnum):
    bridge = auto()
    user = auto()
    none = auto()


@dataclass(frozen=True, kw_only=True)
class Nic:
    name: str
    mode: NicMode
    mac: str
    bridge: str = ""
    model: str = "virtio"
    address: tuple[IPv4Interface | IPv6Interface, ...] = ()
    gateway: tuple[IPv4Address | IPv6Address, ...] = ()
    dns: tuple[IPv4Address | IPv6Address, ...] = ()
    search: tuple[str, ...] = ()
