"""Shutting out whoever may still write to this VM's images (docs/ownership.md, steps 3 to 6).

An image belongs to who has put his claim into it; nobody is shut out before that. Ceph's blocklist is
the barrier: a client on it cannot write any more, alive, paused or cut off. Addresses come from the
record in etcd, from the claims in the images, and from locks whose holder watches no more. A client
that watches and stands in no record is somebody else: a backup, an
administrator's `rbd map`, the old image's QEMU. It is waited for, named, and never shut out.
"""

import contextlib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.errors import HoldfastError, LockHeld, OwnershipLost
from holdfast.ownership.keepalive import KeepAlive
from holdfast.ownership.lock import Hold
from holdfast.ownership.records import ImageKind, of_kind
from holdfast.ownership.takeover import Disks
from holdfast.runtime.events import Events
from holdfast.storage import local
from holdfast.storage.image_claim import claimant, clients_of, decoded, encode

if TYPE_CHECKING:
    from holdfast.storage.ceph.cluster import Clients, Cluster
    from holdfast.storage.file_claim import ClaimsBeside

# An entry must stand as long as the client may exist: one that runs out lets a frozen writer back in.
YEAR = 31_536_000
HOUR = 3600  # for a process that was reaped: only what it had sent may still arrive
ROUNDS = 5
PATIENCE = 40.0  # seconds; a client that died by itself is seen for 30 (osd_client_watch_timeout)
REGAIN = 1.0  # seconds between two looks at a lock that is not ours for now
OPENING = 10.0  # seconds until Ceph shows that QEMU has its images open


class Strangers(LockHeld):
    """A client that no record names has an image of this VM open."""


class Fencing:
    """What stands between this VM's disks and everybody else who may write to them.

    Without images in Ceph there is nobody to shut out: the kernel guards local files.

    `_writers` are those of us whom the record names. A client leaves it only when it has closed its
    disks by itself or is on the blocklist: what a dead one had under way may arrive at any later time.
    """

    def __init__(self, plan: Disks, hold: Hold, keepalive: KeepAlive, *, hold_on: bool) -> None:
        self.keepalive = keepalive
        self._plan = plan
        self.hold = hold
        self._hold_on = hold_on
        self._images = plan.images
        in_ceph = any(image.kind is ImageKind.rbd for image in plan.images)
        self._cluster = plan.cluster if in_ceph else None
        self._suspects = hold.taken.suspects
        self._heard = hold.taken.heard
        self._copied = frozenset(one for copy in plan.copies.values() for one in copy)
        self._own = ""  # our storage process,
        self._closed = False  # which has done its work
        self._qemu: frozenset[str] = frozenset()
        self._writers: frozenset[str] = frozenset()
        self._opening = OPENING
        self._shut: frozenset[str] = frozenset()  # whom we have shut out ourselves
        self._settled = False  # of those before us nobody is left who may write
        self._claims = of_kind(ImageKind.rbd, plan.claims)
        self._beside = beside(plan)
        self._claimed: set[str] = set()  # what of ours may stand there
        self._opened = False  # a QEMU of ours was started, and has not closed its disks by itself

    # -- those before us

    def claim(self) -> None:
        """The images are ours by their own word, before anybody is shut out because of them. Raises LockHeld
        where somebody else was quicker.
        """
        if self._beside:
            self._beside.put(encode(self.hold.image_claim(frozenset())))
        if self._cluster is None:
            return
        before = decoded({image: text for image, text in self._claims.items() if text})
        self._suspects |= clients_of(before)
        self._own = self._cluster.own_address()
        self._put_claim(self._cluster, self._suspects | {self._own})

    def _put_claim(self, cluster: "Cluster", clients: frozenset[str]) -> None:
        ours = encode(self.hold.image_claim(clients))
        self._claimed.add(ours)
        found = cluster.swap_claims(self._claims, ours)
        self._claims |= {image: text for image, text in found.items() if text == ours}
        if theirs := {image: text for image, text in found.items() if text != ours}:
            image, text = next(iter(theirs.items()))
            raise LockHeld(f"{image} was claimed meanwhile by {claimant(text)}")
        self._claimed = {ours}  # in all of them, in place of what stood there

    def claim_made(self) -> None:
        """Volumes that were made after the others were claimed, with this claim in them: it is read back."""
        in_ceph = sum(image.kind is ImageKind.rbd for image in self._images)
        if self._cluster is not None and len(self._claims) < in_ceph:
            self._put_claim(self._cluster, self._suspects | {self._own})

    def shut_out(self, events: Events) -> None:
        """Raises Strangers, or what keeps us from being sure; the record stays in that case."""
        if self.hold.taken.outlast:
            self._outlast(events)
        if self._cluster is not None:
            self._wait_out(self._cluster, events)
        self._settled = True

    def _wait_out(self, cluster: "Cluster", events: Events) -> None:
        until = time.monotonic() + PATIENCE
        while strangers := self._round(cluster):
            if time.monotonic() > until:
                raise _strangers(self._plan.machine.vm, strangers)
            log.debug(f"waiting for {', '.join(sorted(strangers))} to close an image of this VM")
            events.sleep(time.monotonic() + 1.0)
        if self._shut:
            cluster.break_locks(self._shut)

    def _outlast(self, events: Events) -> None:
        """Whom only time stops has ended before its lease did. It gets as long again, for a clock or
        a leader of etcd that lagged behind.
        """
        seconds = self.hold.session.times.ttl
        log.info(f"the last owner's disks are guarded by time only: waiting {seconds:g} s more")
        events.sleep(time.monotonic() + seconds)
        self.keepalive.confirm()

    def _round(self, cluster: "Cluster") -> frozenset[str]:
        """Shut out all that is known and new, until nothing new is found. Returns who else watches."""
        for _ in range(ROUNDS):
            clients = cluster.clients()
            dead = clients.lockers - clients.watchers
            found = (self._suspects | dead | self._believed(clients)) - self._shut
            if not found:
                return clients.watchers - self._shut
            # A taker that slept since it gathered these must not hit a newer owner.
            self.keepalive.confirm()
            if not cluster.blocklist(found, YEAR, self._ours()):
                raise OwnershipLost("an image of this VM was claimed by a newer owner")
            self._shut |= found
            log.info("shut out of Ceph", clients=" ".join(sorted(found)))
        raise Strangers("new clients of this VM's images turn up as fast as they are shut out")

    def _believed(self, clients: "Clients") -> frozenset[str]:
        """Whom an older launcher's record named, in a place where a tenant may have written it: of those only who
        is known to the images themselves. Whom their claims name is a suspect anyway. What is left of such
        launchers' copies in the metadata is dropped at the end of the first start that succeeds.
        """
        return self._heard & (clients.watchers | clients.lockers | self._copied)

    def _ours(self) -> str:
        return next(iter(self._claims.values()), "")

    # -- ourselves

    def admit_ourselves(self) -> None:
        """Our own storage process may write from now on: it goes into the record first."""
        if self.hold.taken.timed:
            self.hold.record(self._images, self._writers)
        if self._cluster is None:
            return
        self._own = self._own or self._cluster.own_address()
        self._writers |= {self._own}
        self.hold.record(self._images, self._writers)

    def admit_writes(self) -> None:
        """Before anything is written where only time guards; QEMU writes to a qcow2 as it opens it."""
        if self.hold.taken.timed and self.keepalive.in_doubt():
            raise OwnershipLost("the lease could not be renewed while the VM was being started")

    def admit_opening(self, opened: Mapping[str, int]) -> None:
        """Before QEMU is started with these descriptors of its disks, by name. Raises LockHeld where our claim does not
        stand beside one of them.
        """
        self.admit_writes()
        if self._beside:
            for name, path in self._plan.identities.beside.items():
                self._beside.require(path, opened[name])
        self._opened = True

    def guarded(self, pid: int, events: Events, stack: ExitStack) -> None:
        """Before the guest runs where only time guards: who kills QEMU if we cannot is there."""
        if not self.hold.taken.timed:
            return
        from holdfast.ownership.guard import Guard  # noqa: PLC0415 - for disks that only time guards

        guard = stack.enter_context(Guard(pid, self.keepalive.last_resort(), events))
        self.keepalive.guarded_by(guard.feed)

    def admit_qemu(self, version: str, pinned: bytes = b"") -> None:
        """QEMU's clients, in the images and in etcd. After this it may `cont`."""
        if self._cluster is not None:
            self._qemu = self._openers(self._cluster)
            self._writers |= self._qemu
            # Our storage process has been answered all that it was asked: it has nothing under way.
            self._put_claim(self._cluster, self._writers - {self._own})
            if self._plan.copies:
                self._cluster.drop_copies()
            self.close()
        self.hold.record(self._images, self._writers, pinned)
        self.hold.has_run = True
        self.keepalive.running(version, hold_on=self._hold_on)

    def _openers(self, cluster: "Cluster") -> frozenset[str]:
        """Who has the images open: QEMU, and nobody else. Whoever opens an image before he looks, as we do, is
        seen by the other; so of two that come together at least one goes again, whatever the other is.
        """
        until = time.monotonic() + self._opening
        found = self._watchers(cluster)
        while not all(len(one) == 1 for one in found):
            if time.monotonic() > until:
                raise Strangers(
                    "QEMU has the images of this VM open, and somebody else, or not even QEMU"
                )
            time.sleep(0.02)
            found = self._watchers(cluster)
        return frozenset().union(*found)

    def _watchers(self, cluster: "Cluster") -> list[frozenset[str]]:
        return [one - self._shut for one in cluster.watchers()]

    def name_strangers(self) -> Strangers | None:
        """Who else has the images open, now that our QEMU has closed them."""
        found = self._watchers(self._cluster) if self._cluster is not None else []
        there = frozenset().union(*found)
        return _strangers(self._plan.machine.vm, there) if there else None

    def close(self) -> None:
        """Our storage process has done its work. One that had to be killed stays a writer."""
        if self._cluster is not None and not self._closed and self._cluster.close():
            self._writers -= {self._own}
        self._closed = True

    # -- a start that failed

    def withdraw(self, *, in_use: bool) -> None:
        """Before the guest ran, and with QEMU gone: whoever has closed leaves the record, and where nobody is left
        who may write, nothing of this start stays. Nobody is shut out for it. `in_use`: another QEMU has a
        disk of ours, and what its owner left must stay.
        """
        self._settled &= not (in_use or self._in_use())
        if self._cluster is None or self._has_left(self._cluster):
            sure = not (self.hold.taken.timed and self._opened)
            self.hold.settled = self._settled and not self._writers and sure
        if self._beside and not self.hold.recorded:
            self._beside.drop()

    def _in_use(self) -> bool:
        """A QEMU has a file of ours open: one of those before us, or a dead one whose last write is under way."""
        try:
            return any(map(local.locked, self._plan.disks))
        except OSError:
            return True  # nobody can say

    def _has_left(self, cluster: "Cluster") -> bool:
        """Whether all is said in Ceph, and in the record, of who is left there."""
        recorded = self._writers
        try:
            # The old process may owe an answer, or be dead. Claims need no place in the record: any process will do.
            self._connect(closed=False)
            self._give_up_claims(self._cluster or cluster)
        except HoldfastError as error:
            log.warning(f"the claims of this start stay in the images: {error.message}")
            return False
        finally:
            self.close()
        if self._writers and self._writers != recorded:
            with contextlib.suppress(HoldfastError):  # then one more is shut out than need be
                self.hold.record(self._images, self._writers)
        return True

    def _give_up_claims(self, cluster: "Cluster") -> None:
        nobody = self._settled or not (self._suspects or self.hold.recorded)
        if nobody and not self._writers:
            cluster.drop_claims(self._claimed)
        elif self._claimed:
            before = frozenset() if self._settled else self._suspects
            self._put_claim(cluster, self._writers | before)

    def dismissed(self) -> None:
        """QEMU has closed its disks by itself."""
        self._opened = False
        self._writers -= self._qemu

    # -- our dead

    def bury(self, *, closed: bool, events: Events) -> None:
        """QEMU has ended and is started again in place: its last writes must not arrive behind those of
        the next one. All of it waits until the lock is ours.
        """
        self._opening = (
            PATIENCE  # one that was killed before the record named it is seen for half a minute
        )
        self._connect(closed=closed)
        self._regain(events)
        if self.hold.taken.timed and not closed:
            self._outlast(events)
        self._opened = False
        if self._cluster is not None:
            self._silence(self._cluster)
            self.admit_ourselves()

    def part(self, *, closed: bool) -> bool:
        """Whether nobody whom the record names may write any more, so that it can be deleted. The claims in
        the images go, too. A claim is dropped by comparing it, so who does it needs no place in the record.
        """
        try:
            self._connect(closed=closed)
            if self._cluster is not None:
                self._silence(self._cluster)
                self._cluster.drop_claims(self._claimed)
        except HoldfastError as error:
            log.warning(f"the next owner may have somebody to shut out of Ceph: {error.message}")
            return False
        finally:
            self.close()
        nobody = not self._writers and (closed or not self.hold.taken.timed)
        if nobody and self._beside:
            self._beside.drop()
        return nobody

    def _connect(self, *, closed: bool) -> None:
        if closed:
            self._writers -= self._qemu
        self.close()
        if self._cluster is not None and self._plan.ceph is not None:
            from holdfast.storage.ceph.cluster import Cluster  # noqa: PLC0415 - for those who have a Ceph

            self._cluster = Cluster(self._plan.disks, self._plan.ceph)
            self._own, self._closed = "", False

    def _silence(self, cluster: "Cluster") -> None:
        """Whoever of us has not closed its disks by itself."""
        if self._writers:
            cluster.blocklist(self._writers, HOUR)
            cluster.break_locks(self._writers)
            log.info("shut out of Ceph", clients=" ".join(sorted(self._writers)))
        self._shut |= self._writers
        self._writers = frozenset()

    def _regain(self, events: Events) -> None:
        while not self.keepalive.holds():
            events.sleep(time.monotonic() + REGAIN)


def beside(plan: Disks) -> "ClaimsBeside | None":
    paths = plan.identities.beside
    if not paths:
        return None
    from holdfast.storage.file_claim import ClaimsBeside  # noqa: PLC0415 - for those who share a folder

    claims = {image.disk: plan.claims.get(image.id, "") for image in plan.images}
    return ClaimsBeside({path: claims[name] for name, path in paths.items()})


def _strangers(vm: str, addresses: frozenset[str]) -> Strangers:
    from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

    named = ", ".join(sorted(addresses))
    return Strangers(
        f"{named} has an image of this VM open for writing, and no record names it",
        hint="it may be a healthy VM of another etcd, an old QEMU, a backup, `rbd map`: `rbd status` of the image lists "
        "it. End it there. Only if it is dead for certain: "
        + "; ".join(
            command(f"holdfast fence shut-out {vm} --address {one} --yes")
            for one in sorted(addresses)
        ),
    )
