"""Where we say something: a descriptor that somebody else reads, or does not. Nothing here waits for him.

A log driver that hangs, a client that is stopped and a full disk must not stop a VM. A pipe and a terminal are opened
once more: O_NONBLOCK on what we were given would be everybody's who shares it. A file and a socket have no such thing,
and behind a `cat` they need none: it waits in our place, and our pipe to it is full.
"""

import contextlib
import fcntl
import os
import select
import stat
import subprocess
import threading
import time

ROOM = (
    256 * 1024
)  # bytes of a pipe; more of them than this, and neighbours find none left (pipe(7))
LAST_WORDS = 1.0  # seconds for what is read late, at the end
NEXT_CAT = 5.0  # seconds between two: one ends where a disk is full
REOPENED = (stat.S_ISFIFO, stat.S_ISCHR)


class Outlet:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = -1
        self._cat: subprocess.Popen[bytes] | None = None
        self._cat_at = 0.0
        self._turn = threading.Lock()
        try:
            self._end = _reopened(descriptor)
        except OSError:
            self._piped()

    def write(self, data: bytes) -> int:
        """Write without waiting; return how many bytes were taken."""
        try:
            return os.write(self._end, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._piped()
            return 0

    def close(self, deadline: float) -> None:
        """Close it. What a `cat` has been given is said, if by `deadline` (time.monotonic)."""
        with contextlib.suppress(OSError):
            os.close(self._end)
        self._end = -1
        if self._cat is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._cat.wait(max(0.0, deadline - time.monotonic()))

    def finish(self, data: bytes, deadline: float) -> int:
        """Write until `deadline` (time.monotonic), when nothing else is left to do."""
        taken = self.write(data)
        while taken < len(data) and (left := deadline - time.monotonic()) > 0:
            if self._end < 0:  # no process was to be had for it
                break
            waiting = select.poll()
            waiting.register(self._end, select.POLLOUT)
            waiting.poll(left * 1000)
            if not (more := self.write(data[taken:])):
                break
            taken += more
        return taken

    def _piped(self) -> None:
        """Through a `cat`; through a new one where the last has ended."""
        with self._turn:
            if time.monotonic() < self._cat_at:
                return
            self._cat_at = time.monotonic() + NEXT_CAT
            with contextlib.suppress(OSError):
                os.close(self._end)
            self._end = -1
            if self._cat is not None:
                self._cat.poll()
            with contextlib.suppress(OSError):  # no process to be had: the next one may be
                self._end, self._cat = _cat(self._descriptor)


_all: dict[int, Outlet] = {}


def outlet(descriptor: int) -> Outlet:
    """Return the one of a descriptor, for as long as we live."""
    if descriptor not in _all:
        _all[descriptor] = Outlet(descriptor)
    return _all[descriptor]


def close_all() -> None:
    deadline = time.monotonic() + LAST_WORDS
    for one in _all.values():
        one.close(deadline)


def _reopened(descriptor: int) -> int:
    mode = os.fstat(descriptor).st_mode
    if not any(kind(mode) for kind in REOPENED):
        raise OSError
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    opened = os.open(f"/proc/self/fd/{descriptor}", flags)
    if stat.S_ISFIFO(mode):
        widen(opened)
    return opened


def _cat(descriptor: int) -> tuple[int, "subprocess.Popen[bytes]"]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    widen(writer)
    os.set_blocking(writer, False)
    try:
        # A session of its own: Ctrl-C in a terminal is for us, who have more to say then.
        process = subprocess.Popen(
            ["cat"],
            stdin=reader,
            stdout=descriptor,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return writer, process


def widen(pipe: int) -> None:
    with contextlib.suppress(
        OSError
    ):  # this user's pipes have had all they may: it works as it is
        if fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) < ROOM:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, ROOM)
