"""Taking a VM: steps 1 and 2 of docs/ownership.md. Each write compares what it must not overwrite."""

import uuid
from collections.abc import Iterable, Mapping, Sequence

from holdfast.dataclass import dataclass, replace
from holdfast.etcd.txn import Put, Range, Reply, Unchanged
from holdfast.host import Host
from holdfast.ownership import legacy
from holdfast.ownership.names import Names
from holdfast.ownership.records import (
    Claim,
    FencingRecord,
    Image,
    ImageKind,
    claimed_by,
    clients_of,
    encode,
    left_to_time,
    tree_of,
)
from holdfast.ownership.session import Session
from holdfast.ownership.takeover import Takeover, belongs_to, claimant, take_over
from holdfast.storage.image_claim import ImageClaim


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the taker of a VM has found, and as whom it writes.

    `suspects` are storage clients of those before us, and `heard` such as were some if it is true. `timed`: only time
    guards a disk of ours; `outlast`: or one that somebody before us may still write to. `addresses` of the LAN are to
    be ours alone. `record` is what we have put into `fence`, b"" for nothing; `spent` is what was moved, and is secret.
    """

    epoch: int
    tree: str
    suspects: frozenset[str] = frozenset()
    heard: frozenset[str] = frozenset()
    timed: bool = False
    outlast: bool = False
    addresses: tuple[str, ...] = ()
    record: bytes = b""
    spent: tuple[str, ...] = ()

    def claim(self, names: Names, host: Host) -> bytes:
        """Write down whose a disk or an address is."""
        claim = Claim(vm=names.vm, lock=names.lock, epoch=self.epoch, machine_id=host.machine_id)
        return encode(claim)

    def fencing_record(
        self,
        host: Host,
        images: Iterable[Image],
        clients: Iterable[str],
        heard: Iterable[str] = (),
    ) -> bytes:
        """Write down who may be writing from now on."""
        return encode(
            FencingRecord(
                epoch=self.epoch,
                host=host.name,
                boot_id=host.boot_id,
                machine_id=host.machine_id,
                images=tuple(images),
                clients=tuple(sorted(clients)),
                heard=tuple(sorted(heard)),
                addresses=self.addresses,
                tree=self.tree,
            )
        )


class Taking:
    """By what was `seen` when the VM was judged: `lock`, then `raise_epoch`, then `claim`."""

    def __init__(
        self,
        session: Session,
        seen: Reply,
        images: Sequence[Image],
        addresses: Iterable[str] = (),
        volumes: Iterable[Unchanged] = (),
    ) -> None:
        names = session.names
        left = legacy.fences(seen, names)
        self._session = session
        self._names = names
        self._seen = seen
        self._images = images
        self._volumes = tuple(volumes)
        self._move = legacy.move(seen, names)
        self._left = frozenset(names.claims + one for item in left for one in claimed_by(item))
        self._taken = Taken(
            epoch=legacy.epoch(seen, names) + 1,
            tree=tree_of(seen, names) or str(uuid.uuid4()),
            suspects=clients_of(seen.items.get(names.fence)),
            heard=legacy.heard(seen, names),
            timed=any(image.kind is ImageKind.shared for image in images),
            outlast=any(map(left_to_time, left)),
            addresses=tuple(addresses),
        )

    def lock(self) -> Reply | None:
        """Step 1: get the lock, if nothing that made us eligible has changed since.

        Returns the claims as they stand, or None when somebody else has won.
        """
        names, seen = self._names, self._seen
        judged = (names.epoch, names.fence, names.host, names.power, names.tpm)
        compare = [*seen.unchanged(judged), *self._volumes, *self._move.compare]
        named, new = self._tree()
        reads = [Range(key=key) for key in sorted(self._left.union(self._wanted()))]
        found = self._session.lock([*compare, *named], new, reads)
        if found is not None:
            fence = seen.revision_of(names.fence)
            self._session.standing = replace(self._session.standing, fence=fence)
        return found

    def _tree(self) -> tuple[list[Unchanged], list[Put]]:
        """The tree of keys gets its id from the first that takes a VM of it."""
        if tree_of(self._seen, self._names):
            return [], []
        key = self._names.tree
        return [Unchanged(key=key, revision=0)], [Put(key=key, value=self._taken.tree.encode())]

    def raise_epoch(self) -> None:
        """Step 2: from here on all that an earlier owner still sends fails its compare, and no older launcher
        takes the VM any more. What one has left is moved by the same transaction, or not at all.

        Raises OwnershipLost where somebody was quicker.
        """
        names, move, epoch = self._names, self._move, self._taken.epoch
        read = [names.epoch, *([names.fence] if move.fence else [])]
        written = self._session.write(
            [*self._seen.unchanged(read), *move.compare],
            [Put(key=names.epoch, value=str(epoch).encode()), *move.puts],
        )
        self._taken = replace(self._taken, record=move.fence, spent=tuple(move.spent))
        self._session.standing = replace(
            self._session.standing,
            epoch=written[names.epoch],
            number=epoch,
            fence=written.get(names.fence, self._session.standing.fence),
            marks=legacy.marks(self._seen, names, written),
        )

    def claim(
        self,
        claims: Reply,
        in_images: Mapping[str, ImageClaim] | None = None,
        volumes: Iterable[Put] = (),
    ) -> Taken:
        """Step 2: make the disks this VM's, before anybody is fenced because of them. `in_images` are the claims that
        stand in Ceph, by the id of the image; `volumes` the records of those that are about to be made.

        Raises ConfigError for a disk that another VM uses, OwnershipLost where somebody was quicker.
        """
        names, wanted = self._names, self._wanted()
        ours = self._taken.claim(names, self._session.host)
        takeovers = self._takeovers(claims, in_images or {})
        compare = [*claims.unchanged(wanted), *(one for each in takeovers for one in each.compare)]
        puts = [*volumes, *(Put(key=key, value=ours) for key in wanted)]
        puts += [one for each in takeovers for one in each.puts]
        if self._inherit(takeovers):
            compare.append(Unchanged(key=names.fence, revision=self._session.standing.fence))
            puts.append(Put(key=names.fence, value=self._taken.record))
        standing = self._session.standing
        written = self._session.write([*standing.ours(names), *compare], puts) if puts else {}
        self._session.standing = replace(
            standing,
            claims={key: written[key] for key in wanted},
            fence=written.get(names.fence, standing.fence),
            stale=self._outlived(claims),
        )
        return self._taken

    def _wanted(self) -> list[str]:
        """The keys of our claims."""
        ids = (*(image.id for image in self._images), *self._taken.addresses)
        return [self._names.claims + one for one in ids]

    def _takeovers(self, claims: Reply, in_images: Mapping[str, ImageClaim]) -> list[Takeover]:
        """One for each VM, which may have left several disks."""
        names, store, host = self._names, self._session.store, self._session.host
        found: dict[str, Takeover] = {}
        for image in self._images:
            item = claims.items.get(names.claims + image.id)
            for owner in (claimant(item, image) if item else None, in_images.get(image.id)):
                if owner and owner.vm not in (names.vm, *found):
                    found[owner.vm] = take_over(store, names, host, image, owner)
        return [*found.values()]

    def _inherit(self, takeovers: Sequence[Takeover]) -> bool:
        """Whom another VM may have left writing is ours to shut out, and goes into our record at once."""
        if not any(one.suspects or one.heard or one.outlast for one in takeovers):
            return False
        was = self._taken
        suspects = was.suspects.union(*(one.suspects for one in takeovers))
        heard = was.heard.union(*(one.heard for one in takeovers))
        record = was.fencing_record(self._session.host, self._images, suspects, heard)
        self._taken = replace(
            was,
            suspects=suspects,
            heard=heard,
            outlast=was.outlast or any(one.outlast for one in takeovers),
            record=record,
        )
        return True

    def _outlived(self, claims: Reply) -> dict[str, int]:
        """Claims that an earlier owner of this VM has left on what its keys name no more."""
        rest = self._left.difference(self._wanted())
        return {
            key: item.mod_revision
            for key, item in claims.items.items()
            if key in rest and belongs_to(item, self._names.vm)
        }
