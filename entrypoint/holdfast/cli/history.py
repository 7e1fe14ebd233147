"""`holdfast history` and `rollback`: what operators have changed of a VM, and taking it back."""

import json
from collections.abc import Mapping, Sequence

from holdfast.cli import change_record, definition, terminal
from holdfast.cli.arguments import Parser
from holdfast.cli.definition import Definition
from holdfast.cli.set import changing, written
from holdfast.cli.subject import connected
from holdfast.errors import HoldfastError, UsageError
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Range

COMPACTED = "compacted"  # etcd's word for a revision that it has forgotten


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("history")
    parser.add_argument("vm", metavar="VM")
    parser.add_argument(
        "-n", "--last", type=int, default=20, metavar="N", help="as many changes, 20 by default"
    )
    parser.add_argument("--json", action="store_true", help="a list of records, for programs")
    given = parser.parse_args(arguments)
    if given.last < 1:
        parser.error("--last must be 1 or more")
    with connected(given.vm, environ) as (config, store):
        found = records(store, f"{config.prefix}/_log/{given.vm}/")[: given.last]
    if given.json:
        print(json.dumps(found))
        return 0
    if not found:
        print(f"no change of VM {given.vm} was made by holdfast")
        return 0
    head = ("REVISION", "WHEN", "WHO", "WHAT", "WHY")
    print(*terminal.sheet(environ).lines(head, map(cells, found)), sep="\n")
    return 0


def records(store: Store, prefix: str) -> list[dict[str, object]]:
    """The newest first, by etcd's revision."""
    items = store.read(Range(key=prefix, prefix=True)).items.values()
    newest = sorted(items, key=lambda item: item.mod_revision, reverse=True)
    return [
        {"revision": item.mod_revision, **change_record.decoded(item.value)} for item in newest
    ]


def cells(record: Mapping[str, object]) -> list[str]:
    pairs = record["changes"]
    assert isinstance(pairs, dict)  # noqa: S101 - `decoded` makes it
    first = [
        f"{name} {change_record.brief(old)} -> {change_record.brief(new)}"
        for name, (old, new) in pairs.items()
    ]
    more = f" (+{len(first) - 1} keys)" if len(first) > 1 else ""
    what = f"{record['what']}: {first[0] if first else '-'}{more}"
    who = f"{record['who']}@{record['place']}"
    return [str(record["revision"]), str(record["when"])[:16], who, what, str(record["why"])]


def rollback(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = changing("rollback")
    parser.add_argument(
        "--to",
        type=int,
        required=True,
        metavar="REVISION",
        help="as `holdfast history` prints them",
    )
    given = parser.parse_args(arguments)
    if given.to < 1:
        parser.error("--to must be a revision")
    with connected(given.vm, environ) as (config, store):
        base = definition.read(store, config)
        then = at(store, base, given.to)
        edit = definition.edit_of(base.values(), then)
        edit.pop("power", None)
        return written(given, base, edit, store, environ, f"rollback to {given.to}")


def at(store: Store, base: Definition, revision: int) -> dict[str, bytes]:
    if revision > base.seen.revision:
        raise UsageError(
            f"etcd is at revision {base.seen.revision}", hint=f"holdfast history {base.vm}"
        )
    try:
        then = definition.read(store, base.settings, revision=revision).values()
    except HoldfastError as error:
        if COMPACTED not in error.message:
            raise
        raise UsageError(
            f"etcd has compacted its history: revision {revision} is forgotten",
            hint=f"`holdfast history {base.vm}` has each value before and after: set them again with `holdfast set`",
        ) from error
    if not then:
        raise UsageError(
            f"VM {base.vm} had no keys at revision {revision}",
            hint=f"`holdfast rm {base.vm}` removes it",
        )
    return then
