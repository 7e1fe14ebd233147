"""What a person may change of a VM's records who knows better than they do (docs/ownership.md, its last table).

Who calls this has said what is given up, and was told to go on. Each change is one transaction that
compares all that was read and judged before it: should the VM be taken meanwhile, nothing is written.
Whatever is refused is raised as LockHeld, where waiting or stopping a VM helps, or as UsageError.
"""

from holdfast.dataclass import dataclass
from holdfast.errors import ConfigError, LockHeld, UsageError
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Delete, Item, Operation, Put, Range, Reply, Unchanged
from holdfast.ownership import legacy
from holdfast.ownership.names import LegacyNames, Names
from holdfast.ownership.records import Claim, decode_claim, decode_lock
from holdfast.storage import volume_record
from holdfast.storage.volume_record import VolumeRecord

# -- what earlier owners have left: `fence forget`


def look(store: Store, names: Names) -> Reply:
    """Read the lock, and what earlier owners that did not stop cleanly have left, at one revision."""
    keys = (names.lock, names.fence, names.legacy.fence, names.legacy.epoch)
    return store.read(*(Range(key=key) for key in keys))


def refuse_running(seen: Reply, names: Names) -> None:
    """Raise LockHeld while somebody has the VM's lock."""
    if lock := seen.items.get(names.lock):
        raise LockHeld(f"VM {names.vm} runs on {decode_lock(lock.value)}: its record is in use")


def forget(store: Store, names: Names, seen: Reply) -> None:
    """Delete the records in `seen`: the next owner shuts out nobody. Raises LockHeld where one has come."""
    left = legacy.fences(seen, names)
    compare = [
        Unchanged(key=key, revision=seen.revision_of(key))
        for key in (names.lock, names.legacy.epoch, *(one.key for one in left))
    ]
    if not store.txn(compare, [_forgotten(one, seen, names) for one in left]).succeeded:
        raise LockHeld("the VM was taken meanwhile; nothing was deleted")


def _forgotten(item: Item, seen: Reply, names: Names) -> Put | Delete:
    """Of a VM that was moved, no place stays empty that keeps older launchers off."""
    mark = seen.items.get(names.legacy.epoch)
    if item.key == names.legacy.fence and mark and mark.value == legacy.EPOCH:
        return Put(key=item.key, value=legacy.FENCE)
    return Delete(key=item.key)


# -- the way back to older launchers: `downgrade`


def look_at_all(store: Store, names: Names) -> Reply:
    """Read all that a move of the records has written, or would move back, at one revision."""
    return store.read(*(Range(key=key) for key in _moved(names)))


def _moved(names: Names) -> tuple[str, ...]:
    own = (names.lock, names.power, names.fence, *_places(names))
    return (*own, names.legacy.fence, *_places(names.legacy))


def _places(names: Names | LegacyNames) -> list[str]:
    return [names.epoch, names.pinned, names.tpm]


def refuse_downgrade(seen: Reply, names: Names) -> None:
    """Raise LockHeld or UsageError unless nobody can be running the VM, or start it: one who stands by would move
    the records again at once.
    """
    refuse_running(seen, names)
    if legacy.fences(seen, names):
        raise LockHeld(
            f"the last owner of VM {names.vm} did not stop cleanly, and an older Holdfast could not read whom it names",
            hint="start it here, and stop it; the command `fence show` names them",
        )
    power = seen.items.get(names.power)
    if power is None or power.value.strip() != b"off":
        raise UsageError(
            f"VM {names.vm} is not switched off: whoever stands by would start it",
            hint=f"etcdctl put {names.power} off",
        )


def downgrade(store: Store, names: Names, seen: Reply) -> None:
    """Put a VM's records back to where older launchers keep them. Raises LockHeld where one has changed."""
    compare = [Unchanged(key=key, revision=seen.revision_of(key)) for key in _moved(names)]
    if not store.txn(compare, _back(seen, names)).succeeded:
        raise LockHeld("the VM was taken meanwhile, or a record has changed; nothing was written")


def _back(seen: Reply, names: Names) -> list[Operation]:
    """One transaction. The epoch is raised, as by an owner: what one of this version still sends fails."""
    epoch = legacy.epoch(seen, names) + 1
    done: list[Operation] = [
        Put(key=names.legacy.epoch, value=str(epoch).encode()),
        Delete(key=names.legacy.fence),
        Delete(key=names.epoch),
    ]
    if names.pinned not in seen.items:  # it was forgotten since
        done.append(Delete(key=names.legacy.pinned))
    for key, former in ((names.pinned, names.legacy.pinned), (names.tpm, names.legacy.tpm)):
        if item := seen.items.get(key):
            done += [Put(key=former, value=item.value), Delete(key=key)]
    return done


# -- a disk or an address that a VM has not let go of: `claim release`


def claim_of(item: Item) -> Claim:
    """Read who has it, and so whether that VM is running: it stands in the claim alone. Raises ConfigError."""
    try:
        return decode_claim(item.value)
    except Unreadable as error:
        raise ConfigError(
            f"{item.key} {error}",
            hint=f"if no VM uses that disk for certain: etcdctl del {item.key}",
        ) from error


def refuse_in_use(store: Store, claim: Claim, claimed: str) -> None:
    """Raise LockHeld while the claimant has its lock."""
    if store.read(Range(key=claim.lock)).items:
        raise LockHeld(f"VM {claim.vm} is running: {claimed} is in use")


def release(store: Store, item: Item) -> None:
    """Delete a claim: any VM may take what it names. Raises LockHeld where its VM was started meanwhile."""
    claim = claim_of(item)
    compare = [
        Unchanged(key=claim.lock, revision=0),
        Unchanged(key=item.key, revision=item.mod_revision),
    ]
    if not store.txn(compare, [Delete(key=item.key)]).succeeded:
        raise LockHeld(f"VM {claim.vm} was started meanwhile; nothing was deleted")


# -- what is remembered of a volume: `volume forget` and `volume adopt`


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What etcd has of one volume. `record` is None where it has none, or none that can be read; who holds one of
    `locks` may be using the volume.
    """

    key: str
    seen: Reply
    record: VolumeRecord | None
    locks: frozenset[str]

    @property
    def item(self) -> Item | None:
        """The record as it stands."""
        return self.seen.items.get(self.key)


def look_at_volume(store: Store, names: Names, disk: str) -> Remembered:
    """Read a volume's record. Raises LockHeld while somebody runs the VM."""
    key = volume_record.key(names.prefix, names.vm, disk)
    seen = store.read(Range(key=key), Range(key=names.lock))
    record = _record(seen.items.get(key))
    held = seen.items.get(names.lock)
    other = record.lock if record else ""
    if other not in ("", names.lock):  # a launcher with a LOCK of its own has made it
        held = held or store.read(Range(key=other)).items.get(other)
    if held:
        raise LockHeld(f"VM {names.vm} runs on {decode_lock(held.value)}: its volumes are in use")
    return Remembered(
        key=key, seen=seen, record=record, locks=frozenset({names.lock, other} - {""})
    )


def _record(item: Item | None) -> VolumeRecord | None:
    try:
        return volume_record.decoded(item.value) if item else None
    except Unreadable:
        return None


def change_volume(store: Store, volume: Remembered, operation: Put | Delete) -> None:
    """Change the record while nobody runs the VM. Raises LockHeld where somebody does, or has changed it."""
    compare = [Unchanged(key=lock, revision=0) for lock in volume.locks]
    compare.append(Unchanged(key=volume.key, revision=volume.seen.revision_of(volume.key)))
    if not store.txn(compare, [operation]).succeeded:
        raise LockHeld(
            "the VM was taken meanwhile, or its record has changed; nothing was written in etcd"
        )
