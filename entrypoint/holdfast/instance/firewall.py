"""The rules around one QEMU: held before it starts, gone with the launcher that made them."""

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.config.endpoint import Endpoint
from holdfast.dataclass import replace
from holdfast.errors import HoldfastError, HostLacks
from holdfast.grammar import HIGHEST_PORT
from holdfast.instance.plan import Plan
from holdfast.machine import NicMode, RbdImage
from holdfast.machine.ceph import MONITOR_PORTS, Monitor
from holdfast.network.boundary import Boundary, label, of_guest, of_qemu
from holdfast.network.nftables import Nftables
from holdfast.network.ruleset import Address
from holdfast.policy.network_limits import NetworkLimits
from holdfast.qemu.wiring import Tap
from holdfast.system import capability
from holdfast.system.capability import Capability

if TYPE_CHECKING:
    from holdfast.storage.ceph.keyring import Keyring

RESOLV_CONF = Path("/etc/resolv.conf")
TUNGETIFF = 0x800454D2
PATIENCE = 2.0  # for the name of an endpoint, which has been connected to before
NO_RIGHT = (
    "without CAP_NET_ADMIN nothing keeps QEMU, and a guest in user mode, from what this container reaches: "
    "etcd, loopback, the cloud's metadata. Add `--cap-add NET_ADMIN` to docker run"
)


class Firewall:
    """What cannot be held is said once, not at every start of QEMU."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._said: set[str] = set()
        self._fetch = ExitStack()
        self._fetching = False

    def around(self, uid: int, mute: Sequence[int], taps: dict[str, Tap], life: ExitStack) -> None:
        def rules(nftables: Nftables) -> None:
            self._rules(nftables, self._boundary(), uid, mute, taps)

        self._held(rules, life, "what QEMU and its guest may reach")
        self.close()

    def around_fetch(self, uid: int) -> None:
        """Hold the process that fetches images, which has QEMU's uid. The rules stay until QEMU's
        stand: what has broken out of it may outlive its work.
        """

        def rules(nftables: Nftables) -> None:
            called = label(self._plan.machine.vm, uid)
            nftables.run(of_qemu(called, uid, (), self._of_fetch(), "fetch"))

        if not self._fetching:
            self._fetching = True
            self._held(rules, self._fetch, "what the process that fetches images may reach")

    def close(self) -> None:
        self._fetch.close()
        self._fetching = False

    def _held(self, rules: Callable[[Nftables], None], life: ExitStack, what: str) -> None:
        """Until the end of `life`."""
        if Capability.NET_ADMIN not in capability.effective():
            self._say(NO_RIGHT)
            return
        try:
            with closing(Nftables()) as nftables:
                for one in nftables.kept():
                    life.callback(os.close, one)
                rules(nftables)
        except (OSError, ValueError, HoldfastError) as error:
            self._say(f"{what} is not limited here: {error}")

    def _rules(
        self,
        nftables: Nftables,
        boundary: Boundary,
        uid: int,
        mute: Sequence[int],
        taps: dict[str, Tap],
    ) -> None:
        called = label(self._plan.machine.vm, uid)
        self._hold(nftables, of_qemu(called, uid, mute, boundary), "what QEMU may reach")
        if self._plan.bridges:
            self._hold(
                nftables, self._of_taps(called, taps, boundary), "what a guest may say on a bridge"
            )

    def _hold(self, nftables: Nftables, rules: str, what: str) -> None:
        try:
            nftables.run(rules)
        except HostLacks as error:
            self._say(f"{what} is not limited here: {error.message}")

    def _say(self, line: str) -> None:
        if line not in self._said:
            log.warning(line)
        self._said.add(line)

    def _of_taps(self, called: str, taps: dict[str, Tap], boundary: Boundary) -> str:
        from holdfast.network import spoofing  # noqa: PLC0415 - for cards on bridges
        from holdfast.system import rtnetlink  # noqa: PLC0415 - for cards on bridges

        names = {card: device_name(taps[card].queues[0]) for card in self._plan.bridges}
        rules = of_guest(boundary, rtnetlink.own_addresses())
        if self._plan.adapted is not None:
            return spoofing.bounded(called, names.values(), rules)
        cards = [
            spoofing.Plugged(nic=nic, tap=names[nic.name])
            for nic in self._plan.machine.nics
            if nic.mode is NicMode.bridge
        ]
        return spoofing.guarded(called, cards, rules, guard=self._plan.network.anti_spoofing)

    def _boundary(self) -> Boundary:
        plan = self._plan
        limits: NetworkLimits = plan.network
        ceph = any(isinstance(disk.backend, RbdImage) for disk in plan.disks)
        if ceph and any(nic.mode is NicMode.user for nic in plan.machine.nics):
            self._say(
                "a guest in user mode beside disks in Ceph reaches Ceph's monitors, as QEMU must"
            )
        monitors = (*plan.monitors, *in_conf(Path(plan.ceph_conf)))
        return Boundary(
            etcd=tuple(address for one in plan.endpoints for address in self._addresses(one)),
            etcd_ports=tuple(one.port for one in plan.endpoints),
            monitors=tuple(literal(monitors)),
            monitor_ports=tuple(one.port for one in monitors),
            reachable=limits.reachable,
            unreachable=limits.unreachable,
            resolvers=tuple(resolvers()),
            ceph=ceph,
            loopback=plan.ceph is not None and is_on_loopback(plan.ceph),
            answers=plan.adapted is not None or any(nic.ports for nic in plan.machine.nics),
        )

    def _of_fetch(self) -> Boundary:
        """It opens no disk. A server that the operator has named himself may be anywhere, as his proxies may."""
        boundary = replace(self._boundary(), ceph=False, loopback=False, answers=False)
        if any(disk.source is not None and disk.source.trusted for disk in self._plan.disks):
            return replace(boundary, loopback=True, unreachable=())
        return boundary

    def _addresses(self, endpoint: Endpoint) -> list[Address]:
        with suppress(ValueError):
            return [ip_address(endpoint.host)]
        from holdfast.etcd.connection import Resolver  # noqa: PLC0415 - it is there, but for gRPC

        try:
            found = Resolver(endpoint).addresses(PATIENCE)
        except (OSError, HoldfastError) as error:
            self._say(f"nothing keeps QEMU from etcd at {endpoint}: {error}")
            return []
        return list({ip_address(place[0]): None for _, place in found})


def in_conf(path: Path) -> Iterator[Monitor]:
    """Yield what ceph.conf names by address, in any of its spellings:
    `[v2:192.0.2.9:3300/0,v1:...]`, `[fd00::9]:6789`.
    """
    for line in monitor_lines(path):
        for six, four, port in re.findall(
            r"(?:\[([\da-fA-F:]+)\]|((?:\d+\.){3}\d+))(?::(\d+))?", line
        ):
            yield Monitor(
                host=six or four, port=min(int(port[:6] or MONITOR_PORTS[0]), HIGHEST_PORT)
            )


def monitor_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return re.findall(r"^\s*mon[ _-](?:host|addr)\s*=(.*)", text, re.MULTILINE)


def literal(monitors: Iterable[Monitor]) -> Iterator[Address]:
    """Yield addresses. A name stands for none here: its port is closed on this host's own."""
    for monitor in monitors:
        with suppress(ValueError):
            yield ip_address(monitor.host)


def is_on_loopback(ceph: "Keyring") -> bool:
    """Tell whether a cluster is this host's own, for trying it. What names no such place opens
    nothing.
    """
    conf = Path(ceph.conf) if ceph.conf else None
    addresses = literal([*ceph.monitors, *(in_conf(conf) if conf else ())])
    names = [one.host for one in ceph.monitors]
    for line in monitor_lines(conf) if conf else ():
        names += re.split(r"[\s,;:\[\]]+", line)
    return "localhost" in names or any(one.is_loopback for one in addresses)


def resolvers() -> Iterator[Address]:
    """Yield whom QEMU asks for names on its guest's behalf; docker's own is on loopback, as
    systemd's is.
    """
    with suppress(OSError):
        for line in RESOLV_CONF.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                with suppress(ValueError):
                    yield ip_address(words[1].partition("%")[0])


def device_name(tap: int) -> str:
    return fcntl.ioctl(tap, TUNGETIFF, bytes(40))[:16].rstrip(b"\0").decode()
