"""Setting an image in Ceph free that a VM of any tree of keys has left behind, for `claim release`."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import LockHeld, UsageError
from holdfast.fence import PATIENCE, YEAR
from holdfast.image_claim import decode_claim
from holdfast.machine import Disk, RbdImage
from holdfast.settings import Settings
from holdfast.storage.rbd import Cluster

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
        claim = decode_claim(self._text)
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

    def set_free(self) -> None:
        clients = decode_claim(self._text).clients
        if not self._cluster.blocklist(clients, YEAR, self._text):
            raise LockHeld(f"{self._disk} was claimed by somebody else meanwhile")
        self._cluster.drop_claims([self._text])


@contextlib.contextmanager
def left_image(disk: str, config: Settings) -> Iterator[LeftImage]:
    """`disk` is rbd/FSID/POOL/IMAGE, with a namespace between the two where there is one."""
    from holdfast.storage.keyring import find  # noqa: PLC0415 - only this action speaks to Ceph

    kind, _, rest = disk.partition("/")
    _fsid, *names = rest.split("/")
    if kind != "rbd" or len(names) not in (2, 3) or not all(names):
        raise UsageError(f"{disk}: must be rbd/FSID/POOL/IMAGE or rbd/FSID/POOL/NAMESPACE/IMAGE")
    pool, *space, image = names
    backend = RbdImage(pool=pool, namespace="".join(space), image=image)
    cluster = Cluster([Disk(name="root", backend=backend)], find(Path(config.ceph_conf)))
    try:
        found = LeftImage(disk, cluster)
        yield found
    finally:
        cluster.close()
