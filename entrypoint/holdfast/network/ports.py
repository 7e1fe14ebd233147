"""Ports of this host that lead to a guest or to its screen: are they free, and who has them."""

import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.errors import HostLacks, LockHeld
from holdfast.grammar import Refused, address
from holdfast.machine import Machine, Nic, NicMode, Port, Protocol
from holdfast.runtime.registry import announce, announced

UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
KIND = "port/"  # announced as port/<vm>/<port>
SHOWN_NAME = 32  # of a VM's name: with the longest port the kernel's 107 bytes are just enough
IP_FREEBIND = 15  # linux/in.h
_KINDS = {Protocol.tcp: socket.SOCK_STREAM, Protocol.udp: socket.SOCK_DGRAM}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - what no address means


def require_right(nics: Sequence[Nic]) -> None:
    """Raise HostLacks for a low port in user mode: QEMU itself listens, without a capability."""
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


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who listens on a port of this host, or is to be thought to: `label` says by which key."""

    label: str
    port: Port
    families: tuple[socket.AddressFamily, ...]
    is_qemus: bool


def listeners(machine: Machine) -> Iterator[Listener]:
    yield from of_cards(machine.nics)
    for name, server in (("spice_port", machine.spice), ("vnc_port", machine.vnc)):
        if server is not None:
            at = ip_address(server.addr)
            port = Port(
                host=server.port, guest=server.port, address=None if at.is_unspecified else at
            )
            yield Listener(
                label=f"{name}: {server.port}",
                port=port,
                families=(_FAMILIES[at.version],),
                is_qemus=True,
            )


def of_cards(nics: Sequence[Nic]) -> Iterator[Listener]:
    for nic in nics:
        for port in nic.ports:
            is_qemus = nic.mode is NicMode.user
            any_family = ANY if not is_qemus else (socket.AF_INET,)
            families = (_FAMILIES[port.address.version],) if port.address else tuple(any_family)
            label = f"nics/{nic.name}/ports: {port}"
            yield Listener(label=label, port=port, families=families, is_qemus=is_qemus)


def claim(vm: str, wanted: Iterable[Listener], stack: ExitStack) -> None:
    """Claim all ports of a VM until `stack` ends. Raises LockHeld, with the other's name if it is
    known; HostLacks for an address that is not there.

    Said first and looked for then: of two launchers that start at once, one at least sees the other.
    """
    wanted = tuple(wanted)
    vm = vm[:SHOWN_NAME]
    for listener in wanted:
        stack.enter_context(announce(f"{KIND}{vm}/{listener.port}"))
    for listener in wanted:
        _refuse_taken(vm, listener)
        for one in _reserved(listener):
            stack.enter_context(one)


def _refuse_taken(vm: str, listener: Listener) -> None:
    for said in announced(KIND):
        other, _, text = said.partition("/")
        with suppress(Refused):  # no word of a launcher
            if other != vm and listener.port.collides(address.port(text)):
                raise _taken(listener, f"the VM {other} on this host publishes {text}")


def _taken(listener: Listener, why: str) -> LockHeld:
    return LockHeld(f"{listener.label}: {why}", hint="Give one of them another port or address.")


def _reserved(listener: Listener) -> Iterator[socket.socket]:
    """The kernel's word that nobody else listens. On a bridge the sockets keep it so: a service that
    came later would never hear of a connection. Where QEMU is about to listen itself they give way.
    """
    for family in listener.families:
        try:
            one = socket.socket(family, _KINDS[listener.port.protocol])
        except OSError:
            continue  # a kernel without IPv6
        try:
            _bind(one, listener)
        except OSError as error:
            one.close()
            _judge(error, listener)
        else:
            if listener.is_qemus:
                one.close()
            else:
                yield one


def _bind(one: socket.socket, listener: Listener) -> None:
    port = listener.port
    place = (str(port.address or ANY[one.family]), port.host)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if not listener.is_qemus:
        one.setsockopt(
            socket.IPPROTO_IP, IP_FREEBIND, 1
        )  # an address that moves from host to host
        one.bind(place)
    elif port.protocol is Protocol.tcp:
        # As QEMU does it: connections of an earlier run that are still closing do not count.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(place)
        one.listen(1)
    else:
        one.bind(place)


def _judge(error: OSError, listener: Listener) -> None:
    if error.errno == errno.EADDRINUSE:
        raise _taken(listener, "something on this host listens there already") from error
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "`ip address` lists them; in a container without `--network host` they are its own."
        rule = f"{listener.label}: this host has no such address"
        raise HostLacks(rule, hint=hint) from error
    # EACCES below 1024: nftables needs no socket there, and QEMU's right was looked at before.
