"""What the records in etcd mean: whether a VM may be taken here, and whether it is still ours. Only values.

The protocol is in docs/ownership.md; its compares are all needed.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, auto

from holdfast.dataclass import dataclass, field
from holdfast.errors import ConfigError, Fault
from holdfast.etcd.record import Unreadable
from holdfast.etcd.txn import Item, Reply, Unchanged
from holdfast.host import Host
from holdfast.machine.disk import key_of
from holdfast.ownership.names import Names
from holdfast.ownership.records import FencingRecord, Image, ImageKind, decode_fence, number

LOOK_AGAIN = 60.0  # a watch that is dead without an error must not keep a standby waiting for ever


def barred(item: Item | None, host: Host, fsid: str) -> Fault | None:
    """Why the disks of an owner that did not stop cleanly may not be taken by `host`.

    `item` is the fence record that it left, None where it left none; `fsid` is the cluster of Ceph
    that we speak to, "" for none.
    """
    if item is None:
        return None
    try:
        fence = decode_fence(item.value)
    except Unreadable as error:
        return Fault(key=item.key, rule=str(error))
    faults = (_bar(fence, image, host, fsid) for image in fence.images)
    return next(filter(None, faults), None)


def _bar(fence: FencingRecord, image: Image, host: Host, fsid: str) -> Fault | None:
    if image.kind is ImageKind.rbd and image.fsid != fsid:
        rule = (
            f"{fence.host} ran this VM last and did not stop cleanly: its QEMU may still write to "
            f"{image.id}, and the VM's keys name no image of that cluster any more, where it could "
            "be shut out"
        )
    elif image.kind is ImageKind.file and not host.wrote(fence.machine_id, fence.boot_id):
        rule = (
            f"{image.id} is a file on {fence.host}, which did not stop cleanly: only that machine "
            "may go on with it"
        )
    else:
        return None
    return Fault(key=key_of(image.disk), rule=rule)


class Verdict(Enum):
    """What a look at etcd tells the holder."""

    held = auto()
    vacant = auto()  # our lock is gone, nobody has taken the VM: take the lock again, or stop
    contested = auto()  # somebody has the lock and has not raised the epoch yet: wait, or stop
    outdated = auto()  # etcd knows less than we: restored, or wiped. Nobody newer is known to it
    lost = auto()  # the epoch has moved on: another owner


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What makes us the owner: the revisions of what we wrote, of which every compare of the protocol is made. `owner`
    and `number` are what stands in lock and epoch: the revisions of an etcd that was wiped may come to be the same.

    `stale` are claims on disks that the VM's keys name no more, and `marks` the tombstones for older launchers.
    """

    lock: int = 0
    epoch: int = 0
    owner: bytes = field(default=b"", repr=False)
    number: int = 0
    fence: int = 0
    claims: Mapping[str, int] = field(default_factory=dict)
    stale: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)

    def ours(self, names: Names) -> list[Unchanged]:
        """Compare that we are the owner."""
        return _unchanged({names.lock: self.lock, names.epoch: self.epoch})

    def claimed(self) -> list[Unchanged]:
        """Compare that what we have claimed is ours."""
        return _unchanged(self.claims)

    def outlived(self) -> list[Unchanged]:
        """Compare what is to be deleted of an earlier owner's claims."""
        return _unchanged(self.stale)

    def undisputed(self, names: Names) -> list[Unchanged]:
        """Compare, without the lock, that nobody has taken the VM since."""
        known = {names.epoch: self.epoch, names.fence: self.fence, **self.marks, **self.claims}
        return _unchanged(known)


def _unchanged(revisions: Mapping[str, int]) -> list[Unchanged]:
    return [Unchanged(key=key, revision=revision) for key, revision in revisions.items()]


def judge(reply: Reply, names: Names, ours: Standing) -> Verdict:
    """The epoch decides; the lock only says who may raise it. It is only ever raised: a lower one, or
    none, is older data and no newer owner. A number in an older launcher's place, where we have left none,
    is such a one's that has taken the VM; or its tenant's, who harms nobody else.
    """
    known, legacy = _epoch(reply.items.get(names.epoch)), _older(reply, names)
    if known is None:
        return Verdict.contested  # nobody can say whose it is
    if known > ours.number:
        return Verdict.lost
    if known < ours.number or reply.revision_of(names.epoch) != ours.epoch:
        return Verdict.lost if legacy > ours.number else Verdict.outdated
    lock = reply.items.get(names.lock)
    if lock is None:
        return Verdict.contested if legacy else Verdict.vacant
    ours_still = lock.mod_revision == ours.lock and lock.value == ours.owner
    return Verdict.held if ours_still else Verdict.contested


def _epoch(item: Item | None) -> int | None:
    try:
        return number(item)
    except ConfigError:
        return None


def _older(reply: Reply, names: Names) -> int:
    """The epoch as an older launcher wrote it; 0 for what is no number."""
    item = reply.items.get(names.legacy.epoch)
    text = item.value[:64].strip() if item else b""
    return int(text) if text.isdigit() else 0


class Obstacle(Exception):
    """Why the VM is not for us now, and after how many seconds to look again at the latest. `lock_wait`: the time
    counts as waiting for the VM. `keys`: of others, that are in the way, and whose change lifts it.
    """

    def __init__(
        self,
        why: str,
        seconds: float = LOOK_AGAIN,
        *,
        lock_wait: bool = True,
        keys: Sequence[str] = (),
    ) -> None:
        super().__init__(why)
        self.seconds = seconds
        self.lock_wait = lock_wait
        self.keys = keys
