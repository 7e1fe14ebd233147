"""What the launcher waits for: signals, descriptors that can be read, and word from its threads.

One selector, one loop. Signal handlers do nothing; the kernel's wake-up descriptor brings the
number of each signal into the loop.
"""

import contextlib
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from holdfast import log
from holdfast.runtime.rundir import BEAT, beat
from holdfast.runtime.thread import ended

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def hold_back() -> None:
    """Block stop signals until Events are there. For process 1 of a container the kernel drops one
    that has no handler, but keeps one that is blocked: else a stop would be lost that comes while
    we start, and the VM would run.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def let_through() -> None:
    """Unblock stop signals, for what ends by one as any program does."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


class Stopped(Exception):
    """A signal has ended the waiting."""


class Events:
    """A queue of signals and of whatever other threads post."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._posted: deque[object] = deque()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.watch(self._reader, self._drain)

    def __enter__(self) -> Self:
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        # Last: a stop that came before (see `hold_back`) arrives now, and needs all this.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()

    def post(self, event: object) -> None:
        """Queue an event, from any thread."""
        self._posted.append(event)
        with contextlib.suppress(BlockingIOError):  # full: the loop is about to wake anyway
            os.write(self._writer, b"\0")

    def watch(self, descriptor: int, on_readable: Callable[[], object]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, on_readable)

    def forget(self, descriptor: int) -> None:
        """Forget a descriptor. What is at its end can be read for ever: it is forgotten there, and
        need not be later.
        """
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def wait(self, deadline: float | None = None) -> list[object]:
        """Return what has happened; empty after `deadline` (time.monotonic), or when only a
        descriptor spoke.
        """
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        for key, _ in self._selector.select(0 if self._posted else timeout):
            key.data()
        return [self._posted.popleft() for _ in range(len(self._posted))]

    def sleep(self, until: float, wake: Callable[[object], bool] = lambda _: False) -> None:
        """Wait until `until` (time.monotonic), or for an event that is to wake us; others are dropped.

        Raises Stopped for a stop signal.
        """
        while (now := time.monotonic()) < until:
            log.catch_up()
            beat(well=not ended)
            for event in (found := self.wait(min(until, now + BEAT))):
                if event in STOP_SIGNALS:
                    raise Stopped
            if any(map(wake, found)):
                return

    def stop_asked(self) -> bool:
        """Tell whether a stop waits to be handled. Nothing is taken out of the queue."""
        for key, _ in self._selector.select(0):
            key.data()
        return any(event in STOP_SIGNALS for event in self._posted)

    def _drain(self) -> None:
        # post() puts its event into the queue before it writes the zero byte.
        self._posted.extend(signal.Signals(byte) for byte in os.read(self._reader, 4096) if byte)
