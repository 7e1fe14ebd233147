"""Watches on etcd that survive breaks of their stream and compactions of the store."""

import threading
from collections.abc import Callable, Sequence
from typing import Self

from holdfast import log
from holdfast.errors import HoldfastError
from holdfast.etcd.store import Changes, NoAnswer, Store
from holdfast.etcd.txn import Range
from holdfast.runtime.thread import Thread, described

OnChange = Callable[[frozenset[str]], None]


class Watch(Thread):
    """A watch on several prefixes that survives breaks of its stream and compactions of the store.

    `on_change` gets the keys that changed; none of them when etcd was away, or has forgotten what
    happened meanwhile. An endpoint that is gone while another one answers is neither: the stream
    goes on there from its revision.
    """

    PAUSE = 0.5  # seconds between two tries

    def __init__(
        self,
        store: Store,
        prefixes: Sequence[str],
        revision: int,
        on_change: OnChange,
        *,
        delay: float = 0.0,
    ) -> None:
        """Begin behind `revision`, whenever that is: `delay` (seconds) loses nothing."""
        super().__init__("watch")
        self._store = store
        self._prefixes = prefixes
        self._next = revision + 1
        self._on_change = on_change
        self._delay = delay
        self._closed = threading.Event()
        self._changes: Changes | None = None
        self._heard = False
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        if self._changes is not None:
            self._changes.close()

    def work(self) -> None:
        self._closed.wait(self._delay)
        while not self._closed.is_set():
            self._heard = False
            try:
                self._follow()
            except (NoAnswer, HoldfastError):
                pass
            except Exception as error:  # noqa: BLE001 - whoever listens must not be deaf from now on
                log.error(f"watch: {described(error)}")
                self._heard = False
            if self._closed.wait(self.PAUSE):
                return
            if not self._heard:
                self._on_change(frozenset())
            self._find()

    def _find(self) -> None:
        """Wait for an endpoint that answers: a stream to a dead one would wait there for ever."""
        while not self._closed.is_set():
            try:
                seen = self._store.read(Range(key=self._prefixes[0]))
            except HoldfastError:
                self._on_change(frozenset())
                self._closed.wait(self.PAUSE)
            else:
                self._begin_anew(seen.revision)
                return

    def _begin_anew(self, revision: int) -> None:
        """An etcd that was restored or wiped is at a revision below ours: another history. It takes a watch
        from a revision to come without a word, and would be silent until it gets there.
        """
        if revision < self._next - 1:
            self._next = revision + 1
            self._on_change(frozenset())

    def _follow(self) -> None:
        self._changes = self._store.changes(self._prefixes, self._next)
        if self._closed.is_set():  # before there was a stream to close
            self._changes.close()
        for change in self._changes:
            self._heard = True
            if self._closed.is_set():
                return
            if change.compacted:
                self._next = max(self._next, change.revision)
                self._on_change(frozenset())
                return
            if change.keys:
                self._next = change.revision + 1
                self._on_change(change.keys)
