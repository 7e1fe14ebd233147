"""All that can be known before a lock is taken: that this host can run the VM as its keys say.

Nothing is made here but device nodes. A launcher that fails here has disturbed nobody.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import qemu
from holdfast.config.settings import Settings
from holdfast.dataclass import replace
from holdfast.description import Description
from holdfast.errors import ConfigError, together
from holdfast.host import Host, Kvm, kvm_lack
from holdfast.instance.plan import OLD_CDROM, Plan, bridges_of, disks_of
from holdfast.launcher import surroundings
from holdfast.machine import (
    Accelerator,
    Disk,
    DiskKind,
    LocalPath,
    Machine,
    RbdImage,
    Volume,
)
from holdfast.network import ports
from holdfast.ownership.address_claim import addresses
from holdfast.ownership.records import images
from holdfast.storage import aio, identity, local, pathname
from holdfast.system import capability, capacity

if TYPE_CHECKING:
    from holdfast.cloudinit.nocloud import Documents
    from holdfast.qemu.argv.adapt import Adapted
    from holdfast.storage.ceph.cluster import Cluster, Inspection
    from holdfast.storage.ceph.keyring import Keyring
    from holdfast.storage.identity import Identities
    from holdfast.storage.pathname import Bounds


def make(
    settings: Settings,
    host: Host,
    described: Description,
    meanwhile: Callable[[], None] = lambda: None,
) -> Plan:
    """Plan a start. Raises ConfigError with all faults, HostLacks, or Unreachable for a cluster or
    a URL.

    `meanwhile` is called while a cluster answers.
    """
    machine = described.machine
    adapted = adapted_to(machine) if machine.options else None
    disks = machine.storage if adapted is None else disks_of(adapted)
    missing = frozenset(disk.name for disk in disks if is_old_cdrom(disk))
    present = [disk for disk in disks if disk.name not in missing]
    if adapted is None:
        qemu.command_line(machine, host)  # what it refuses must be known before a lock is taken
    booted = adapted or machine
    together(
        (
            lambda: capability.require(*capability.CONFINE),
            lambda: check_accelerator(machine, adapted, host),
            lambda: check_devices(machine),
            lambda: capacity.check(machine),
            lambda: surroundings.check_firmware(machine),
            lambda: surroundings.check_tpm(machine),
            lambda: check_network(machine, adapted, settings),
            lambda: surroundings.check(
                machine, present, (booted.kernel, booted.initrd), bridges_of(machine, adapted)
            ),
        )
    )
    bounds = bounds_of(settings, adapted)
    share_bounds = pathname.of_shares(settings.host_config, settings.vm)
    check_files(present, booted, bounds, formats=adapted is None)
    check_shares(machine, share_bounds)
    check_ports(machine)
    known = check_claimed(present, bounds, settings)
    check_unlocked([*disks, *read_only(booted, disks)], host, known)
    uring = adapted is None and aio.check(disks)
    documents = documents_of(machine, settings) if machine.has_seed else None
    ceph, cluster, found = reach(disks, adapted, settings.ceph_conf, meanwhile)
    return Plan(
        machine=machine,
        unknown=described.unknown,
        disks=tuple(present),
        images=images(
            present,
            machine_id=host.machine_id,
            fsid=found.fsid if found else "",
            files=known.files,
            shared=known.shared,
        ),
        identities=known,
        addresses=tuple(addresses(machine.nics)),
        ceph=ceph,
        cluster=cluster,
        claims={**(found.by_id if found else {}), **known.claims_beside()},
        copies=found.copies if found else {},
        volumes=found.volumes if found else (),
        written=found.written if found else (),
        seed=documents,
        adapted=adapted,
        missing=missing,
        io_uring=uring,
        image_cache=settings.host_config.image_cache,
        bounds=bounds,
        share_bounds=share_bounds,
        endpoints=settings.endpoints,
        network=settings.host_config.network,
        monitors=settings.host_config.monitors,
        ceph_conf=settings.ceph_conf,
    )


def adapted_to(machine: Machine) -> "Adapted":
    from holdfast.qemu.argv.adapt import adapt  # noqa: PLC0415 - few VMs are described by QEMU's words

    return adapt(machine.options)


def documents_of(machine: Machine, settings: Settings) -> "Documents":
    from holdfast.devices import seed  # noqa: PLC0415 - for a guest that is told something

    return seed.documents(machine, settings)


def is_old_cdrom(disk: Disk) -> bool:
    return str(disk.backend) == OLD_CDROM and not Path(OLD_CDROM).exists()


def check_accelerator(machine: Machine, adapted: "Adapted | None", host: Host) -> None:
    wanted = adapted.wants_kvm if adapted else machine.accelerator is Accelerator.kvm
    if wanted and host.kvm is not Kvm.usable:
        raise kvm_lack(host.kvm)


def check_devices(machine: Machine) -> None:
    if machine.usb or machine.pci:
        from holdfast.devices import hostdev  # noqa: PLC0415 - for a VM that has some

        hostdev.check(machine)


def check_network(machine: Machine, adapted: "Adapted | None", settings: Settings) -> None:
    def permitted(bridge: str) -> Collection[str] | None:
        """BRIDGE_IF and the arguments are the operator's own words."""
        own = adapted is not None or bridge == settings.bridge
        return None if own else settings.host_config.bridges

    bridges = bridges_of(machine, adapted)
    if machine.nics or bridges:
        from holdfast.network import cards  # noqa: PLC0415 - for a VM that has some

        published = settings.host_config.network.addresses
        cards.check(machine.nics, bridges, permitted, published)


def bounds_of(settings: Settings, adapted: "Adapted | None") -> "Bounds":
    """Bound files: keys, of etcd, are held to image_paths; arguments are the operator's own."""
    if adapted is not None:
        return pathname.ANYWHERE
    return pathname.of_files(settings.host_config, settings.vm)


def check_files(
    disks: Sequence[Disk], booted: "Machine | Adapted", bounds: "Bounds", *, formats: bool
) -> None:
    faults = local.check(disks, bounds, formats=formats)
    for key, path in (("kernel", booted.kernel), ("initrd", booted.initrd)):
        faults += local.check_file(key, path, bounds) if path else []
    if faults:
        raise ConfigError(faults)


def check_shares(machine: Machine, bounds: "Bounds") -> None:
    if not machine.shares:
        return
    from holdfast.devices import virtiofs  # noqa: PLC0415 - for a VM with shares

    if faults := virtiofs.check(machine.shares, bounds):
        raise ConfigError(faults)


def read_only(booted: "Machine | Adapted", disks: Sequence[Disk]) -> list[Disk]:
    """List files that are read once, as disks that nobody may be writing to."""
    files = {"kernel": booted.kernel, "initrd": booted.initrd}
    files |= {
        f"{disk.key}/source/image": disk.source.image
        for disk in disks
        if disk.source is not None
        and disk.source.image.startswith("/")
        and isinstance(disk.backend, Volume)
        and not Path(disk.backend.path).exists()
    }
    return [
        Disk(name=key, backend=LocalPath(path=path), read_only=True)
        for key, path in files.items()
        if path
    ]


def check_claimed(disks: Sequence[Disk], bounds: "Bounds", settings: Settings) -> "Identities":
    """Find what the disks that may be written are claimed as: opened, and judged by that."""
    known = identity.identities(disks, bounds, settings.host_config)
    if known.shared:
        from holdfast.ownership import time_fence  # noqa: PLC0415 - for those who have one

        if faults := time_fence.faults(settings, known.shared):
            raise ConfigError(faults)
    return known


def check_ports(machine: Machine) -> None:
    """Try the ports, which are taken when QEMU is started. One that is not free now is no reason
    to take a VM and drop it.
    """
    if wanted := tuple(ports.listeners(machine)):
        with ExitStack() as stack:
            ports.claim(machine.vm, wanted, stack)


def check_unlocked(disks: Sequence[Disk], host: Host, known: "Identities") -> None:
    for disk in disks:
        if local.in_use(disk):
            from holdfast.ownership.holder import in_use  # noqa: PLC0415 - hardly ever needed

            owned = replace(disk, read_only=False, kind=DiskKind.disk)  # as its claim has it
            in_common = {name: one for name, one in known.shared.items() if name == disk.name}
            files = {disk.name: local.identity(disk)}
            (image,) = images(
                [owned], machine_id=host.machine_id, fsid="", files=files, shared=in_common
            )
            raise in_use(disk, image.id)


def reach(
    disks: Sequence[Disk], adapted: "Adapted | None", conf: str, meanwhile: Callable[[], None]
) -> "tuple[Keyring | None, Cluster | None, Inspection | None]":
    if not any(isinstance(disk.backend, RbdImage) for disk in disks):
        return None, None, None
    from holdfast.storage.ceph import access  # noqa: PLC0415 - for those who have a Ceph

    ceph = access.keyring_of(disks, adapted, conf)
    return ceph, *access.reach(disks, ceph, meanwhile)
