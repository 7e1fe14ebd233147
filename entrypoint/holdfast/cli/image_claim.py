"""Setting an image in Ceph free that a VM of any tree of keys has left behind, for `claim release`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from holdfast.config.settings import Settings
from holdfast.errors import UsageError
from holdfast.machine import Disk, RbdImage
from holdfast.machine.ceph import ETC_CEPH, Access
from holdfast.ownership.left_image import LeftImage
from holdfast.policy.pool import RbdPool
from holdfast.storage.ceph.cluster import Cluster

GIVES_UP = """\
{disk} belongs to {claim}, which did not let go of it. Set free, it can be taken by
any VM at once. What that VM may still have under way to it is shut out of Ceph for a year: {clients}.
If it is alive after all, that ends it. Then: {then}"""


def judge(image: LeftImage, *, yes: bool, then: str) -> None:
    """Raise UsageError without consent, and LockHeld while somebody has the image open."""
    claim = image.claim()
    clients = " ".join(claim.clients) or "nobody"
    if not yes:
        raise UsageError(GIVES_UP.format(disk=image.disk, claim=claim, clients=clients, then=then))
    image.refuse_open()


def access_of(pool: str, namespace: str, config: Settings) -> Access:
    """How host.toml reaches that pool of Ceph's; by /etc/ceph where it does not name it."""
    pools = (one for one in config.host_config.pools.values() if isinstance(one, RbdPool))
    found = (one.access for one in pools if (one.pool, one.namespace) == (pool, namespace))
    return next(found, ETC_CEPH)


@contextlib.contextmanager
def left_image(disk: str, config: Settings) -> Iterator[LeftImage]:
    """`disk` is rbd/FSID/POOL/IMAGE, with a namespace between the two where there is one."""
    from holdfast.storage.ceph.keyring import find  # noqa: PLC0415 - only this action speaks to Ceph

    kind, _, rest = disk.partition("/")
    _fsid, *names = rest.split("/")
    if kind != "rbd" or len(names) not in (2, 3) or not all(names):
        raise UsageError(f"{disk}: must be rbd/FSID/POOL/IMAGE or rbd/FSID/POOL/NAMESPACE/IMAGE")
    pool, *space, image = names
    backend = RbdImage(pool=pool, namespace="".join(space), image=image)
    access = access_of(pool, "".join(space), config)
    cluster = Cluster(
        [Disk(name="root", backend=backend)], find(Path(config.ceph_conf), "", access)
    )
    try:
        yield LeftImage(disk, cluster)
    finally:
        cluster.close()
