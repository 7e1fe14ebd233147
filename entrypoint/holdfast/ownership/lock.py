"""Holding a VM, and letting it go: the protocol of docs/ownership.md against etcd, once the VM is taken.

Each write compares what it must not overwrite. A reply that got lost is settled by reading back:
"not succeeded" may be our own first copy.
"""

from collections.abc import Callable, Iterable, Sequence

from holdfast.dataclass import replace
from holdfast.errors import OwnershipLost, Unreachable
from holdfast.etcd.txn import Delete, Item, Operation, Put, Range, Reply, Unchanged
from holdfast.ownership import legacy
from holdfast.ownership.records import Image
from holdfast.ownership.session import Session
from holdfast.ownership.takeover import belongs_to
from holdfast.ownership.taking import Taken
from holdfast.ownership.verdict import Verdict, judge
from holdfast.storage.image_claim import ImageClaim


class Hold:
    """A VM that is ours. Its methods may be called by the keep-alive and by the supervisor.

    `tpm` tells the record of its TPM as it is now, b"" for a VM without one.
    """

    def __init__(self, session: Session, taken: Taken, tpm: Callable[[], bytes] = bytes) -> None:
        self.session = session
        self.taken = taken
        self.has_run = False  # its guest, under this lock
        self.settled = False  # no record needs to stay: see Fencing.withdraw
        self._names = session.names
        self._tpm = tpm
        self._recorded = taken.record  # what stands in the record
        self._unanswered: set[bytes] = set()  # records whose reply was lost
        self._known_volumes: Sequence[Put] = ()
        self._volumes: list[Put] = []  # their records, which go along with the next one of ours

    # -- holding

    def record(
        self, images: Sequence[Image], clients: frozenset[str], pinned: bytes = b""
    ) -> None:
        """Steps 4 and 6: write who may be writing from now on. Only after this may they. `pinned` goes along.

        Raises OwnershipLost where the VM is not ours any more.
        """
        with self.session.turn:
            self._read_back()
            names, standing = self._names, self.session.standing
            put = Put(key=names.fence, value=self._record(images, clients))
            fence = Unchanged(key=names.fence, revision=standing.fence)
            compare = [*standing.ours(names), fence, *standing.claimed(), *standing.outlived()]
            self._unanswered.add(put.value)
            puts = [put, *([Put(key=names.pinned, value=pinned)] if pinned else [])]
            puts += self._volumes
            drops = [Delete(key=key) for key in standing.stale]
            written = self.session.write(compare, puts, drops)
            self._stands(written[names.fence], put.value)
            self._volumes = []
            self._unanswered.clear()  # a late copy of one of them compares an older revision

    def _record(self, images: Sequence[Image], clients: frozenset[str]) -> bytes:
        return self.taken.fencing_record(self.session.host, images, clients)

    def _stands(self, revision: int, record: bytes) -> None:
        """A record of ours came over whatever stood there, and what an earlier owner had claimed is gone."""
        self.session.standing = replace(self.session.standing, fence=revision, stale={})
        self._recorded = record

    def remember(self, volumes: Sequence[Put], new: Iterable[Put]) -> None:
        """Know the VM's volumes, all there now: what is `new` of their records is written with the record that lets a
        guest run on them.
        """
        self._known_volumes, self._volumes = volumes, [*new]

    def _read_back(self) -> None:
        """A record whose reply was lost may stand there now, or come late: nothing that compares
        `fence` would ever succeed again. While the epoch is ours, nobody but us has written it.
        """
        if not self._unanswered:
            return
        names = self._names
        reply = self.session.store.read(Range(key=names.fence), Range(key=names.epoch))
        item = reply.items.get(names.fence)
        ours = reply.revision_of(names.epoch) == self.session.standing.epoch
        if ours and item and item.value in self._unanswered:
            self._stands(item.mod_revision, item.value)

    def image_claim(self, clients: frozenset[str]) -> ImageClaim:
        """Word what is to stand in our images in Ceph."""
        names = self._names
        return ImageClaim(
            tree=self.taken.tree,
            prefix=names.prefix,
            vm=names.vm,
            lock=names.lock,
            epoch=self.taken.epoch,
            host=self.session.host.name,
            clients=tuple(sorted(clients)),
        )

    def take_again(self) -> bool:
        """Take the lock again, with a new lease, where it is gone and the epoch still ours: nobody else has started."""
        with self.session.turn:
            self._read_back()
            compare = self.session.standing.undisputed(self._names)
            return self.session.lock(compare) is not None

    def restore(self) -> bool:
        """Put our records back into an etcd that knows less than we: its data was lost, or is of a time before we took
        the VM, or before our record. Nobody newer can be hidden by it: the epoch that stands there is not
        above ours, and nobody holds the lock; whoever is about to take the VM fails its compares.
        False: not now.
        """
        with self.session.turn:
            names, was = self._names, self.session.standing
            known = (names.epoch, names.fence, names.tree, *was.marks, *was.claims)
            seen = self.session.store.read(*(Range(key=key) for key in (names.lock, *known)))
            if not self._may_restore(seen):
                return False
            puts = self._lost(seen)
            if self.session.lock(seen.unchanged(known), puts) is None:
                return False
            at = self.session.standing.lock  # all of one transaction have its revision
            self.session.standing = replace(
                self.session.standing,
                epoch=at,
                fence=at if self._recorded else seen.revision_of(names.fence),
                claims=dict.fromkeys(was.claims, at),
                marks=legacy.marks(seen, names, {put.key: at for put in puts}),
                stale={},
            )
            self._unanswered = set()
            return True

    def _may_restore(self, seen: Reply) -> bool:
        names, ours = self._names, self.session.standing
        if judge(seen, names, ours) not in (Verdict.outdated, Verdict.vacant):
            return False
        lock = seen.items.get(names.lock)
        if lock is not None and lock.value == ours.owner:
            # Our own stands there again, restored with its lease.
            self.session.store.revoke(lock.lease)
            lock = None
        return lock is None and all(self._may_claim(seen.items.get(key)) for key in ours.claims)

    def _lost(self, seen: Reply) -> list[Put]:
        names, taken = self._names, self.taken
        tree = [] if names.tree in seen.items else [Put(key=names.tree, value=taken.tree.encode())]
        record = [Put(key=names.fence, value=self._recorded)] if self._recorded else []
        claim = taken.claim(names, self.session.host)
        claims = [Put(key=key, value=claim) for key in self.session.standing.claims]
        epoch = Put(key=names.epoch, value=str(taken.epoch).encode())
        tpm = [Put(key=names.tpm, value=stored)] if (stored := self._tpm()) else []
        marks = legacy.tombstones(seen, names)
        return [epoch, *record, *claims, *tree, *tpm, *self._known_volumes, *marks]

    def _may_claim(self, item: Item | None) -> bool:
        return item is None or belongs_to(item, self._names.vm)

    def publish(self, status: bytes) -> None:
        """Put the status, for operators; it goes with the lease."""
        session, names = self.session, self._names
        put = Put(key=names.status, value=status, lease=session.lease)
        session.store.txn([Unchanged(key=names.lock, revision=session.standing.lock)], [put])

    def keep_tpm(self, record: bytes) -> None:
        """Store the TPM's state. Raises OwnershipLost."""
        with self.session.turn:
            ours = self.session.standing.ours(self._names)
            self.session.write(ours, [Put(key=self._names.tpm, value=record)])

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

        Raises OwnershipLost where another owner has the VM, Unreachable where it could not be given away now.
        """
        with self.session.turn:
            self._regain(self.session.look()[0])
            names, standing = self._names, self.session.standing
            parting: list[Operation] = [Put(key=names.last, value=last)]
            parting += [Delete(key=key) for key in unmade]
            if tpm:
                parting.append(Put(key=names.tpm, value=tpm))
            if power_off:
                parting.append(Put(key=names.power, value=b"off"))
            compare = [*standing.ours(names), *standing.claimed()]
            if clean:  # and what an earlier owner has left on other disks, where no record of ours came over it
                compare += standing.outlived()
                gone = (names.fence, *standing.claims, *standing.stale, *self.taken.spent)
                parting += [Delete(key=key) for key in gone]
            reads = [Range(key=key) for key in (names.epoch, names.fence, names.last)]
            reply = self.session.store.txn(compare, parting, reads)
            self._settle(reply, last)
            self.session.abandon()

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
        if judge(reply, self._names, self.session.standing) is Verdict.lost:
            raise OwnershipLost("another owner has taken the VM")
        item = reply.items.get(self._names.last)
        if item is None or item.value != last:
            raise Unreachable("the lock ran out while the VM was given away")

    @property
    def recorded(self) -> bool:
        """Tell whether a record is there that must stay: an earlier owner's that did not stop cleanly, or ours."""
        return self.session.standing.fence != 0 and not self.settled
