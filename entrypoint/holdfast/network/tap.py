"""Taps that the bridge helper cannot give: with several queues, or with a VLAN before the first frame."""

import fcntl
import os
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

from holdfast.errors import ConfigError, Fault, HostLacks
from holdfast.machine import Nic
from holdfast.network import bridge, bridge_helper, links
from holdfast.system import device

TUNSETIFF = 0x400454CA
TUNSETOWNER, TUNSETGROUP = 0x400454CC, 0x400454CE
TAP, NO_PI, VNET_HDR, MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
SIOCSIFFLAGS, SIOCSIFMTU, SIOCBRADDIF = 0x8914, 0x8922, 0x89A2
SIOCGIFHWADDR, SIOCSIFHWADDR = 0x8927, 0x8924
ADDRESS = 18  # where in an ifreq the octets of a MAC begin
UP = 0x1
BRIDGES = Path("/sys/class/net")


def check_vlan(nic: Nic) -> None:
    """Raise ConfigError if a bridge does not filter: the guest would be in all its networks."""
    if nic.vlan and not _setting(nic, "vlan_filtering"):
        rule = f"the bridge {nic.bridge} does not filter VLANs"
        hint = f"Run `ip link set {nic.bridge} type bridge vlan_filtering 1`."
        raise ConfigError(
            [Fault(key=f"nics/{nic.name}/vlan", value=str(nic.vlan), rule=rule)], hint=hint
        )


def own_tap(nic: Nic) -> tuple[int, ...]:
    """Make a tap, a descriptor a queue; it goes with their last copy. Raises HostLacks."""
    # The helper's list of bridges holds for these, too: it says so by making a tap that nobody needs.
    with bridge_helper.listed({nic.bridge}):
        os.close(bridge_helper.tap(nic.bridge))
    with ExitStack() as failed:
        queues: list[int] = []
        name = "tap%d"
        for _ in range(nic.queues):
            queues.append(os.open(device.TUN.path, os.O_RDWR | os.O_CLOEXEC))
            failed.callback(os.close, queues[-1])
            name = _attach(queues[-1], name, several=nic.queues > 1)
            if len(queues) == 1:
                _own(queues[0])
        try:
            _plug(name, nic)
        except OSError as error:
            raise HostLacks(f"no tap on {nic.bridge}: {error.strerror}") from error
        failed.pop_all()
    return tuple(queues)


def _attach(descriptor: int, name: str, *, several: bool) -> str:
    flags = TAP | NO_PI | VNET_HDR | (MULTI_QUEUE if several else 0)
    answer = fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return answer[:16].rstrip(b"\0").decode()


def _own(descriptor: int) -> None:
    """Root's, before it has room for a second queue: what nobody owns anybody may join, and be sent a share of
    its frames (tun_not_capable in drivers/net/tun.c). A descriptor that QEMU holds already is not asked.
    """
    for request in (TUNSETOWNER, TUNSETGROUP):
        fcntl.ioctl(descriptor, request, 0)


def _plug(name: str, nic: Nic) -> None:
    """Up comes last: not a frame of another VLAN is in the tap."""
    named = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        mtu = bridge.mtu(nic.bridge)
        fcntl.ioctl(any_socket, SIOCSIFMTU, struct.pack("16si20x", named, mtu))
        # A bridge takes the lowest address of its ports for its own: a tap must not change it.
        request = bytearray(fcntl.ioctl(any_socket, SIOCGIFHWADDR, struct.pack("16s24x", named)))
        request[ADDRESS] = 0xFE
        fcntl.ioctl(any_socket, SIOCSIFHWADDR, bytes(request))
        index = socket.if_nametoindex(name)
        fcntl.ioctl(any_socket, SIOCBRADDIF, struct.pack("16si20x", nic.bridge.encode(), index))
        if nic.vlan:
            default = _setting(nic, "default_pvid")
            links.change("vlan", port=name, number=nic.vlan, default=default)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", named, UP))


def _setting(nic: Nic, name: str) -> int:
    try:
        return int((BRIDGES / nic.bridge / "bridge" / name).read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0  # a kernel that cannot filter
