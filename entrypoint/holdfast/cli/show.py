"""`holdfast show`: all that is known of one VM, its secrets apart."""

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from holdfast.cli import definition, terminal, vm_state
from holdfast.cli.arguments import Parser
from holdfast.cli.definition import Definition
from holdfast.cli.set import listed
from holdfast.cli.sheet import Sheet, age
from holdfast.cli.subject import connected
from holdfast.cli.vm_state import Records
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass
from holdfast.errors import legible
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Denied, Store
from holdfast.etcd.txn import Item, Range
from holdfast.ownership.last_run import crash, sight
from holdfast.ownership.records import decode_fence, decode_lock
from holdfast.storage import volume_record
from holdfast.system.container import command

TOLD = (
    "state",
    "host",
    "since",
    "addresses",
    "next_start",
    "trouble",
    "broken",
)  # by lines of their own


@dataclass(frozen=True, kw_only=True)
class About:
    base: Definition
    records: Records
    own: Mapping[str, Item]  # what launchers keep, without secrets


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("show")
    parser.add_argument("vm", metavar="VM")
    parser.add_argument("--json", action="store_true", help="an object, for programs")
    given: Namespace = parser.parse_args(arguments)
    with connected(given.vm, environ) as (config, store):
        about = look(store, config)
    if given.json:
        print(json.dumps(as_json(about)))
    else:
        print(*lines(about, terminal.sheet(environ), time.time()), sep="\n")
    return 0


def look(store: Store, config: Settings) -> About:
    base = definition.read(store, config)
    names = base.names
    seen = store.read(Range(key=names.status), Range(key=names.last), Range(key=names.lock)).items
    own: dict[str, Item] = {}
    with suppress(Denied):  # a tenant need not see it
        own = dict(store.read(Range(key=names.own, prefix=True)).items)
    last, lock, status = seen.get(names.last), seen.get(names.lock), seen.get(names.status)
    if not (base.own or seen or own):
        definition.refuse_absent(base)
    keys = [*base.own.values(), *_defaults(store, config)]
    records = Records(
        vm=base.vm,
        status=vm_state.facts(status.value) if status else {},
        last=vm_state.facts(last.value) if last else {},
        locked=decode_lock(lock.value) if lock else "",
        off=base.values().get("power", base.defaults.get("power", b"")).strip() == b"off",
        crash=crash(last, sight(keys, names.keys, config.defaults_prefix)),
        defined=bool(base.own),
    )
    return About(base=base, records=records, own=own)


def _defaults(store: Store, config: Settings) -> list[Item]:
    with suppress(Denied):
        return list(store.read(Range(key=config.defaults_prefix, prefix=True)).items.values())
    return []


# -- for people


def lines(about: About, sheet: Sheet, now: float) -> Iterator[str]:
    row = vm_state.row(about.records)
    place = f" on {row.host}" if row.host else ""
    since = f", for {age(now - row.since)}" if row.since is not None else ""
    state = sheet.painted(row.state, vm_state.COLOURS.get(row.state, ""))
    yield f"{row.vm}: {state}{place}{since}"
    yield from (f"  {line}" for line in facts(about, row.note))
    yield from _part("keys", _keys(about.base, sheet.width - 2 if sheet.width else vm_state.SAID))
    yield from _part("ownership", ownership(about))
    yield from _part("volumes", volumes(about))


def _part(head: str, body: Sequence[str]) -> Iterator[str]:
    if body:
        yield f"{head}:"
        yield from (f"  {line}" for line in body)


def facts(about: About, note: str) -> Iterator[str]:
    status, last = about.records.status, about.records.last
    if note:
        yield note
    if waiting := status.get("next_start"):
        yield f"for the next start: {_words(waiting)}"
    if addresses := status.get("addresses"):
        yield from (f"{card}: {_words(there)}" for card, there in _pairs(addresses))
    if rest := [
        f"{name}={_words(value)}" for name, value in _pairs(status) if name not in TOLD and value
    ]:
        yield "  ".join(rest)
    if last:
        yield f"last ended {vm_state.said(last, 'when')} on {vm_state.said(last, 'host')}: {vm_state.said(last, 'why')}"


def _pairs(value: object) -> list[tuple[str, Any]]:
    """Of what others wrote: names that can be shown."""
    return (
        [(legible(str(name)), one) for name, one in value.items()]
        if isinstance(value, Mapping)
        else []
    )


def _words(value: object) -> str:
    words = value if isinstance(value, list) else [value]
    return " ".join(legible(str(one), vm_state.SAID) for one in words[:32])


def _keys(base: Definition, wide: int) -> list[str]:
    rows = listed(base, origin=True)
    width = max((len(name) for name, _, _ in rows), default=0)
    found = []
    for name, value, origin in rows:
        first, *rest = value.split("\n")
        aside = "   (_defaults)" if origin == "_defaults" else ""
        more = f" ... ({len(rest) + 1} lines)" if rest else ""
        room = max(20, wide - width - 2 - len(aside) - len(more))
        found.append(f"{name.ljust(width)}  {legible(first, room)}{more}{aside}".rstrip())
    return found


def ownership(about: About) -> list[str]:
    names = about.base.names
    found = []
    if epoch := about.own.get(names.epoch):
        found.append(f"epoch {legible(epoch.value[:64].decode(errors='replace'))}")
    if pinned := about.own.get(names.pinned):
        found.append(f"pinned to {legible(pinned.value[:256].decode(errors='replace'), 256)}")
    if fence := about.own.get(names.fence):
        found.append(_fence(fence, runs=about.base.runs, vm=about.base.vm))
    return found


def _fence(item: Item, *, runs: bool, vm: str) -> str:
    then = command(f"holdfast fence show {vm}")
    try:
        record = decode_fence(item.value)
    except Unreadable as error:
        return f"its record {error}: {then}"
    disks = ", ".join(legible(image.id, 256) for image in record.images) or "no disks"
    if runs:
        return f"{record.host} may write to {disks}"
    return f"{record.host} did not stop cleanly, and had {disks}: {then}"


def volumes(about: About) -> list[str]:
    prefix = f"{about.base.names.own}volumes/"
    return [
        _volume(key.removeprefix(prefix), item)
        for key, item in about.own.items()
        if key.startswith(prefix)
    ]


def _volume(disk: str, item: Item) -> str:
    try:
        record = volume_record.decoded(item.value)
    except Unreadable as error:
        return f"{legible(disk)}  its record {error}"
    return f"{legible(disk)}  {record.name} on {record.host} ({record.place})  {record.state}"


# -- for programs


def as_json(about: About) -> dict[str, object]:
    row = vm_state.row(about.records)
    return {
        **vm_state.as_json(row, long=False),
        "keys": {
            name: {"value": value, "origin": origin}
            for name, value, origin in listed(about.base, origin=True)
        },
        "status": dict(about.records.status),
        "last": dict(about.records.last),
        "ownership": ownership(about),
        "volumes": volumes(about),
        "revision": about.base.seen.revision,
    }
