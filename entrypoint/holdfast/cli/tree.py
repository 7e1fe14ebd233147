"""All VMs of a tree, and what is known of each, in as few requests as etcd allows.

What launchers write of all VMs is two ranges. VMs that have never run are found between those: the gaps are
looked into, and not the definitions of all, which are a hundred times as much.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, TypeVar

from holdfast.cli.vm_state import Records, facts
from holdfast.errors import Unreachable
from holdfast.etcd.store import Store, range_end
from holdfast.etcd.txn import Item, Range
from holdfast.grammar import Refused, identifier
from holdfast.keys import is_passed_over
from holdfast.ownership.last_run import CRASHED, crash, sight
from holdfast.ownership.records import decode_lock

PAGE = 1000  # keys of one answer
BATCH = 100  # ranges of one transaction: etcd takes 128
LOOK = 200  # keys of one look into a gap
FEW = 16  # more than what is not its operator's among a VM's keys
LISTED = ("ram", "cpus", "tags")

T = TypeVar("T")
Gap = tuple[str, str]  # from a key to the one before another


class Tree:
    """`start` is what the names of all VMs that are looked for begin with: a user of etcd may see those alone."""

    def __init__(self, store: Store, prefix: str, start: str = "") -> None:
        self._store = store
        self._top = f"{prefix}/"
        self._start = start
        self.revision = 0  # of the first read: those after it are as of then

    def records(self, *, long: bool = False) -> Iterator[Records]:
        running = {item.key.rpartition("/")[2]: facts(item.value) for item in self.pages("_run/")}
        ended = {item.key.rpartition("/")[2] for item in self.pages("_last/", keys_only=True)}
        known = running.keys() | ended
        names = sorted(filter(_is_name, known | self._others(known)))
        away = self._away([name for name in names if name not in running])
        keys = self._keys(names) if long else {}
        for name in names:
            if name in running:
                yield Records(vm=name, status=running[name], keys=keys.get(name, {}))
            elif found := away.get(name):
                yield Records(vm=name, keys=keys.get(name, {}), **found)

    # -- names

    def pages(self, kind: str, *, keys_only: bool = False) -> Iterator[Item]:
        """Those of one kind of record, all as of one revision."""
        start = f"{self._top}{kind}{self._start}"
        end = range_end(start).decode()
        while start:
            page = Range(
                key=start, end=end, limit=PAGE, revision=self.revision, keys_only=keys_only
            )
            seen = self._store.read(page)
            self.revision = self.revision or seen.revision
            yield from seen.items.values()
            start = f"{max(seen.items)}\0" if len(seen.items) == PAGE else ""

    def _others(self, known: Iterable[str]) -> set[str]:
        """VMs that have keys, and have never run."""
        found: set[str] = set()
        gaps = self._gaps(known)
        while gaps:
            rest: list[Gap] = []
            for some in _batches(gaps, BATCH):
                rest += self._look(some, found)
            gaps = rest
        return found

    def _gaps(self, known: Iterable[str]) -> list[Gap]:
        """Between the definitions of the VMs that are known, and what launchers write of them."""
        start = f"{self._top}{self._start}"
        barriers = [(f"{self._top}{name}/", f"{self._top}{name}0") for name in known]
        barriers.append((f"{self._top}_", f"{self._top}`"))
        edges = [("", start), *sorted(one for one in barriers if one[0] >= start)]
        edges.append((range_end(start).decode(), ""))
        return [(one[1], other[0]) for one, other in pairwise(edges) if one[1] < other[0]]

    def _look(self, gaps: Sequence[Gap], found: set[str]) -> list[Gap]:
        """What is left of the gaps, behind the names that were found in them."""
        ranges = [
            Range(key=key, end=end, limit=LOOK, revision=self.revision, keys_only=True)
            for key, end in gaps
        ]
        keys = sorted(self._store.read(*ranges).items)
        rest = []
        for start, end in gaps:
            there = keys[bisect_left(keys, start) : bisect_left(keys, end)]
            names = {
                key.removeprefix(self._top).partition("/")[0]
                for key in there
                if self._is_below(key)
            }
            found |= names
            if len(there) == LOOK:
                last = there[-1]
                name = last.removeprefix(self._top).partition("/")[0]
                rest.append((f"{self._top}{name}0" if self._is_below(last) else f"{last}\0", end))
        return rest

    def _is_below(self, key: str) -> bool:
        return "/" in key.removeprefix(self._top)

    # -- VMs that do not run

    def _away(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        off = self._defaults().get("power", b"").strip() == b"off"
        found: dict[str, dict[str, Any]] = {}
        for some in _batches(names, BATCH // 5):
            ranges = [one for name in some for one in self._of_one(name)]
            items = self._store.read(*ranges).items
            for name in some:
                if (about := self._about(name, items, off=off)) is not None:
                    found[name] = about
        return found

    def _of_one(self, name: str) -> list[Range]:
        keys = [
            f"{self._top}_last/{name}",
            *(f"{self._top}{name}/{key}" for key in ("lock", "power", "status")),
        ]
        own = Range(key=f"{self._top}{name}/", prefix=True, limit=FEW, keys_only=True)
        return [own, *(Range(key=key, revision=self.revision) for key in keys)]  # with values last

    def _about(self, name: str, items: Mapping[str, Item], *, off: bool) -> dict[str, Any] | None:
        own = f"{self._top}{name}/"
        last, lock, power, status = (
            items.get(key)
            for key in (f"{self._top}_last/{name}", f"{own}lock", f"{own}power", f"{own}status")
        )
        ended = facts(last.value) if last else {}
        return {
            "status": facts(status.value) if status and lock else {},  # of an older launcher
            "last": ended,
            "locked": decode_lock(lock.value) if lock else "",
            "off": _is_off(power.value) if power else off,
            "crash": self._crash(name, last) if last and ended.get("state") == CRASHED else "",
            "defined": any(
                _defines(key.removeprefix(own)) for key in items if key.startswith(own)
            ),
        }

    def _crash(self, name: str, last: Item) -> str:
        own, defaults = f"{self._top}{name}/", f"{self._top}_defaults/"
        keys = self._store.read(Range(key=own, prefix=True, keys_only=True)).items
        seen = [*keys.values(), *self._default_items()]
        return crash(last, sight(seen, own, defaults))

    def _defaults(self) -> dict[str, bytes]:
        prefix = f"{self._top}_defaults/"
        return {item.key.removeprefix(prefix): item.value for item in self._default_items()}

    def _default_items(self) -> list[Item]:
        """None of them where a user of etcd may not read them."""
        try:
            seen = self._store.read(Range(key=f"{self._top}_defaults/", prefix=True))
        except Unreachable:
            return []
        return list(seen.items.values())

    # -- keys of all

    def _keys(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {name: {} for name in names}
        places = [f"{self._top}{name}/{key}" for name in names for key in LISTED]
        for some in _batches(places, BATCH):
            for item in self._store.read(*(Range(key=key) for key in some)).items.values():
                name, _, key = item.key.removeprefix(self._top).partition("/")
                found[name][key] = item.value[:256].decode(errors="replace")
        return found


def _defines(key: str) -> bool:
    return not is_passed_over(key)


def _is_off(value: bytes) -> bool:
    return value.strip().lower() in (b"off", b"no", b"false", b"0")


def _is_name(text: str) -> bool:
    try:
        identifier.name(text)
    except Refused:
        return False
    return True


def _batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(things)
    while some := list(islice(rest, size)):
        yield some
