"""Watches on etcd that survive breaks of their stream and compactions of the store."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import grpc
from etcd3 import etcdrpc as rpc

from holdfast.errors import HoldfastError
from holdfast.store import Store, range_end

OnChange = Callable[[frozenset[str]], None]


class Watch(threading.Thread):
    """A watch on several prefixes that survives breaks of its stream and compactions of the store."""

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
            with contextlib.suppress(grpc.RpcError, HoldfastError):
                self._follow()
            if self._closed.wait(self.PAUSE):
                return
            self._store.next_endpoint()
            self._on_change(frozenset())

    def _follow(self) -> None:
        client = self._store.client()
        self._stream = client.watch.Watch(
            self._requests(), wait_for_ready=True, **client.authentication
        )
        for reply in self._stream:
            if self._closed.is_set():
                return
            if reply.canceled:  # compacted away, or refused
                self._next = max(self._next, reply.compact_revision)
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
