"""How the RBD disks of a VM are reached: who asks the cluster, and what it says of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import ConfigError, Fault
from holdfast.machine import Disk, RbdImage
from holdfast.storage.ceph import keyring
from holdfast.storage.ceph.keyring import Keyring

if TYPE_CHECKING:
    from holdfast.qemu.argv.adapt import Adapted
    from holdfast.storage.ceph.cluster import Cluster, Inspection


def keyring_of(disks: Sequence[Disk], adapted: "Adapted | None", conf: str) -> Keyring:
    """Find the one way to all of them. A VM's description sees to it that one is enough.

    Raises ConfigError: for arguments that name more than one user, and what keyring.find() refuses.
    """
    images = [disk.backend for disk in disks if isinstance(disk.backend, RbdImage)]
    pools = {(image.pool, image.namespace) for image in images}
    return keyring.find(Path(conf), user_of(adapted), images[0].access, pools)


def user_of(adapted: "Adapted | None") -> str:
    """Name the Ceph user of a VM's arguments; "" is the pool's, or admin. Raises ConfigError: for several."""
    users = sorted({use.user for use in adapted.rbd}) if adapted else [""]
    if len(users) > 1:
        rule = f"name more than one Ceph user: {', '.join(users)}"
        raise ConfigError([Fault(key="arguments", rule=rule)])
    return users[0]


def reach(
    disks: Sequence[Disk], ceph: "Keyring", meanwhile: Callable[[], None]
) -> "tuple[Cluster, Inspection]":
    from holdfast.storage.ceph.cluster import Cluster  # noqa: PLC0415 - for those who have a Ceph

    cluster = Cluster(disks, ceph)
    try:
        meanwhile()
        return cluster, cluster.inspect()
    except BaseException:
        cluster.close()
        raise
