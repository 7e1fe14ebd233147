"""A TCP proxy between a host and etcd, which can be slow, or hold an answer back at a chosen moment.

The kernel of a test machine may lack sch_netem; and "after the lock, before the next request" is a
moment that only somebody on the line can hit.
"""

import contextlib
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Self

CHUNK = 65536


class Gate:
    def __init__(self, address: str, ports: Sequence[int]) -> None:
        self.delay = 0.0  # seconds, each way
        self.reached = threading.Event()
        self._patterns: frozenset[bytes] = frozenset()
        self._open = threading.Event()
        self._open.set()
        self._held = 0  # answers that wait at the gate
        self._passed = threading.Condition()
        self._address = address
        self._threads: list[threading.Thread] = []
        self._ends: list[socket.socket] = []
        self._listeners = [self._listen(port) for port in ports]
        names = [listener.getsockname() for listener in self._listeners]
        self.ports = [port for _, port in names]
        self.url = ",".join(f"http://{host}:{port}" for host, port in names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.set()
        self.delay = 0.0
        for end in [*self._listeners, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def hold_answer_to(self, pattern: bytes) -> None:
        """Let the next request that contains these bytes through, and then nothing back.

        etcd's JSON has keys and values in base64.
        """
        self.reached.clear()
        self._patterns = frozenset({pattern, *in_base64(pattern)})

    def release(self) -> None:
        """What was held is with the client when this returns: who wakes then finds it before its time is up."""
        self._open.set()
        with self._passed:
            assert self._passed.wait_for(lambda: self._held == 0, timeout=10)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((self._address, 0))
        self._spawn(self._serve, listener, port)
        return listener

    def _spawn(self, what: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, listener: socket.socket, port: int) -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection((self._address, port))
                except OSError:
                    client.close()
                    continue
                self._ends += [client, server]
                self._spawn(self._pump, client, server, True)
                self._spawn(self._pump, server, client, False)

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        """Each end is closed by the thread that reads it."""
        with source, contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                time.sleep(self.delay)
                if up and any(pattern in data for pattern in self._patterns):
                    self._patterns = frozenset()
                    self._open.clear()
                    self.reached.set()
                if up:
                    target.sendall(data)
                else:
                    self._answer(target, data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def _answer(self, target: socket.socket, data: bytes) -> None:
        with self._passed:
            self._held += 1
        try:
            self._open.wait()
            target.sendall(data)
        finally:
            with self._passed:
                self._held -= 1
                self._passed.notify_all()


def in_base64(text: bytes) -> Iterator[bytes]:
    """What of it stands in the base64 of anything that contains it, wherever it begins there."""
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(text)) * 8 // 6
        yield b64encode(bytes(before) + text)[first:last]
