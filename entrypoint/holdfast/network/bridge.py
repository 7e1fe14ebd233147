"""Bridges of this host: is it there, is it a bridge, is it up."""

import array
import fcntl
import socket
import struct
from collections.abc import Collection

from holdfast.dataclass import dataclass
from holdfast.errors import ConfigError, Fault, HoldfastError, HostLacks

IFNAMSIZ = 16
IFF_UP = 0x1
IFF_LOOPBACK = 0x8
SIOCGIFFLAGS = 0x8913
SIOCGIFMTU = 0x8921
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 3


@dataclass(frozen=True, kw_only=True)
class Link:
    """A network interface, as far as a tap cares. `kind` is rtnetlink's, `bridge` for one."""

    kind: str
    up: bool


def check(name: str, *, permitted: Collection[str] | None = None, key: str = "bridge") -> None:
    """Raise HostLacks or ConfigError unless `name` is a bridge that is up and that host.toml
    permits (None: any bridge).
    """
    if permitted is not None and name not in permitted:
        rule = "must be one of the bridges that host.toml permits"
        hint = f"host.toml permits: {', '.join(sorted(permitted)) or 'none'}."
        raise ConfigError([Fault(key=key, value=name, rule=rule)], hint=hint)
    # Nearly always all is well, and two ioctls say so in 20 us. pyroute2 costs 100 ms and 24 MiB
    # to import, which a launcher should not carry for the life of its VM: it finds out what is wrong.
    if not is_bridge_up(name):
        error = judge(name, look_up(name), key)
        if error is not None:
            raise error


def judge(name: str, link: Link | None, key: str) -> HoldfastError | None:
    """Tell what keeps a tap from being put on `link`."""
    if link is None:
        return HostLacks(
            f"{key}: there is no interface {name} on this host",
            hint=f"Run `ip link add {name} type bridge && ip link set {name} up`; a container sees "
            "the host's bridges only with `--network host`.",
        )
    if link.kind != "bridge":
        rule = f"must be a bridge, and this interface is of kind {link.kind}"
        return ConfigError([Fault(key=key, value=name, rule=rule)])
    if not link.up:
        return HostLacks(f"{key}: the bridge {name} is down", hint=f"Run `ip link set {name} up`.")
    return None


def look_up(name: str) -> Link | None:
    """Ask rtnetlink for an interface. None: there is none of that name."""
    from pyroute2 import IPRoute, NetlinkError  # noqa: PLC0415 - see check()

    with IPRoute() as rtnetlink:
        try:
            (link,) = rtnetlink.link("get", ifname=name)
        except NetlinkError:
            return None
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    plain = "loopback" if link["flags"] & IFF_LOOPBACK else "physical"
    return Link(kind=kind or plain, up=bool(link["flags"] & IFF_UP))


def is_bridge_up(name: str) -> bool:
    """Get the same answer the short way: the flags, and the driver's name as ethtool prints it."""
    raw = name.encode()
    if len(raw) >= IFNAMSIZ:
        return False
    info = array.array("B", struct.pack("I", ETHTOOL_GDRVINFO) + bytes(192))
    address, _ = info.buffer_info()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        try:
            flags = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16s24x", raw))
            fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack("16sP16x", raw, address))
        except OSError:
            return False
    driver = info.tobytes()[4:36].rstrip(b"\0")
    return driver == b"bridge" and bool(struct.unpack_from("H", flags, 16)[0] & IFF_UP)


def mtu(name: str) -> int:
    """Read the largest frame that an interface takes, in bytes. Raises HostLacks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFMTU, struct.pack("16s24x", name.encode()))
        except OSError as error:
            raise HostLacks(f"the MTU of {name} cannot be read: {error.strerror}") from error
    return int(struct.unpack_from("i", answer, 16)[0])
