"""An image in Ceph that a VM of any tree of keys has left behind, and setting it free by hand."""

import time

from holdfast.errors import ConfigError, LockHeld
from holdfast.etcd.record import Unreadable
from holdfast.ownership.fencing import PATIENCE, YEAR
from holdfast.storage.ceph.cluster import Cluster
from holdfast.storage.image_claim import ImageClaim, decode_claim


class LeftImage:
    """An image by the id under which it is claimed, and the claim that stands in it."""

    def __init__(self, disk: str, cluster: Cluster) -> None:
        self.disk = disk
        self._cluster = cluster
        self._text = cluster.inspect().by_id.get(disk, "")
        self.claimed = bool(self._text)

    def claim(self) -> ImageClaim:
        """Read whose it is. Raises ConfigError where that cannot be read."""
        try:
            return decode_claim(self._text)
        except Unreadable as error:
            where = f"the key holdfast.claim of the image's header ({self.disk})"
            raise ConfigError(
                f"the claim in {self.disk} {error}",
                hint=f"if no host runs its VM for certain, remove it by hand: {where}, with rados rmomapkey",
            ) from error

    def refuse_open(self) -> None:
        """Raise LockHeld while somebody has it open: Ceph lists a client that died for half a minute, so wait as long."""
        until = time.monotonic() + PATIENCE
        while there := self._openers():
            if time.monotonic() > until:
                raise LockHeld(f"{', '.join(there)} has it open: {self.disk} is in use")
            time.sleep(0.5)

    def _openers(self) -> list[str]:
        return sorted(frozenset().union(*self._cluster.watchers()))

    def set_free(self) -> None:
        """Shut out of Ceph whom the claim names, and drop it. Raises LockHeld where it has changed since."""
        if not self._cluster.blocklist(self.claim().clients, YEAR, self._text):
            raise LockHeld(f"{self.disk} was claimed by somebody else meanwhile")
        self._cluster.drop_claims([self._text])
