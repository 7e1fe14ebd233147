"""All that can be known before a lock is taken: that this host can run the VM as its keys say.

Nothing is made here but device nodes. A launcher that fails here has disturbed nobody.
"""

from dataclasses import dataclass

from holdfast import bridge, capability, cloudinit, device, seed
from holdfast.cloudinit import Documents
from holdfast.description import Description
from holdfast.errors import ConfigError, Fault
from holdfast.host import Host, Kvm, kvm_lack
from holdfast.machine import Accelerator, Machine, NicMode, RbdImage
from holdfast.ownership import Image, images
from holdfast.qemu.options import Adapted, adapt
from holdfast.settings import Settings
from holdfast.storage import keyring, local, rbd


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`adapted` is set in argv mode: QEMU's own words instead of what the keys would build."""

    machine: Machine
    unknown: tuple[str, ...]
    images: tuple[Image, ...]
    ceph: keyring.Keyring | None
    seed: Documents | None
    adapted: Adapted | None


def make(settings: Settings, host: Host, described: Description) -> Plan:
    """Raises ConfigError with all faults, HostLacks, or Unreachable for a cluster or a URL."""
    machine = described.machine
    adapted = adapt(machine.options) if machine.options else None
    capability.require(*capability.CONFINE)
    check_accelerator(machine, adapted, host)
    check_network(machine, adapted, settings)
    if faults := local.check(machine.disks, settings.host_config.image_paths):
        raise ConfigError(faults)
    ceph = find_keyring(machine, adapted)
    fsid = rbd.inspect(machine.disks, ceph).fsid if ceph and machine.disks else ""
    return Plan(
        machine=machine,
        unknown=described.unknown,
        images=images(machine.disks, machine_id=host.machine_id, fsid=fsid),
        ceph=ceph,
        seed=make_seed(machine),
        adapted=adapted,
    )


def check_accelerator(machine: Machine, adapted: Adapted | None, host: Host) -> None:
    wanted = machine.accelerator is Accelerator.kvm or (adapted is not None and adapted.wants_kvm)
    if wanted and host.kvm is not Kvm.usable:
        raise kvm_lack(host.kvm)


def check_network(machine: Machine, adapted: Adapted | None, settings: Settings) -> None:
    bridges = bridges_of(machine, adapted)
    if not bridges:
        return
    capability.require(capability.Capability.NET_ADMIN)
    device.require(device.TUN)
    for nic, name in bridges.items():
        bridge.check(name, permitted=settings.host_config.bridges, key=f"nics/{nic}/bridge")


def bridges_of(machine: Machine, adapted: Adapted | None) -> dict[str, str]:
    """The bridge of each card that has one, by the card's name (in argv mode: its netdev's id)."""
    if adapted is not None:
        return dict(adapted.bridges)
    return {nic.name: nic.bridge for nic in machine.nics if nic.mode is NicMode.bridge}


def find_keyring(machine: Machine, adapted: Adapted | None) -> keyring.Keyring | None:
    if adapted is not None:
        users = {image.user for image in adapted.rbd}
        if len(users) > 1:
            raise ConfigError(
                [
                    Fault(
                        key="options",
                        rule="name more than one Ceph user: " + ", ".join(sorted(users)),
                    )
                ]
            )
        return keyring.find(user=users.pop()) if users else None
    if any(isinstance(disk.backend, RbdImage) for disk in machine.disks):
        return keyring.find()
    return None


def make_seed(machine: Machine) -> Documents | None:
    """Only where something is to be said: another disk would change the hardware of an old guest."""
    if machine.user_data is None and not any(nic.address for nic in machine.nics):
        return None
    return cloudinit.documents(machine, seed.user_data(machine.user_data))
