"""Whose a disk is that another QEMU has open: its claim in etcd says it."""

from contextlib import suppress

from holdfast.errors import LockHeld, Unreachable
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Range
from holdfast.machine import Disk
from holdfast.ownership.names import Names
from holdfast.ownership.records import Claim, decode_claim


class DiskInUse(LockHeld):
    """`id` is that of the disk's claim."""

    def __init__(self, message: str, *, hint: str = "", id: str) -> None:  # noqa: A002 - as in Image
        super().__init__(message, hint=hint)
        self.id = id


def in_use(disk: Disk, id: str) -> DiskInUse:  # noqa: A002 - as in Image
    path = disk.backend
    if disk.writable:
        hint = f"stop that one first; on its host `lsof {path}` names it"
        return DiskInUse(f"{path} is in use: another QEMU holds its lock", hint=hint, id=id)
    hint = f"stop its VM, or name a copy; on its host `lsof {path}` names the QEMU"
    return DiskInUse(f"{path} is in use: a QEMU has it open for writing", hint=hint, id=id)


def named(error: LockHeld, store: Store, names: Names) -> str:
    """What is waited for, with the VM's name where a claim has it."""
    claim = _claim(error.id, store, names) if isinstance(error, DiskInUse) else None
    if claim is None:
        return "; ".join(error.lines())
    own = claim.lock == names.lock
    whose = "this VM's own, of its last start" if own else f"VM {claim.vm} has claimed the disk"
    return f"{error.message} ({whose})"


def _claim(disk: str, store: Store, names: Names) -> Claim | None:
    key = names.claims + disk
    with suppress(Unreadable, Unreachable):  # then it goes unnamed
        item = store.read(Range(key=key)).items.get(key)
        return decode_claim(item.value) if item else None
    return None
