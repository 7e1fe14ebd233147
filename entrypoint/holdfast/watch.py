"""Watches on etcd that survive breaks of their stream and compactions of the store."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import grpc
from etcd3 import etcdrpc as rpc

from holdfast.errors import HoldfastError
from holdfast.store import Store, range_end
from holdfast.txn import Range

OnChange = Callable[[frozenset[str]], None]

# A member that has lost the others ends the stream, in place of saying nothing for ever.
REQUIRE_LEADER = ("hasleader", "true")


class Watch(threading.Thread):
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
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._store = store
        self._prefixes = prefixes
        self._next = revision + 1
        self._on_change = on_change
        self._closed = threading.Event()
        self._stream: Any = None
        self._heard = False
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()

    def run(self) -> None:
        while not self._closed.is_set():
            self._heard = False
            with contextlib.suppress(grpc.RpcError, HoldfastError):
                self._follow()
            if self._closed.wait(self.PAUSE):
                return
            if not self._heard:
                self._on_change(frozenset())
            self._find()

    def _find(self) -> None:
        """Wait for an endpoint that answers: a stream to a dead one would wait there for ever."""
        while not self._closed.is_set():
            try:
                self._store.read(Range(key=self._prefixes[0]))
            except HoldfastError:
                self._on_change(frozenset())
                self._closed.wait(self.PAUSE)
            else:
                return

    def _follow(self) -> None:
        client = self._store.client()
        metadata = [*(client.authentication["metadata"] or ()), REQUIRE_LEADER]
        self._stream = client.watch.Watch(self._requests(), metadata=metadata)
        for reply in self._stream:
            self._heard = True
            if self._closed.is_set():
                return
            if reply.canceled:  # compacted away, or refused
                self._next = max(self._next, reply.compact_revision)
                self._on_change(frozenset())
                return
            if reply.events:
                self._next = reply.header.revision + 1
                self._on_change(
                    frozenset(event.kv.key.decode(errors="replace") for event in reply.events)
                )

    def _requests(self) -> Iterator[Any]:
        for prefix in self._prefixes:
            request = rpc.WatchCreateRequest(
                key=prefix.encode(), range_end=range_end(prefix), start_revision=self._next
            )
            yield rpc.WatchRequest(create_request=request)
        self._closed.wait()  # the stream lives as long as its requests
