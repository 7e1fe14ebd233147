"""Taking a VM, holding it, letting it go: the protocol of docs/ownership.md against etcd.

Each write compares what it must not overwrite. A reply that got lost is settled by reading back:
"not succeeded" may be our own first copy.
"""

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from holdfast.dataclass import replace
from holdfast.errors import OwnershipLost, Unreachable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Delete, Item, Operation, Put, Range, Reply, Unchanged, written_by
from holdfast.host import Host
from holdfast.ownership import legacy
from holdfast.ownership.lease import LeaseTimes
from holdfast.ownership.names import Names
from holdfast.ownership.records import (
    Claim,
    FencingRecord,
    Image,
    ImageKind,
    Lock,
    claimed_by,
    clients_of,
    encode,
    left_to_time,
    tree_of,
)
from holdfast.ownership.takeover import Takeover, belongs_to, claimant, take_over
from holdfast.ownership.verdict import Standing, Verdict, judge
from holdfast.runtime.clock import boottime
from holdfast.storage.image_claim import ImageClaim


def attempt(host: Host) -> Lock:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Lock(id=str(uuid.uuid4()), host=host.name, boot_id=host.boot_id, since=since)


class Hold:
    """A VM that is ours. Its methods may be called by the keep-alive and by the supervisor."""

    def __init__(self, store: Store, names: Names, host: Host, ttl: int) -> None:
        self.store = store
        self.names = names
        self.times = LeaseTimes.of(ttl, len(store.endpoints))
        self.epoch = 0
        self.lease = 0
        self.standing = Standing(lock=0, epoch=0)
        self.tree = ""  # the id of the tree of keys
        self.has_run = False  # its guest, under this lock
        self.tpm: Callable[[], bytes] = bytes  # its record as it is now, b"" for a VM without one
        self.settled = False  # no record needs to stay: see Fencing.withdraw
        self._host = host
        self._confirmed = 0.0  # when the last good renewal was sent
        self._fence = 0
        self._recorded = b""  # what stands there
        self._unanswered: set[bytes] = set()  # records whose reply was lost
        self._claims: dict[str, int] = {}
        self._left: frozenset[str] = frozenset()  # claims on what an earlier owner had open
        self._addresses: tuple[str, ...] = ()  # of the LAN, that are to be ours alone
        self._stale: dict[str, int] = {}  # those of them that the VM's keys name no more
        self._known_volumes: Sequence[Put] = ()
        self._volumes: list[Put] = []  # their records, which go along with the next one of ours
        self._former: dict[
            str, int
        ] = {}  # the tombstones where older launchers kept their records
        self._spent: Sequence[str] = ()  # and what was moved from there, and is secret
        self.suspects: frozenset[str] = frozenset()  # storage clients of those before us
        self.heard: frozenset[str] = frozenset()  # and who was such a one, if it is true
        self.timed = False  # only time guards a disk of ours,
        self.outlast = False  # or one that somebody before us may still write to
        self._turn = threading.RLock()

    # -- taking

    def take(
        self,
        seen: Reply,
        images: Sequence[Image],
        addresses: Iterable[str] = (),
        volumes: Iterable[Unchanged] = (),
    ) -> Reply | None:
        """Step 1: the lock, if nothing that made us eligible has changed since `seen`.

        Returns the claims as they stand, or None when somebody else has won.
        """
        names = self.names
        judged = (names.epoch, names.fence, names.host, names.power, names.tpm)
        compare = [Unchanged(key=key, revision=seen.revision_of(key)) for key in judged]
        compare += volumes
        self._fence = seen.revision_of(names.fence)
        left = legacy.fences(seen, names)
        self.suspects = clients_of(seen.items.get(names.fence))
        self.heard = legacy.heard(seen, names)
        self.timed = any(image.kind is ImageKind.shared for image in images)
        self.outlast = any(map(left_to_time, left))
        self._addresses = tuple(addresses)
        self._left = frozenset(names.claims + one for item in left for one in claimed_by(item))
        compare += legacy.move(seen, names).compare
        keys = self._left.union(map(self._claim_key, images), self._alone())
        named, new = self._tree(seen)
        return self._lock([*compare, *named], new, [Range(key=key) for key in sorted(keys)])

    def _tree(self, seen: Reply) -> tuple[list[Unchanged], list[Put]]:
        """The tree of keys gets its id from the first that takes a VM of it."""
        self.tree = tree_of(seen, self.names)
        if self.tree:
            return [], []
        self.tree = str(uuid.uuid4())
        key = self.names.tree
        return [Unchanged(key=key, revision=0)], [Put(key=key, value=self.tree.encode())]

    def _lock(
        self, compare: Iterable[Unchanged], puts: Sequence[Put], reads: Sequence[Range]
    ) -> Reply | None:
        owner = encode(attempt(self._host))
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

    def raise_epoch(self, seen: Reply) -> None:
        """Step 2: from here on all that an earlier owner still sends fails its compare, and no older launcher
        takes the VM any more. What one has left is moved by the same transaction, or not at all.
        """
        names, move = self.names, legacy.move(seen, self.names)
        self.epoch = legacy.epoch(seen, names) + 1
        read = [names.epoch, *([names.fence] if move.fence else [])]
        compare = [Unchanged(key=key, revision=seen.revision_of(key)) for key in read]
        written = self._write(
            [*compare, *move.compare],
            [Put(key=names.epoch, value=str(self.epoch).encode()), *move.puts],
        )
        self.standing = replace(self.standing, epoch=written[names.epoch], number=self.epoch)
        self._fence = written.get(names.fence, self._fence)
        self._recorded, self._spent = move.fence, move.spent
        self._mark(seen, written)

    def _mark(self, seen: Reply, written: Mapping[str, int]) -> None:
        """When the tombstones were written."""
        there = legacy.places(seen, self.names)
        self._former = {one.key: written.get(one.key, one.revision) for one in there}

    def claim(
        self,
        images: Sequence[Image],
        claims: Reply,
        in_images: Mapping[str, ImageClaim] | None = None,
        volumes: Iterable[Put] = (),
    ) -> None:
        """Step 2: the disks are this VM's, before anybody is fenced because of them. `in_images` are the
        claims that stand in Ceph, by the id of the image; `volumes` the records of those that are about
        to be made.
        """
        compare: list[Unchanged] = []
        puts: list[Put] = [*volumes]
        takeovers: dict[str, Takeover] = {}  # by VM: it may have left several disks
        for image in images:
            key = self._claim_key(image)
            item = claims.items.get(key)
            compare.append(Unchanged(key=key, revision=claims.revision_of(key)))
            puts.append(Put(key=key, value=self._claim_value()))
            there = (in_images or {}).get(image.id)
            for owner in (claimant(item, image) if item else None, there):
                if owner and owner.vm not in (self.names.vm, *takeovers):
                    takeovers[owner.vm] = take_over(
                        self.store, self.names, self._host, image, owner
                    )
        for key in self._alone():
            compare.append(Unchanged(key=key, revision=claims.revision_of(key)))
            puts.append(Put(key=key, value=self._claim_value()))
        for takeover in takeovers.values():
            compare += takeover.compare
            puts += takeover.puts
            self.suspects |= takeover.suspects
            self.heard |= takeover.heard
            self.outlast |= takeover.outlast
        if any(one.suspects or one.heard or one.outlast for one in takeovers.values()):
            compare.append(Unchanged(key=self.names.fence, revision=self._fence))
            self._recorded = encode(self._record(images, self.suspects, self.heard))
            puts.append(Put(key=self.names.fence, value=self._recorded))
        written = self._write([*self._ours(), *compare], puts) if puts else {}
        self._claims = {
            key: written[key] for key in (*map(self._claim_key, images), *self._alone())
        }
        self._fence = written.get(self.names.fence, self._fence)
        self._stale = {
            key: item.mod_revision
            for key, item in claims.items.items()
            if key in self._left - self._claims.keys() and belongs_to(item, self.names.vm)
        }

    def record(
        self, images: Sequence[Image], clients: frozenset[str], pinned: bytes = b""
    ) -> None:
        """Steps 4 and 6: who may be writing from now on. Only after this may they. `pinned` goes along."""
        with self._turn:
            self._read_back()
            fence = Unchanged(key=self.names.fence, revision=self._fence)
            put = Put(key=self.names.fence, value=encode(self._record(images, clients)))
            stale = [Unchanged(key=key, revision=at) for key, at in self._stale.items()]
            compare = [*self._ours(), fence, *self._claimed(), *stale]
            self._unanswered.add(put.value)
            puts = [put, *([Put(key=self.names.pinned, value=pinned)] if pinned else [])]
            puts += self._volumes
            written = self._write(compare, puts, [Delete(key=key) for key in self._stale])
            self._fence, self._stale, self._volumes = written[self.names.fence], {}, []
            self._recorded = put.value
            self._unanswered.clear()  # a late copy of one of them compares an older revision

    def remember(self, volumes: Sequence[Put], new: Iterable[Put]) -> None:
        """The VM's volumes, all there now: what is `new` of their records is written with the record that lets a
        guest run on them.
        """
        self._known_volumes, self._volumes = volumes, [*new]

    def _read_back(self) -> None:
        """A record whose reply was lost may stand there now, or come late: nothing that compares
        `fence` would ever succeed again. While the epoch is ours, nobody but us has written it.
        """
        if not self._unanswered:
            return
        names = self.names
        reply = self.store.read(Range(key=names.fence), Range(key=names.epoch))
        item = reply.items.get(names.fence)
        ours = reply.revision_of(names.epoch) == self.standing.epoch
        if ours and item and item.value in self._unanswered:
            self._fence, self._stale, self._recorded = item.mod_revision, {}, item.value

    def _record(
        self,
        images: Sequence[Image],
        clients: frozenset[str],
        heard: frozenset[str] = frozenset(),
    ) -> FencingRecord:
        return FencingRecord(
            epoch=self.epoch,
            host=self._host.name,
            boot_id=self._host.boot_id,
            machine_id=self._host.machine_id,
            images=tuple(images),
            clients=tuple(sorted(clients)),
            heard=tuple(sorted(heard)),
            addresses=self._addresses,
            tree=self.tree,
        )

    def image_claim(self, clients: frozenset[str]) -> ImageClaim:
        """What is to stand in our images in Ceph."""
        return ImageClaim(
            tree=self.tree,
            prefix=self.names.prefix,
            vm=self.names.vm,
            lock=self.names.lock,
            epoch=self.epoch,
            host=self._host.name,
            clients=tuple(sorted(clients)),
        )

    # -- holding

    def renew(self) -> bool:
        """Renew the lease. False: it is gone, and perhaps the lock with it."""
        sent = boottime()
        if not self.store.keep_alive(self.lease):
            return False
        # A leader of etcd that has been replaced and does not know it may still renew a lease.
        if self.timed and self.look()[0] is not Verdict.held:
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
        """When QEMU must be dead, where only time guards its disks."""
        return self._confirmed + self.times.last_resort

    def in_doubt(self) -> bool:
        return boottime() > self.deadline()

    def look(self) -> tuple[Verdict, Reply]:
        """A linearizable read of what makes us the owner."""
        with self._turn:
            names = self.names
            keys = (names.lock, names.epoch, names.power, names.legacy.epoch)
            reply = self.store.read(*(Range(key=key) for key in keys))
            return judge(reply, self.names, self.standing), reply

    def take_again(self) -> bool:
        """The lock is gone and the epoch still ours: nobody else has started. A new lease, a new lock."""
        with self._turn:
            self._read_back()
            epoch = Unchanged(key=self.names.epoch, revision=self.standing.epoch)
            fence = Unchanged(key=self.names.fence, revision=self._fence)
            marks = [Unchanged(key=key, revision=at) for key, at in self._former.items()]
            return self._lock([epoch, fence, *marks, *self._claimed()], [], []) is not None

    def restore(self) -> bool:
        """For an etcd that knows less than we: its data was lost, or is of a time before we took the VM, or
        before our record. Our records go back. Nobody newer can be hidden by it: the epoch that stands
        there is not above ours, and nobody holds the lock; whoever is about to take the VM fails its
        compares. False: not now.
        """
        with self._turn:
            names = self.names
            keys = (names.lock, names.epoch, names.fence, names.tree, *self._former, *self._claims)
            seen = self.store.read(*(Range(key=key) for key in keys))
            if not self._may_restore(seen):
                return False
            compare = [Unchanged(key=key, revision=seen.revision_of(key)) for key in keys[1:]]
            puts = self._lost(seen)
            if self._lock(compare, puts, []) is None:
                return False
            at = self.standing.lock  # all of one transaction have its revision
            self.standing = replace(self.standing, epoch=at)
            self._fence = at if self._recorded else seen.revision_of(names.fence)
            self._claims = dict.fromkeys(self._claims, at)
            self._mark(seen, {put.key: at for put in puts})
            self._stale, self._unanswered = {}, set()
            return True

    def _may_restore(self, seen: Reply) -> bool:
        if judge(seen, self.names, self.standing) not in (Verdict.outdated, Verdict.vacant):
            return False
        lock = seen.items.get(self.names.lock)
        if lock is not None and lock.value == self.standing.owner:
            self.store.revoke(lock.lease)  # our own stands there again, restored with its lease
            lock = None
        return lock is None and all(self._may_claim(seen.items.get(key)) for key in self._claims)

    def _lost(self, seen: Reply) -> list[Put]:
        names = self.names
        tree = [] if names.tree in seen.items else [Put(key=names.tree, value=self.tree.encode())]
        record = [Put(key=names.fence, value=self._recorded)] if self._recorded else []
        claims = [Put(key=key, value=self._claim_value()) for key in self._claims]
        epoch = Put(key=names.epoch, value=str(self.epoch).encode())
        tpm = [Put(key=names.tpm, value=stored)] if (stored := self.tpm()) else []
        marks = legacy.tombstones(seen, names)
        return [epoch, *record, *claims, *tree, *tpm, *self._known_volumes, *marks]

    def _may_claim(self, item: Item | None) -> bool:
        return item is None or belongs_to(item, self.names.vm)

    def publish(self, status: bytes) -> None:
        """For operators; it goes with the lease."""
        put = Put(key=self.names.status, value=status, lease=self.lease)
        self.store.txn([Unchanged(key=self.names.lock, revision=self.standing.lock)], [put])

    def keep_tpm(self, record: bytes) -> None:
        with self._turn:
            self._write(self._ours(), [Put(key=self.names.tpm, value=record)])

    # -- letting go

    def release(
        self,
        last: bytes,
        *,
        clean: bool,
        power_off: bool = False,
        tpm: bytes = b"",
        unmade: Iterable[str] = (),
    ) -> None:
        """Give the VM away. Without `clean` the records stay, for the next owner to judge. `unmade` are the records
        of volumes that have not come into being.
        """
        with self._turn:
            self._regain(self.look()[0])
            parting: list[Operation] = [Put(key=self.names.last, value=last)]
            parting += [Delete(key=key) for key in unmade]
            if tpm:
                parting.append(Put(key=self.names.tpm, value=tpm))
            if power_off:
                parting.append(Put(key=self.names.power, value=b"off"))
            compare = [*self._ours(), *self._claimed()]
            if clean:  # and what an earlier owner has left on other disks, where no record of ours came over it
                compare += [Unchanged(key=key, revision=at) for key, at in self._stale.items()]
                gone = (self.names.fence, *self._claims, *self._stale, *self._spent)
                parting += [Delete(key=key) for key in gone]
            reads = [
                Range(key=key) for key in (self.names.epoch, self.names.fence, self.names.last)
            ]
            reply = self.store.txn(compare, parting, reads)
            self._settle(reply, last)
            self.abandon()

    def _regain(self, verdict: Verdict) -> None:
        if verdict is Verdict.vacant and self.take_again():
            return
        if verdict in (Verdict.vacant, Verdict.outdated) and not self.restore():
            raise Unreachable(
                "etcd's data is older than this VM, and somebody holds its lock there"
            )

    def _settle(self, reply: Reply, last: bytes) -> None:
        """Only `last` as we put it tells that the release was done; the lock may just have run out."""
        if reply.succeeded:
            return
        if judge(reply, self.names, self.standing) is Verdict.lost:
            raise OwnershipLost("another owner has taken the VM")
        item = reply.items.get(self.names.last)
        if item is None or item.value != last:
            raise Unreachable("the lock ran out while the VM was given away")

    @property
    def recorded(self) -> bool:
        """A record is there that must stay: an earlier owner's that did not stop cleanly, or ours."""
        return self._fence != 0 and not self.settled

    def abandon(self) -> None:
        """Let the lock go and leave every record as it is."""
        self.store.revoke(self.lease)

    # -- compares

    def _ours(self) -> list[Unchanged]:
        return [
            Unchanged(key=self.names.lock, revision=self.standing.lock),
            Unchanged(key=self.names.epoch, revision=self.standing.epoch),
        ]

    def _claimed(self) -> list[Unchanged]:
        return [Unchanged(key=key, revision=revision) for key, revision in self._claims.items()]

    def _write(
        self, compare: Sequence[Unchanged], puts: Sequence[Put], drops: Sequence[Delete] = ()
    ) -> dict[str, int]:
        """Put and drop what only the owner may. Returns the revision of each key that was put."""
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

    def _claim_key(self, image: Image) -> str:
        return self.names.claims + image.id

    def _alone(self) -> list[str]:
        return [self.names.claims + one for one in self._addresses]

    def _claim_value(self) -> bytes:
        return encode(
            Claim(
                vm=self.names.vm,
                lock=self.names.lock,
                epoch=self.epoch,
                machine_id=self._host.machine_id,
            )
        )
