"""The rules around one QEMU: held before it starts, gone with the launcher that made them."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import capability, log
from holdfast.capability import Capability
from holdfast.endpoint import Endpoint
from holdfast.errors import HoldfastError, HostLacks
from holdfast.instance.plan import Plan
from holdfast.machine import NicMode, RbdImage
from holdfast.network.boundary import Boundary, of_guest, of_qemu
from holdfast.network.nftables import Nftables
from holdfast.network.ruleset import Address
from holdfast.network_limits import NetworkLimits
from holdfast.qemu.wiring import Tap

if TYPE_CHECKING:
    from holdfast.storage.keyring import Keyring

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

    def around(self, uid: int, mute: Sequence[int], taps: dict[str, Tap], life: ExitStack) -> None:
        if Capability.NET_ADMIN not in capability.effective():
            self._say(NO_RIGHT)
            return
        try:
            self._around(uid, mute, taps, life)
        except (OSError, ValueError, HoldfastError) as error:
            self._say(f"what QEMU and its guest may reach is not limited here: {error}")

    def _around(
        self, uid: int, mute: Sequence[int], taps: dict[str, Tap], life: ExitStack
    ) -> None:
        boundary = self._boundary()
        with closing(Nftables()) as nftables:
            for one in nftables.kept():
                life.callback(os.close, one)
            self._rules(nftables, boundary, uid, mute, taps)

    def _rules(
        self,
        nftables: Nftables,
        boundary: Boundary,
        uid: int,
        mute: Sequence[int],
        taps: dict[str, Tap],
    ) -> None:
        vm = self._plan.machine.vm or "qemu"
        self._hold(nftables, of_qemu(vm, uid, mute, boundary), "what QEMU may reach")
        cards = [nic for nic in self._plan.machine.nics if nic.mode is NicMode.bridge]
        if cards and self._plan.adapted is None:
            self._hold(
                nftables, self._of_taps(vm, taps, boundary), "what a guest may say on a bridge"
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

    def _of_taps(self, vm: str, taps: dict[str, Tap], boundary: Boundary) -> str:
        from holdfast.network import rtnetlink, spoofing  # noqa: PLC0415 - for cards on bridges

        cards = [
            spoofing.Plugged(nic=nic, tap=device_name(taps[nic.name].queues[0]))
            for nic in self._plan.machine.nics
            if nic.mode is NicMode.bridge
        ]
        rules = of_guest(boundary, rtnetlink.own_addresses())
        return spoofing.guarded(vm, cards, rules, guard=self._plan.network.anti_spoofing)

    def _boundary(self) -> Boundary:
        plan = self._plan
        limits: NetworkLimits = plan.network
        ceph = any(isinstance(disk.backend, RbdImage) for disk in plan.disks)
        if ceph and any(nic.mode is NicMode.user for nic in plan.machine.nics):
            self._say(
                "a guest in user mode beside disks in Ceph reaches Ceph's monitors, as QEMU must"
            )
        return Boundary(
            etcd=tuple(address for one in plan.endpoints for address in self._addresses(one)),
            etcd_ports=tuple(one.port for one in plan.endpoints),
            reachable=limits.reachable,
            unreachable=limits.unreachable,
            resolvers=tuple(resolvers()),
            ceph=ceph,
            loopback=plan.ceph is not None and is_on_loopback(plan.ceph),
            answers=plan.adapted is not None or any(nic.ports for nic in plan.machine.nics),
        )

    def _addresses(self, endpoint: Endpoint) -> list[Address]:
        with suppress(ValueError):
            return [ip_address(endpoint.host)]
        from holdfast.store.connection import Resolver  # noqa: PLC0415 - it is there, but for gRPC

        try:
            found = Resolver(endpoint).addresses(PATIENCE)
        except (OSError, HoldfastError) as error:
            self._say(f"nothing keeps QEMU from etcd at {endpoint}: {error}")
            return []
        return list({ip_address(place[0]): None for _, place in found})


def is_on_loopback(ceph: "Keyring") -> bool:
    """A cluster of this host's own, for trying it. What names no such place opens nothing."""
    said = "".join(monitor.host + " " for monitor in ceph.monitors)
    if ceph.conf:
        said += Path(ceph.conf).read_text(encoding="utf-8", errors="replace")
    return any(word in said for word in ("127.0.0.", "::1", "localhost"))


def resolvers() -> Iterator[Address]:
    """Whom QEMU asks for names on its guest's behalf; docker's own is on loopback, as systemd's is."""
    with suppress(OSError):
        for line in RESOLV_CONF.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                with suppress(ValueError):
                    yield ip_address(words[1].partition("%")[0])


def device_name(tap: int) -> str:
    return fcntl.ioctl(tap, TUNGETIFF, bytes(40))[:16].rstrip(b"\0").decode()
