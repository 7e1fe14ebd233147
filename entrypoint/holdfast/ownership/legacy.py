"""What launchers up to November's have left of a VM, and how it is moved to where a tenant cannot write.

They kept a VM's records among its own keys. Whoever takes it moves them, by the transaction that raises the epoch,
and leaves two tombstones there which outlive him, so that no older launcher takes the VM any more: `fence` is a
record of a newer version, and `epoch`, for one that was made to forget that, is no number. What stood there
may be a tenant's: it can make the VM wait, and nobody is shut out of Ceph for it but whom its images know
(Fencing._believed).
"""

from collections.abc import Mapping, Sequence

from holdfast.dataclass import dataclass, replace
from holdfast.errors import ConfigError, Fault
from holdfast.etcd.record import Unreadable
from holdfast.etcd.txn import Item, Put, Reply, Unchanged
from holdfast.ownership.names import Names
from holdfast.ownership.records import FencingRecord, ImageKind, decode_fence, encode, number

FENCE = b'{"version":2,"moved":"_own"}'
EPOCH = b"moved: upgrade Holdfast"  # an older launcher says it, and that it should be a number
MOST = 10**15  # an epoch, where a tenant may have written it: raised for ever, it stays readable


@dataclass(frozen=True, kw_only=True)
class Move:
    """What goes with the transaction that raises the epoch. `fence` is the record that it leaves, b"" for as it was;
    `spent` a secret that was moved, here or before, and still stands there.
    """

    compare: Sequence[Unchanged]
    puts: Sequence[Put]
    fence: bytes
    spent: Sequence[str]


def epoch(seen: Reply, names: Names) -> int:
    """How often the VM has been taken, by launchers of whatever version."""
    return max(number(seen.items.get(names.epoch)), older(seen, names))


def older(seen: Reply, names: Names) -> int:
    """The epoch that an older launcher has left; 0 where the VM was moved since, or none ever took it."""
    item = seen.items.get(names.legacy.epoch)
    if item is None or item.value == EPOCH:
        return 0
    if names.epoch in seen.items and not item.value.strip()[:1].isdigit():
        return 0  # what stands there says nothing, and ours is known
    found = number(item)
    if found < MOST:
        return found
    fault = Fault(
        key=item.key, value=str(found), rule="must be a number that a VM can have come to"
    )
    raise ConfigError([fault], hint="Holdfast writes it; nobody else should")


def fences(seen: Reply, names: Names) -> list[Item]:
    """The records of earlier owners that did not stop cleanly: ours, and an older launcher's."""
    found = map(seen.items.get, (names.fence, names.legacy.fence))
    return [item for item in found if item is not None and item.value != FENCE]


def heard(seen: Reply, names: Names) -> frozenset[str]:
    """Storage clients that stand where a tenant may have written, or did so before they were moved."""
    own, left = seen.items.get(names.fence), _left(seen, names)
    ours = decode_fence(own.value).heard if own else ()
    return frozenset((*ours, *left.heard, *left.clients) if left else ours)


def kept(seen: Reply, names: Names, name: str) -> Item | None:
    """`pinned` or `tpm`. An older launcher's counts where one has run the VM, and nothing was moved before."""
    item: Item | None = seen.items.get(getattr(names, name))
    if item is None and older(seen, names):
        item = seen.items.get(getattr(names.legacy, name))
    return item


def keys(found: Mapping[str, bytes], seen: Reply, names: Names) -> dict[str, bytes]:
    """A VM's keys, with `pinned` as launchers have left it."""
    item = kept(seen, names, "pinned")
    rest = {name: value for name, value in found.items() if name != "pinned"}
    return {**rest, "pinned": item.value} if item else rest


def places(seen: Reply, names: Names) -> list[Unchanged]:
    """Where the tombstones are, or are to be."""
    return seen.unchanged((names.legacy.epoch, names.legacy.fence))


def marks(seen: Reply, names: Names, written: Mapping[str, int]) -> dict[str, int]:
    """When the tombstones were written: by us, or before."""
    return {one.key: written.get(one.key, one.revision) for one in places(seen, names)}


def move(seen: Reply, names: Names) -> Move:
    """What stands there and is to be moved, and the tombstones where they do not stand yet."""
    puts, fence = tombstones(seen, names), b""
    if (left := _left(seen, names)) is not None:
        fence = _joined(left, seen.items.get(names.fence))
        puts.append(Put(key=names.fence, value=fence))
    found = {key: kept(seen, names, name) for name, key in _both(names).items()}
    moved = {key: item for key, item in found.items() if item is not None and item.key != key}
    return Move(
        compare=[*places(seen, names), *(Unchanged(key=key, revision=0) for key in moved)],
        puts=[*puts, *(Put(key=key, value=item.value) for key, item in moved.items())],
        fence=fence,
        spent=[names.legacy.tpm] if names.tpm in moved or _was_moved(seen, names) else [],
    )


def _both(names: Names) -> dict[str, str]:
    return {"pinned": names.pinned, "tpm": names.tpm}


def tombstones(seen: Reply, names: Names) -> list[Put]:
    legacy, items = names.legacy, seen.items
    wanted = ((legacy.epoch, EPOCH), (legacy.fence, FENCE))
    return [
        Put(key=key, value=value)
        for key, value in wanted
        if key not in items or items[key].value != value
    ]


def _was_moved(seen: Reply, names: Names) -> bool:
    """Whether the TPM's record there was left behind by a move: it is older than the tombstone."""
    there, mark = seen.items.get(names.legacy.tpm), seen.items.get(names.legacy.epoch)
    return bool(
        there
        and mark
        and mark.value == EPOCH
        and there.mod_revision < mark.mod_revision
        and names.tpm in seen.items
    )


def _left(seen: Reply, names: Names) -> FencingRecord | None:
    item = seen.items.get(names.legacy.fence)
    return None if item is None or item.value == FENCE else decode_fence(item.value)


def _joined(left: FencingRecord, item: Item | None) -> bytes:
    """An older launcher's record as it is kept: whom it names was heard only, and of its tree nothing is believed."""
    ours = (
        decode_fence(item.value)
        if item
        else replace(left, images=(), clients=(), heard=(), addresses=(), tree="")
    )
    on_files = any(image.kind is ImageKind.file for image in ours.images)
    record = encode(
        replace(
            ours if on_files else left,  # both may be here: whose files these are was judged
            epoch=max(ours.epoch, left.epoch),
            images=tuple(dict.fromkeys((*ours.images, *left.images))),
            clients=ours.clients,
            heard=tuple(sorted({*ours.heard, *left.heard, *left.clients})),
            addresses=tuple(dict.fromkeys((*ours.addresses, *left.addresses))),
            tree=ours.tree,
        )
    )
    try:
        decode_fence(record)
    except Unreadable as error:  # together they are more than a record may hold
        raise ConfigError(f"what earlier owners of this VM have left {error}") from error
    return record
