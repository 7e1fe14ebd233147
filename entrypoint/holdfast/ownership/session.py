"""A lease, and the lock that goes with it: one owner's session with etcd.

A reply that got lost is settled by reading back: "not succeeded" may be our own first copy.
"""

import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from holdfast.dataclass import replace
from holdfast.errors import OwnershipLost
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Delete, Put, Range, Reply, Unchanged, written_by
from holdfast.host import Host
from holdfast.ownership.lease import LeaseTimes
from holdfast.ownership.names import Names
from holdfast.ownership.records import Lock, encode
from holdfast.ownership.verdict import Standing, Verdict, judge
from holdfast.runtime.clock import boottime


def attempt(host: Host) -> Lock:
    """Make a lock of this attempt's own, with a new id."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Lock(id=str(uuid.uuid4()), host=host.name, boot_id=host.boot_id, since=since)


class Session:
    """What every transaction of an owner goes through. `standing` is replaced whole, under `turn`."""

    def __init__(self, store: Store, names: Names, host: Host, ttl: int) -> None:
        self.store = store
        self.names = names
        self.host = host
        self.times = LeaseTimes.of(ttl, len(store.endpoints))
        self.lease = 0
        self.standing = Standing()
        self.turn = threading.RLock()
        self._confirmed = 0.0  # when the last good renewal was sent

    def lock(
        self,
        compare: Iterable[Unchanged],
        puts: Sequence[Put] = (),
        reads: Sequence[Range] = (),
    ) -> Reply | None:
        """Get a lease and the lock, and put what goes with it, if nobody has the lock and all of `compare` holds.

        Returns what `reads` ask for, or None where somebody was quicker.
        """
        owner = encode(attempt(self.host))
        sent = boottime()
        lease, granted = self.store.grant(int(self.times.ttl))
        put = Put(key=self.names.lock, value=owner, lease=lease)
        reply = self.store.txn(
            [Unchanged(key=self.names.lock, revision=0), *compare],
            [put, *puts, *reads],
            [Range(key=self.names.lock), *reads],
        )
        written = written_by(reply, [put], [])
        if written is None:
            self.store.revoke(lease)
            return None
        self.lease = lease
        self.times = LeaseTimes.of(granted, len(self.store.endpoints))
        self.standing = replace(self.standing, lock=written[self.names.lock], owner=owner)
        self._confirmed = sent
        return reply

    def write(
        self, compare: Sequence[Unchanged], puts: Sequence[Put], drops: Sequence[Delete] = ()
    ) -> dict[str, int]:
        """Put and drop what only the owner may. Returns the revision of each key that was put.

        Raises OwnershipLost where the lock is not ours, or one of `compare` does not hold.
        """
        lock = Unchanged(key=self.names.lock, revision=self.standing.lock)
        reads = [Range(key=put.key) for put in puts]
        reply = self.store.txn({lock, *compare}, [*puts, *drops], [Range(key=lock.key), *reads])
        written = written_by(reply, puts, compare)
        if written is None or (
            not reply.succeeded and reply.revision_of(lock.key) != lock.revision
        ):
            raise OwnershipLost(
                f"{puts[0].key} could not be written: another owner has taken the VM"
            )
        return written

    def look(self) -> tuple[Verdict, Reply]:
        """Judge by a linearizable read of what makes us the owner."""
        with self.turn:
            names = self.names
            keys = (names.lock, names.epoch, names.power, names.legacy.epoch)
            reply = self.store.read(*(Range(key=key) for key in keys))
            return judge(reply, names, self.standing), reply

    def renew(self, *, timed: bool) -> bool:
        """Renew the lease. False: it is gone, and perhaps the lock with it. `timed`: a disk of ours has no barrier but
        time, so the answer alone does not count.
        """
        sent = boottime()
        if not self.store.keep_alive(self.lease):
            return False
        # A leader of etcd that has been replaced and does not know it may still renew a lease.
        if timed and self.look()[0] is not Verdict.held:
            return False
        self._confirmed = sent
        return True

    def renewal(self) -> float:
        """When the lease is to be renewed next, on boottime()'s clock."""
        return self._confirmed + self.times.renew

    def deadline(self) -> float:
        """When ownership comes into doubt, on boottime()'s clock."""
        return self._confirmed + self.times.deadline

    def last_resort(self) -> float:
        """When QEMU must be dead, where only time guards its disks, on boottime()'s clock."""
        return self._confirmed + self.times.last_resort

    def end(self) -> float:
        """When the lease runs out, unless it is renewed, on boottime()'s clock."""
        return self._confirmed + self.times.ttl

    def in_doubt(self) -> bool:
        """Tell whether the lease may be over."""
        return boottime() > self.deadline()

    def abandon(self) -> None:
        """Let the lock go and leave every record as it is."""
        self.store.revoke(self.lease)
