"""Ports of this host that lead to a guest: are they free, and who has them."""

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import IPv6Address
from pathlib import Path

from holdfast import address
from holdfast.errors import HostLacks, LockHeld
from holdfast.machine import Nic, NicMode, Port, Protocol
from holdfast.network.announced import announce, announced

UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
KIND = "port/"  # announced as port/<vm>/<port>
SHOWN_NAME = 32  # of a VM's name: with the longest port the kernel's 107 bytes are just enough
IP_FREEBIND = 15  # linux/in.h
_KINDS = {Protocol.tcp: socket.SOCK_STREAM, Protocol.udp: socket.SOCK_DGRAM}
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - what no address means


def require_right(nics: Sequence[Nic]) -> None:
    """QEMU itself listens for a card in user mode, and it has no capability."""
    first = int(Path(UNPRIVILEGED).read_text(encoding="ascii"))
    for nic in nics:
        for port in nic.ports:
            if nic.mode is NicMode.user and port.host < first:
                raise HostLacks(
                    f"nics/{nic.name}/ports: {port}: QEMU is not root and may not listen below {first}",
                    hint=f"Publish a port from {first} on; or run `sysctl -w net.ipv4."
                    f"ip_unprivileged_port_start={port.host}` (docker run, without `--network host`: "
                    f"`--sysctl net.ipv4.ip_unprivileged_port_start={port.host}`).",
                )


def claim(vm: str, nics: Sequence[Nic], stack: ExitStack) -> None:
    """All ports of a VM, until `stack` ends; raises LockHeld, with the other's name where it is known.

    Said first and looked for then: of two launchers that start at once, one at least sees the other.
    """
    published = [(nic, port) for nic in nics for port in nic.ports]
    vm = vm[:SHOWN_NAME]
    for _, port in published:
        stack.enter_context(announce(f"{KIND}{vm}/{port}"))
    for nic, port in published:
        _refuse_taken(vm, nic, port)
        for one in _reserved(nic, port):
            stack.enter_context(one)


def _refuse_taken(vm: str, nic: Nic, port: Port) -> None:
    for said in announced(KIND):
        other, _, text = said.partition("/")
        if other != vm and port.collides(address.port(text)):
            raise _taken(nic, port, f"the VM {other} on this host publishes {text}")


def _taken(nic: Nic, port: Port, why: str) -> LockHeld:
    return LockHeld(
        f"nics/{nic.name}/ports: {port}: {why}", hint="Give one of them another port or address."
    )


def _reserved(nic: Nic, port: Port) -> Iterator[socket.socket]:
    """The kernel's word that nobody else listens. On a bridge the sockets keep it so: a service that
    came later would never hear of a connection. In user mode QEMU is about to listen itself.
    """
    for family, where in _places(nic, port):
        try:
            one = socket.socket(family, _KINDS[port.protocol])
        except OSError:
            continue  # a kernel without IPv6
        try:
            _bind(one, nic, where, port)
        except OSError as error:
            one.close()
            _judge(error, nic, port)
        else:
            if nic.mode is NicMode.user:
                one.close()
            else:
                yield one


def _places(nic: Nic, port: Port) -> list[tuple[socket.AddressFamily, str]]:
    if port.address:
        family = socket.AF_INET6 if isinstance(port.address, IPv6Address) else socket.AF_INET
        return [(family, str(port.address))]
    return list(ANY.items())[: 1 if nic.mode is NicMode.user else 2]


def _bind(one: socket.socket, nic: Nic, where: str, port: Port) -> None:
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if nic.mode is not NicMode.user:
        one.setsockopt(
            socket.IPPROTO_IP, IP_FREEBIND, 1
        )  # an address that moves from host to host
        one.bind((where, port.host))
    elif port.protocol is Protocol.tcp:
        # As libslirp does it: connections of an earlier run that are still closing do not count.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((where, port.host))
        one.listen(1)
    else:
        one.bind((where, port.host))


def _judge(error: OSError, nic: Nic, port: Port) -> None:
    if error.errno == errno.EADDRINUSE:
        raise _taken(nic, port, "something on this host listens there already") from error
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "`ip address` lists them; in a container without `--network host` they are its own."
        rule = f"nics/{nic.name}/ports: {port}: this host has no such address"
        raise HostLacks(rule, hint=hint) from error
    # EACCES below 1024: nftables needs no socket there, and QEMU's right was looked at before.
