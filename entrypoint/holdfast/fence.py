"""Shutting out whoever may still write to this VM's images (docs/ownership.md, steps 3 to 6).

Ceph's blocklist is the barrier: a client on it cannot write any more, alive, paused or cut off.
Addresses come from the record in etcd, from its copies in the images, and from locks whose holder
watches no more. A client that watches and stands in no record is somebody else: a backup, an
administrator's `rbd map`, the old image's QEMU. It is waited for, named, and never shut out.
"""

import time
from contextlib import ExitStack

from holdfast import log
from holdfast.errors import LockHeld, OwnershipLost
from holdfast.events import Events
from holdfast.guard import Guard
from holdfast.keeper import Keeper
from holdfast.lock import Hold
from holdfast.plan import Plan
from holdfast.standby import doze
from holdfast.storage.rbd import Cluster

# An entry must stand as long as the client may exist: one that runs out lets a frozen writer back in.
YEAR = 31_536_000
ROUNDS = 5
PATIENCE = 40.0  # seconds; a client that died by itself is seen for 30 (osd_client_watch_timeout)
OPENING = 10.0  # seconds until Ceph shows that QEMU has its images open


class Strangers(LockHeld):
    """A client that no record names has an image of this VM open."""


class Fence:
    """What stands between this VM's disks and everybody else who may write to them.

    Without images in Ceph there is nobody to shut out: the kernel guards local files.
    """

    def __init__(self, plan: Plan, hold: Hold, keeper: Keeper, *, hold_on: bool) -> None:
        self.keeper = keeper
        self._hold = hold
        self._hold_on = hold_on
        self._images = plan.images
        in_ceph = any(image.kind == "rbd" for image in plan.images)
        self._cluster = plan.cluster if in_ceph else None
        # A copy of an epoch that etcd has left behind was dealt with when that epoch ended.
        recent = (clients for epoch, clients in plan.copies.items() if epoch >= hold.epoch - 1)
        self._suspects = hold.suspects.union(*recent)
        self._before: frozenset[str] = frozenset()
        self._ours: frozenset[str] = frozenset()

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

    def _round(self, cluster: Cluster, done: set[str]) -> frozenset[str]:
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

    def admit_ourselves(self) -> None:
        """Our own storage process may write from now on: it goes into the record first."""
        if self._hold.timed:
            self._hold.record(self._images, self._ours)
        if self._cluster is None:
            return
        self._before = self._cluster.clients().watchers
        self._ours = frozenset({self._cluster.own_address()})
        self._hold.record(self._images, self._ours)

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

    def admit_qemu(self, version: str) -> None:
        """QEMU's clients, in the images and in etcd. After this it may `cont`."""
        if self._cluster is not None:
            self._ours |= self._newcomers(self._cluster)
            self._cluster.keep_copy(self._hold.epoch, self._ours)
        self._hold.record(self._images, self._ours)
        self.keeper.running(version, hold_on=self._hold_on)

    def _newcomers(self, cluster: Cluster) -> frozenset[str]:
        """One client for each image that QEMU has open for writing."""
        until = time.monotonic() + OPENING
        while not cluster.open_for_writing(self._before):
            if time.monotonic() > until:
                raise OwnershipLost("QEMU's clients do not show up in Ceph")
            time.sleep(0.02)
        return cluster.clients().watchers - self._before


def _strangers(addresses: frozenset[str]) -> Strangers:
    named = ", ".join(sorted(addresses))
    return Strangers(
        f"{named} has an image of this VM open for writing, and no record names it",
        hint="end that client (a backup, `rbd map`, an old QEMU), or shut it out for good: "
        "ceph osd blocklist add ADDRESS 31536000",
    )
