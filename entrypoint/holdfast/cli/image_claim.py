"""Setting an image in Ceph free that a VM of any tree of keys has left behind, for `claim release`."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from holdfast.config.settings import Settings
from holdfast.errors import ConfigError, LockHeld, UsageError
from holdfast.etcd.record import Unreadable
from holdfast.machine import Disk, RbdImage
from holdfast.machine.ceph import ETC_CEPH, Access
from holdfast.ownership.fencing import PATIENCE, YEAR
from holdfast.policy.pool import RbdPool
from holdfast.storage.ceph.cluster import Cluster
from holdfast.storage.image_claim import ImageClaim, decode_claim

GIVES_UP = """\
{disk} belongs to {claim}, which did not let go of it. Set free, it can be taken by
any VM at once. What that VM may still have under way to it is shut out of Ceph for a year: {clients}.
If it is alive after all, that ends it. Then: {then}"""


class LeftImage:
    """An image by the id under which it is claimed, and the claim that stands in it."""

    def __init__(self, disk: str, cluster: Cluster) -> None:
        self._disk = disk
        self._cluster = cluster
        self._text = cluster.inspect().by_id.get(disk, "")
        self.claimed = bool(self._text)

    def judge(self, *, yes: bool, then: str) -> None:
        """Raises UsageError without consent, and LockHeld while somebody has it open: Ceph lists a client that
        died for half a minute.
        """
        claim = self._claim()
        clients = " ".join(claim.clients) or "nobody"
        if not yes:
            raise UsageError(
                GIVES_UP.format(disk=self._disk, claim=claim, clients=clients, then=then)
            )
        until = time.monotonic() + PATIENCE
        while there := self._openers():
            if time.monotonic() > until:
                raise LockHeld(f"{', '.join(there)} has it open: {self._disk} is in use")
            time.sleep(0.5)

    def _openers(self) -> list[str]:
        return sorted(frozenset().union(*self._cluster.watchers()))

    def _claim(self) -> ImageClaim:
        try:
            return decode_claim(self._text)
        except Unreadable as error:
            where = f"the key holdfast.claim of the image's header ({self._disk})"
            raise ConfigError(
                f"the claim in {self._disk} {error}",
                hint=f"if no host runs its VM for certain, remove it by hand: {where}, with rados rmomapkey",
            ) from error

    def set_free(self) -> None:
        clients = self._claim().clients
        if not self._cluster.blocklist(clients, YEAR, self._text):
            raise LockHeld(f"{self._disk} was claimed by somebody else meanwhile")
        self._cluster.drop_claims([self._text])


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
