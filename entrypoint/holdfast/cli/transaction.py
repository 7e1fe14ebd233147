"""A change of a VM's keys, written in one transaction with its record; refused where somebody else was quicker."""

import getpass
import os
from datetime import UTC, datetime
from secrets import token_hex

from holdfast.cli import change_record
from holdfast.cli.change_record import ChangeRecord
from holdfast.cli.definition import Definition, Edit, edit_of, read
from holdfast.config.settings import Settings
from holdfast.errors import Changed, UsageError
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Compare, Delete, Operation, Put, Unchanged, Unwritten

MOST = 120  # operations of one transaction, of the 128 that etcd takes; with those of the record
COMPARED = 100
TRIES = 5  # a launcher that takes the VM writes its lock among the keys


def write(store: Store, base: Definition, edit: Edit, what: str, why: str = "") -> int:
    """The revision at which it was written. Raises Changed where somebody else was quicker."""
    for _ in range(TRIES):
        reply = store.txn(_compare(base, edit), operations(base, edit, what, why))
        if reply.succeeded:
            return reply.revision
        now = read(store, base.settings)
        if not edit_of(
            now.values(), base.after(edit)
        ):  # etcd's answer was lost, and not the change
            return now.seen.revision
        if quicker := edit_of(base.values(), now.values()):
            raise changed(base, now, quicker)
        base = now
    raise Changed(f"VM {base.vm}: launchers go on writing beside its keys; nothing was written")


def changed(base: Definition, now: Definition, keys: Edit) -> Changed:
    told = ", ".join(
        f"{name} {_brief(base, name)} -> {_brief(now, name)}" for name in sorted(keys)
    )
    return Changed(
        f"VM {base.vm} was changed meanwhile: {told}; nothing was written",
        hint=f"look at it with `holdfast show {base.vm}`, and give the command again",
    )


def _brief(one: Definition, name: str) -> str:
    item = one.own.get(name)
    return change_record.brief(change_record.shown(one.vm, name, item.value if item else None))


def _compare(base: Definition, edit: Edit) -> list[Compare]:
    """Nothing was written since, and what is there is what was read: a key that was deleted has left no revision."""
    names = [*edit, *(name for name in base.own if name not in edit)][:COMPARED]
    there = (
        Unchanged(key=key, revision=base.seen.revision_of(key))
        for key in (f"{base.names.keys}{name}" for name in names)
    )
    return [Unwritten(key=base.names.keys, revision=base.seen.revision), *there]


def operations(base: Definition, edit: Edit, what: str, why: str) -> list[Operation]:
    done: list[Operation] = [
        Delete(key=base.names.keys + name)
        if value is None
        else Put(key=base.names.keys + name, value=value)
        for name, value in edit.items()
    ]
    done += logged(base, record(base, edit, what, why))
    if len(done) > MOST:
        raise UsageError(
            f"VM {base.vm}: {len(edit)} keys change, and etcd takes {MOST} in one transaction",
            hint="change them in several steps; the VM does not start between them with power=off",
        )
    return done


def logged(base: Definition, change: ChangeRecord) -> list[Operation]:
    """The record of a change, and the oldest ones go."""
    records = [item for key, item in base.seen.items.items() if key.startswith(base.names.log)]
    key = change_record.key(base.names.log, change.when, token_hex(4))
    return [Put(key=key, value=change.encode()), *change_record.outdated(records)[:10]]


def record(base: Definition, edit: Edit, what: str, why: str) -> ChangeRecord:
    return ChangeRecord(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        who=who(base.settings),
        place=os.uname().nodename,
        what=what,
        why=why[: change_record.WORDS],
        changes=change_record.changes(base.vm, base.values(), edit),
    )


def who(settings: Settings) -> str:
    """As etcd knows him, who has made sure of it; else as this machine does."""
    if settings.etcd_username:
        return settings.etcd_username
    if named := os.environ.get("SUDO_USER"):
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        return f"uid {os.getuid()}"
