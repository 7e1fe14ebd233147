"""What is known of a VM before its lock is taken: the keys, and what this host has for them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.config.endpoint import Endpoint
from holdfast.dataclass import dataclass
from holdfast.machine import Disk, Machine, NicMode
from holdfast.machine.ceph import Monitor
from holdfast.ownership.address_claim import Address
from holdfast.ownership.records import Image
from holdfast.policy.network_limits import NetworkLimits

if TYPE_CHECKING:
    from holdfast.cloudinit.nocloud import Documents
    from holdfast.qemu.argv.adapt import Adapted
    from holdfast.storage.ceph.cluster import Cluster
    from holdfast.storage.ceph.keyring import Keyring
    from holdfast.storage.identity import Identities
    from holdfast.storage.pathname import Bounds
    from holdfast.storage.volume_record import Found
    from holdfast.storage.writers import Written

OLD_CDROM = "/iso/virtio-win.iso"  # the intersoftlab image carried it, and its unit names it


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`adapted` is set in argv mode: QEMU's own words instead of what the keys would build.

    `missing` names CD-ROMs whose file is not there and whose drive therefore stays empty. `cluster` is
    an open connection, to be closed; `claims` are those that stand in the images, by the image's id, and
    `copies` what older launchers left there: clients by epoch.
    """

    machine: Machine
    unknown: tuple[str, ...]
    disks: tuple[Disk, ...]
    images: tuple[Image, ...]
    identities: "Identities"
    addresses: tuple[Address, ...]
    ceph: "Keyring | None"
    cluster: "Cluster | None"
    claims: Mapping[str, str]
    copies: Mapping[int, tuple[str, ...]]
    volumes: "tuple[Found, ...]"  # those in Ceph
    written: "tuple[Written, ...]"  # of the images that are only read
    seed: "Documents | None"
    adapted: "Adapted | None"
    missing: frozenset[str]
    io_uring: bool
    image_cache: str
    bounds: "Bounds"  # of files that keys name
    share_bounds: "Bounds"
    endpoints: tuple[Endpoint, ...]
    network: NetworkLimits
    monitors: tuple[Monitor, ...]  # all that host.toml names
    ceph_conf: str

    def close(self) -> None:
        if self.cluster is not None:
            self.cluster.close()

    @property
    def warnings(self) -> list[str]:
        empty = (
            [f"{OLD_CDROM} is not in this image: its drive stays empty"] if self.missing else []
        )
        return [*self.unknown, *(self.adapted.warnings if self.adapted else ()), *empty]

    @property
    def bridges(self) -> dict[str, str]:
        return bridges_of(self.machine, self.adapted)


def bridges_of(machine: Machine, adapted: "Adapted | None") -> dict[str, str]:
    """Return the bridge of each card that has one, by its name (argv mode: its netdev's id)."""
    if adapted is not None:
        return dict(adapted.bridges)
    return {nic.name: nic.bridge for nic in machine.nics if nic.mode is NicMode.bridge}


def disks_of(adapted: "Adapted") -> tuple[Disk, ...]:
    """Return what a user's options open, as disks to be checked and claimed."""
    in_ceph = (
        Disk(name=f"rbd{number}", backend=use.image, read_only=not use.writable)
        for number, use in enumerate(adapted.rbd)
    )
    return (*adapted.files, *in_ceph)
