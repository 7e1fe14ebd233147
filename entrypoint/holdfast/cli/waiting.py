"""Waiting for what becomes of a VM whose power was switched."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from holdfast.cli.definition import Definition
from holdfast.cli.outcome import Outcome, Sight, started, untold
from holdfast.cli.vm_state import facts
from holdfast.dataclass import dataclass
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Range
from holdfast.etcd.watch import Watch
from holdfast.ownership.records import decode_lock

LOOK = 5.0  # seconds: a watch tells sooner

Judge = Callable[[str, Sight], Outcome | None]


@dataclass(frozen=True, kw_only=True)
class Switched:
    """A VM whose power was switched at `revision`, at `since` by time.monotonic()."""

    base: Definition
    revision: int
    since: float
    left: float


def told(given: Namespace, store: Store, switched: Switched, judge: Judge) -> int:
    if given.no_wait:
        return 0
    found = waited(store, switched, judge, up=judge is started)
    seconds = time.monotonic() - switched.since
    print(
        f"{switched.base.vm}  {found.text}"
        + (f" after {seconds:.1f} s" if judge is started and not found.status else "")
    )
    return found.status


def waited(
    store: Store,
    switched: Switched,
    judge: Judge,
    *,
    up: bool,
    tick: Callable[[], object] = lambda: None,
) -> Outcome:
    """Until the VM has come to something, or its time is over. `tick` is called every few seconds."""
    vm = switched.base.vm
    with listening(store, switched) as wait:
        while True:
            sight = look(store, switched)
            if found := judge(vm, sight):
                return found
            left = switched.since + switched.left - time.monotonic()
            if left <= 0:
                return untold(vm, sight, up=up)
            tick()
            wait(min(left, LOOK))


@contextmanager
def listening(store: Store, switched: Switched) -> Iterator[Callable[[float], None]]:
    """A function that waits for a change of the VM's records, so many seconds at most."""
    names = switched.base.names
    heard: SimpleQueue[object] = SimpleQueue()

    def wait(seconds: float) -> None:
        try:
            heard.get(timeout=seconds)
        except Empty:
            return

    prefixes = [names.lock, names.status, names.last]
    with Watch(store, prefixes, switched.revision, heard.put):
        yield wait


def look(store: Store, switched: Switched) -> Sight:
    names = switched.base.names
    items = store.read(Range(key=names.lock), Range(key=names.status), Range(key=names.last)).items
    lock, status, last = (items.get(key) for key in (names.lock, names.status, names.last))
    return Sight(
        status=facts(status.value) if status else {},
        last=facts(last.value) if last else {},
        locked=decode_lock(lock.value) if lock else "",
        ended=last is not None and last.mod_revision > switched.revision,
    )
