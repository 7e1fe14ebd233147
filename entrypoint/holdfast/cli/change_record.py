"""What is remembered of a change of a VM's keys: who made it, from where, why, and each value before and after.

`/kvm/_log/<vm>/<time>-<id>`, written in the transaction of the change. Who has made it is what his program says:
an etcd user that may write a VM's keys may write anything here, of that VM.
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import scrypt

from holdfast.cli.vm_state import facts, said
from holdfast.dataclass import asdict, dataclass, field
from holdfast.errors import legible
from holdfast.etcd.txn import Delete, Item
from holdfast.keys import find

KEPT = 100  # records of a VM
LONGEST = 4096  # bytes of a value that stands in the record as it is
LARGEST = 256 * 1024  # bytes of a record
WORDS = 500  # characters of a reason

Shown = str | Mapping[str, object] | None  # None: there was none


@dataclass(frozen=True, kw_only=True)
class ChangeRecord:
    """`what` is the command. Of `changes` each has the value before and after."""

    when: str
    who: str
    place: str
    what: str
    why: str = ""
    changes: Mapping[str, tuple[Shown, Shown]] = field(default_factory=dict)
    version: int = 1

    def encode(self) -> bytes:
        """A change of many long values is told by their hashes."""
        found = json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False).encode()
        if len(found) <= LARGEST:
            return found
        less = {**asdict(self), "changes": {}, "left_out": len(self.changes)}
        return json.dumps(less, separators=(",", ":"), ensure_ascii=False).encode()


def key(prefix: str, when: str, number: str) -> str:
    """In the order of time, as far as clocks agree.

    >>> key("/kvm/_log/7/", "2026-11-28T10:00:00+00:00", "a1")
    '/kvm/_log/7/20261128T100000Z-a1'
    """
    return f"{prefix}{when[:19].replace('-', '').replace(':', '')}Z-{number}"


def changes(
    vm: str, before: Mapping[str, bytes], after: Mapping[str, bytes | None]
) -> dict[str, tuple[Shown, Shown]]:
    return {
        name: (shown(vm, name, before.get(name)), shown(vm, name, after[name]))
        for name in sorted(after)
    }


def shown(vm: str, name: str, value: bytes | None) -> Shown:
    """A value that is secret, long or no text is told by a hash: the same one is the same value of the same key."""
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if len(value) > LONGEST or is_secret(name) or (value and not text):
        return {"bytes": len(value), "hash": _hash(vm, name, value)}
    return text


def is_secret(name: str) -> bool:
    row = find(name)
    return row is not None and row.secret


def _hash(vm: str, name: str, value: bytes) -> str:
    """Slow, and of its own for each key: a password is not to be found by trying those that people take."""
    return scrypt(value, salt=f"{vm}/{name}".encode(), n=2**13, r=8, p=1, dklen=8).hex()


def outdated(records: Iterable[Item]) -> list[Delete]:
    """What goes when another one comes. etcd's revision, and no clock, says which is older."""
    newest = sorted(records, key=lambda item: item.mod_revision, reverse=True)
    return [Delete(key=item.key) for item in newest[KEPT - 1 :]]


def decoded(value: bytes) -> dict[str, object]:
    """As it may be shown; a record that is none says so."""
    record = facts(value) if len(value) <= LARGEST else {}
    found = record.get("changes")
    pairs = found if isinstance(found, dict) else {}
    return {
        **{name: said(record, name) for name in ("when", "who", "place", "what", "why")},
        "changes": {
            legible(name): pair
            for name, pair in pairs.items()
            if isinstance(pair, list) and len(pair) == 2  # noqa: PLR2004 - before and after
        },
    }


def brief(value: object) -> str:
    r"""A value in a cell of a table.

    >>> brief("2G"), brief(None), brief({"bytes": 9, "hash": "ab"}), brief("a\nb")
    ('2G', '-', '(9 bytes, ab)', 'a ...')
    """
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return f"({value.get('bytes')} bytes, {legible(str(value.get('hash')), 16)})"
    first, newline, _ = str(value).partition("\n")
    return legible(first, 40) + (" ..." if newline else "")


def told(record: Mapping[str, object]) -> str:
    """A record in one line."""
    pairs = record["changes"]
    assert isinstance(pairs, dict)  # noqa: S101 - `decoded` makes it
    changed = ", ".join(
        f"{name} {brief(old)} -> {brief(new)}" for name, (old, new) in pairs.items()
    )
    why = f' "{record["why"]}"' if record["why"] else ""
    return f"{record['who']}@{record['place']} {record['what']}: {changed or 'nothing that is told'}{why}"
