"""Shutting out whoever may still write to this VM's images (docs/ownership.md, steps 3 to 6).

Ceph's blocklist is the barrier: a client on it cannot write any more, alive, paused or cut off.
Addresses come from the record in etcd, from its copies in the images, and from locks whose holder
watches no more. A client that watches and stands in no record is somebody else: a backup, an
administrator's `rbd map`, the old image's QEMU. It is waited for, named, and never shut out.
"""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.errors import HoldfastError, LockHeld, OwnershipLost
from holdfast.events import Events
from holdfast.guard import Guard
from holdfast.keeper import Keeper
from holdfast.lock import Hold
from holdfast.plan import Plan
from holdfast.standby import doze

if TYPE_CHECKING:
    from holdfast.storage.rbd import Cluster

# An entry must stand as long as the client may exist: one that runs out lets a frozen writer back in.
YEAR = 31_536_000
HOUR = 3600  # for a process that was reaped: only what it had sent may still arrive
ROUNDS = 5
PATIENCE = 40.0  # seconds; a client that died by itself is seen for 30 (osd_client_watch_timeout)
REGAIN = 1.0  # seconds between two looks at a lock that is not ours for now
OPENING = 10.0  # seconds until Ceph shows that QEMU has its images open


class Strangers(LockHeld):
    """A client that no record names has an image of this VM open."""


class Fence:
    """What stands between this VM's disks and everybody else who may write to them.

    Without images in Ceph there is nobody to shut out: the kernel guards local files.

    `_writers` are those of us whom the record names. A client leaves it only when it has closed its
    disks by itself or is on the blocklist: what a dead one had under way may arrive at any later time.
    """

    def __init__(self, plan: Plan, hold: Hold, keeper: Keeper, *, hold_on: bool) -> None:
        self.keeper = keeper
        self._plan = plan
        self._hold = hold
        self._hold_on = hold_on
        self._images = plan.images
        in_ceph = any(image.kind == "rbd" for image in plan.images)
        self._cluster = plan.cluster if in_ceph else None
        # A copy of an epoch that etcd has left behind was dealt with when that epoch ended.
        recent = (clients for epoch, clients in plan.copies.items() if epoch >= hold.epoch - 1)
        self._suspects = hold.suspects.union(*recent)
        self._before: frozenset[str] = frozenset()
        self._own = ""  # our storage process
        self._qemu: frozenset[str] = frozenset()
        self._writers: frozenset[str] = frozenset()

    # -- those before us

    def shut_out(self, events: Events) -> None:
        """Raises Strangers, or what keeps us from being sure; the record stays in that case."""
        if self._hold.outlast:
            self._outlast(events)
        if self._cluster is None:
            return
        done: set[str] = set()
        until = time.monotonic() + PATIENCE
        while strangers := self._round(self._cluster, done):
            if time.monotonic() > until:
                raise _strangers(strangers)
            log.debug(f"waiting for {', '.join(sorted(strangers))} to close an image of this VM")
            doze(events, time.monotonic() + 1.0, wake=lambda _: False)
        if done:
            self._cluster.break_locks(done)

    def _outlast(self, events: Events) -> None:
        """Whom only time stops has ended before its lease did. It gets as long again, for a clock or
        a leader of etcd that lagged behind.
        """
        seconds = self._hold.times.ttl
        log.info(f"the last owner's disks are guarded by time only: waiting {seconds:g} s more")
        doze(events, time.monotonic() + seconds, wake=lambda _: False)
        self.keeper.confirm()

    def _round(self, cluster: "Cluster", done: set[str]) -> frozenset[str]:
        """Shut out all that is known and new, until nothing new is found. Returns who else watches."""
        for _ in range(ROUNDS):
            clients = cluster.clients()
            dead = clients.lockers - clients.watchers
            found = (self._suspects | dead) - done
            if not found:
                return clients.watchers - done
            # A taker that slept since it gathered these must not hit a newer owner.
            self.keeper.confirm()
            cluster.blocklist(found, YEAR)
            done |= found
            log.info("shut out of Ceph", clients=" ".join(sorted(found)))
        raise Strangers("new clients of this VM's images turn up as fast as they are shut out")

    # -- ourselves

    def admit_ourselves(self) -> None:
        """Our own storage process may write from now on: it goes into the record first."""
        if self._hold.timed:
            self._hold.record(self._images, self._writers)
        if self._cluster is None:
            return
        self._before = self._cluster.clients().watchers
        self._admit(self._cluster)

    def _admit(self, cluster: "Cluster") -> None:
        self._own = cluster.own_address()
        self._writers |= {self._own}
        self._hold.record(self._images, self._writers)

    def admit_writes(self) -> None:
        """Before anything is written where only time guards; QEMU writes to a qcow2 as it opens it."""
        if self._hold.timed and self.keeper.in_doubt():
            raise OwnershipLost("the lease could not be renewed while the VM was being started")

    def guarded(self, pid: int, events: Events, stack: ExitStack) -> None:
        """Before the guest runs where only time guards: who kills QEMU if we cannot is there."""
        if not self._hold.timed:
            return
        guard = stack.enter_context(Guard(pid, self.keeper.last_resort(), events))
        self.keeper.guarded_by(guard.feed)

    def admit_qemu(self, version: str, pinned: bytes = b"") -> None:
        """QEMU's clients, in the images and in etcd. After this it may `cont`."""
        if self._cluster is not None:
            self._qemu = self._newcomers(self._cluster)
            self._writers |= self._qemu
            self._cluster.keep_copy(self._hold.epoch, self._writers)
            self.close()
        self._hold.record(self._images, self._writers, pinned)
        self.keeper.running(version, hold_on=self._hold_on)

    def _newcomers(self, cluster: "Cluster") -> frozenset[str]:
        """One client for each image that QEMU has open for writing."""
        until = time.monotonic() + OPENING
        while not (found := cluster.newcomers(self._before)):
            if time.monotonic() > until:
                raise OwnershipLost("QEMU's clients do not show up in Ceph")
            time.sleep(0.02)
        return found

    def close(self) -> None:
        """Our storage process has done its work. One that had to be killed stays a writer."""
        if self._cluster is not None and self._cluster.close():
            self._writers -= {self._own}

    # -- our dead

    def bury(self, *, closed: bool, events: Events) -> None:
        """QEMU has ended and is started again in place: its last writes must not arrive behind those of
        the next one. All of it waits until the lock is ours.
        """
        self._connect(closed=closed)
        self._regain(events)
        if self._hold.timed and not closed:
            self._outlast(events)
        if self._cluster is not None:
            self._silence(self._cluster)
            self.admit_ourselves()

    def part(self, *, closed: bool) -> bool:
        """Whether nobody whom the record names may write any more, so that it can be deleted. The copies in
        the images go, too: they would make the next owner shut out clients that are gone.
        """
        try:
            self._connect(closed=closed)
            if self._cluster is not None:
                self._silence(self._cluster)
                self._admit(self._cluster)
                self._cluster.drop_copy(self._hold.epoch)
        except HoldfastError as error:
            log.warning(f"the next owner may have somebody to shut out of Ceph: {error.message}")
        self.close()
        return not self._writers and (closed or not self._hold.timed)

    def _connect(self, *, closed: bool) -> None:
        if closed:
            self._writers -= self._qemu
        if self._cluster is not None and self._plan.ceph is not None:
            from holdfast.storage.rbd import Cluster  # noqa: PLC0415 - for those who have a Ceph

            self._cluster = Cluster(self._plan.disks, self._plan.ceph)

    def _silence(self, cluster: "Cluster") -> None:
        """Whoever of us has not closed its disks by itself."""
        if self._writers:
            cluster.blocklist(self._writers, HOUR)
            cluster.break_locks(self._writers)
            log.info("shut out of Ceph", clients=" ".join(sorted(self._writers)))
        self._writers = frozenset()

    def _regain(self, events: Events) -> None:
        while not self.keeper.holds():
            doze(events, time.monotonic() + REGAIN, wake=lambda _: False)


def _strangers(addresses: frozenset[str]) -> Strangers:
    named = ", ".join(sorted(addresses))
    return Strangers(
        f"{named} has an image of this VM open for writing, and no record names it",
        hint="end that client (a backup, `rbd map`, an old QEMU), or shut it out for good: "
        + "; ".join(f"ceph osd blocklist add {address} {YEAR}" for address in sorted(addresses)),
    )
