"""`holdfast events`: what happens to VMs, as it happens, a line each."""

import json
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from queue import SimpleQueue

from holdfast.cli import change_record
from holdfast.cli.arguments import Parser
from holdfast.cli.ls import common_start
from holdfast.cli.subject import connected
from holdfast.cli.tree import Tree
from holdfast.cli.vm_event import NAMES, View, VmEvent, events
from holdfast.cli.vm_state import facts
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Item, Range
from holdfast.etcd.watch import Watch

RECORDS = ("_run/", "_last/")


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("events")
    parser.add_argument(
        "names", metavar="VM", nargs="*", help="a name, or a pattern such as 'web-*'"
    )
    parser.add_argument("--json", action="store_true", help="an object a line, for programs")
    parser.add_argument(
        "--names", action="store_true", dest="list", help="only list the names of events"
    )
    given = parser.parse_args(arguments)
    if given.list:
        print(*(f"{name}\t{meaning}" for name, meaning in NAMES.items()), sep="\n")
        return 0
    with connected(None, environ) as (config, store):
        Follower(store, f"{config.prefix}/", given).follow()
    return 0


class Follower:
    def __init__(self, store: Store, top: str, given: Namespace) -> None:
        self._store = store
        self._top = top
        self._given = given
        self._start = common_start(given.names)
        self._views: dict[str, View] = {}
        self._heard: SimpleQueue[frozenset[str]] = SimpleQueue()

    def follow(self) -> None:
        """Without end. What a broken watch has missed is found by looking at all again."""
        self._views, revision = self._all()
        prefixes = [f"{self._top}{kind}{self._start}" for kind in (*RECORDS, "_log/")]
        with Watch(self._store, prefixes, revision, self._heard.put):
            while True:
                keys = self._heard.get()
                self._tell(self._news(keys) if keys else self._missed())

    def _all(self) -> tuple[dict[str, View], int]:
        tree = Tree(self._store, self._top.removesuffix("/"), self._start)
        items = {item.key: item for kind in RECORDS for item in tree.pages(kind)}
        vms = {key.rpartition("/")[2] for key in items}
        return {vm: self._view(vm, items) for vm in vms}, tree.revision

    def _view(self, vm: str, items: Mapping[str, Item]) -> View:
        status, last = (items.get(f"{self._top}{kind}{vm}") for kind in RECORDS)
        return View(
            status=facts(status.value) if status else {},
            last=facts(last.value) if last else {},
            last_at=last.mod_revision if last else 0,
        )

    def _missed(self) -> Iterator[VmEvent]:
        now, _ = self._all()
        before, self._views = self._views, now
        for vm in sorted(before.keys() | now.keys()):
            yield from events(vm, before.get(vm, View()), now.get(vm, View()))

    def _news(self, keys: Iterable[str]) -> Iterator[VmEvent]:
        changed = sorted(keys)
        logs = [key for key in changed if key.startswith(f"{self._top}_log/")]
        vms = sorted({key.rpartition("/")[2] for key in changed if key not in logs})
        for key in logs:
            yield from self._changed(key)
        for vm in vms:
            ranges = [Range(key=f"{self._top}{kind}{vm}") for kind in RECORDS]
            before, now = (
                self._views.get(vm, View()),
                self._view(vm, self._store.read(*ranges).items),
            )
            self._views[vm] = now
            yield from events(vm, before, now)

    def _changed(self, key: str) -> Iterator[VmEvent]:
        item = self._store.read(Range(key=key)).items.get(key)
        if item is not None:
            record = change_record.decoded(item.value)
            vm = key.removeprefix(f"{self._top}_log/").partition("/")[0]
            yield VmEvent(name="vm.changed", vm=vm, text=change_record.told(record))

    def _tell(self, found: Iterable[VmEvent]) -> None:
        for one in found:
            if not self._given.names or any(
                fnmatchcase(one.vm, name) for name in self._given.names
            ):
                print(as_line(one, as_json=self._given.json), flush=True)


def as_line(one: VmEvent, *, as_json: bool) -> str:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    if as_json:
        return json.dumps(
            {
                "time": when,
                "event": one.name,
                "vm": one.vm,
                "host": one.host or None,
                "text": one.text,
            }
        )
    return "\t".join((when, one.name, one.vm, one.host or "-", one.text)).rstrip()
