"""The guard of a QEMU that only time keeps off its disks: a process that kills it if we do not."""

import contextlib
import os
import socket
import subprocess
import sys
from typing import Self

from holdfast import log
from holdfast.errors import InternalError
from holdfast.ownership import guard_process
from holdfast.ownership.keepalive import Finding
from holdfast.runtime.events import Events

START = 10.0  # seconds until the process must be there


class Guard:
    """A process of its own, which outlives us if it must. Its end, too, is an event."""

    def __init__(self, pid: int, deadline: float, events: Events) -> None:
        self._events = events
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        qemu = os.pidfd_open(pid)
        # No parent-death signal, and a session of its own: it goes when QEMU goes.
        command = [sys.executable, "-I", "-S", "-B", guard_process.__file__]
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(qemu), str(deadline)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=[qemu],
                start_new_session=True,
                env={},
            )
        os.close(qemu)
        self._await()
        self.pid = self._process.pid
        log.info("a guard ends QEMU if its lease is not renewed", pid=self.pid)
        events.watch(self._socket.fileno(), self._hear)

    def _await(self) -> None:
        self._socket.settimeout(START)
        try:
            if self._socket.recv(64) == guard_process.READY:
                self._socket.setblocking(False)
                return
        except (TimeoutError, ConnectionResetError):
            pass
        self._end()
        raise InternalError("the process that guards QEMU by time could not be started")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hear(self) -> None:
        try:
            word = self._socket.recv(64)
        except ConnectionResetError:  # it was killed with a packet unread
            word = b""
        if word == guard_process.KILLED:
            self._events.post(Finding.lost)
            return
        self._forget()
        if word != guard_process.GONE:
            self._events.post(Finding.unguarded)

    def feed(self, deadline: float) -> None:
        """Called from any thread. One that takes nothing is stopped, or has ended."""
        with contextlib.suppress(OSError):
            self._socket.send(str(deadline).encode())

    def close(self) -> None:
        """QEMU has ended, or ends now."""
        self._forget()
        self._end()

    def _forget(self) -> None:
        self._events.forget(self._socket.fileno())

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()
