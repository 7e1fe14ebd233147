"""The cables of a VM's cards: what each mode needs of this host, and what it hands to QEMU."""

import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from holdfast.dataclass import replace
from holdfast.errors import ConfigError, Fault, HostLacks, together
from holdfast.host import Access
from holdfast.machine import Nic, NicMode
from holdfast.machine.nic import LINK_PREFIX
from holdfast.network import bridge, bridge_helper, ports, publication
from holdfast.network.ruleset import Address
from holdfast.qemu.wiring import Tap
from holdfast.system import capability, device
from holdfast.system.capability import Capability

USUAL_MTU = 1500  # what a guest takes for granted


def check(
    nics: Sequence[Nic],
    bridges: Mapping[str, str],
    permitted: Callable[[str], Collection[str] | None],
    published: Collection[Address] = (),
) -> None:
    """Raise HostLacks or ConfigError for what this host cannot give. `bridges` are by card; in
    argv mode there are no cards but these. `published`: addresses that host.toml lists.
    """
    ports.require_right(nics)
    taps = [nic for nic in nics if nic.mode is NicMode.macvtap]
    checks: list[Callable[[], object]] = []
    if bridges or taps:
        checks.append(lambda: capability.require(Capability.NET_ADMIN))
    if bridges:
        checks.append(lambda: device.require(device.TUN))
    for card, name in bridges.items():
        checks.append(
            partial(bridge.check, name, permitted=permitted(name), key=f"nics/{card}/bridge")
        )
    checks += [partial(check_device, nic) for nic in taps]
    if taps:
        from holdfast.network import macvtap  # noqa: PLC0415 - few VMs have one

        checks.append(macvtap.check)
    together(checks)
    for nic in (one for one in nics if one.vlan):
        from holdfast.network.tap import check_vlan  # noqa: PLC0415 - few cards have one

        check_vlan(nic)
    check_mtu(nics)
    publication.require_own(nics, published)
    publication.require_ways(nics)


def check_device(nic: Nic) -> None:
    """Raise HostLacks where the card's device is not here."""
    if nic.device not in (name for _, name in socket.if_nameindex()):
        raise HostLacks(
            f"nics/{nic.name}/device: there is no interface {nic.device} on this host",
            hint="`ip link` lists them; a container sees the host's only with `--network host`.",
        )


def check_mtu(nics: Sequence[Nic]) -> None:
    """Raise ConfigError for cards whose MTU (bytes) is above their parent's."""
    faults = []
    for nic in nics:
        most = bridge.mtu(nic.parent) if nic.parent else nic.mtu
        if nic.mtu > most:
            rule = f"{nic.parent} takes {most} at most"
            faults.append(Fault(key=f"nics/{nic.name}/mtu", value=str(nic.mtu), rule=rule))
    if faults:
        raise ConfigError(faults)


def connect(
    vm: str, nics: Sequence[Nic], bridges: Mapping[str, str], *, vhost: bool, life: ExitStack
) -> dict[str, Tap]:
    """Make taps by card. What outlives a descriptor ends with `life`. Raises HostLacks."""
    if Capability.NET_ADMIN in capability.effective():
        _sweep_links()
    own = {nic.name: nic for nic in nics if nic.parent and not nic.by_helper}
    taps: dict[str, Tap] = {}
    with ExitStack() as failed:
        failed.callback(close, taps)
        parents = {**bridges, **{nic.name: nic.parent for nic in own.values()}}
        mtus = {name: told(bridge.mtu(parent)) for name, parent in parents.items()}
        plain = {name: parent for name, parent in bridges.items() if name not in own}
        for name, descriptor in bridge_helper.taps(plain).items():
            taps[name] = Tap(queues=(descriptor,), mtu=mtus[name])
        for name, nic in own.items():
            taps[name] = Tap(queues=_queues(vm, nic, life), mtu=mtus[name])
        for nic in nics:
            if vhost and nic.name in taps and nic.model == "virtio":
                taps[nic.name] = replace(taps[nic.name], vhost=vhost_net(nic.queues))
        failed.pop_all()
    return taps


def _sweep_links() -> None:
    """A start is where links of launchers that were killed are found; on most hosts there are none."""
    if any(name.startswith(LINK_PREFIX) for _, name in socket.if_nameindex()):
        from holdfast.network import macvtap  # noqa: PLC0415 - few hosts have links of ours

        macvtap.sweep()


def _queues(vm: str, nic: Nic, life: ExitStack) -> tuple[int, ...]:
    if nic.mode is NicMode.macvtap:
        from holdfast.network import macvtap  # noqa: PLC0415 - few VMs have one

        return macvtap.connect(vm, nic, life)
    from holdfast.network.tap import own_tap  # noqa: PLC0415 - most are the bridge helper's

    return own_tap(nic)


def close(taps: Mapping[str, Tap]) -> None:
    for made in taps.values():
        for descriptor in (*made.queues, *made.vhost):
            os.close(descriptor)


def vhost_net(queues: int) -> tuple[int, ...]:
    """Let the kernel move the frames, where it can and this container may use it."""
    if device.provide(device.VHOST_NET) is not Access.open:
        return ()
    return tuple(os.open(device.VHOST_NET.path, os.O_RDWR | os.O_CLOEXEC) for _ in range(queues))


def told(mtu: int) -> int:
    """Say nothing (0) of the usual one: it would be another card to a guest of old."""
    return 0 if mtu == USUAL_MTU else mtu
