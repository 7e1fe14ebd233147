"""The guest's serial console: all it prints goes to our stdout and to whoever looks on, as far as they take it.

QEMU stands still as a whole where its console's end is full, or its guest does. So that end is a pipe of ours, which is
read always; what others do not take is dropped, counted, and said when they take something again.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable

from holdfast import log
from holdfast.dataclass import dataclass
from holdfast.runtime.events import Events
from holdfast.runtime.outlet import LAST_WORDS, ROOM, Outlet, widen
from holdfast.runtime.rundir import RunDirectory

PIECE = 32 * 1024
REST = 0.005  # seconds after each piece: a guest prints byte by byte, and thousands of wakes a second cost a processor
TELL_AGAIN = 5.0  # seconds between two lines about what was dropped
VIEWERS = 4


@dataclass()
class Viewer:
    """A client of the run directory's socket `console`. One that does not read misses something, and no more."""

    connection: socket.socket
    missed: int = 0

    def show(self, data: bytes) -> None:
        """Send what is taken. Raises OSError where nobody is there any more."""
        if self.missed:
            mark = f"\r\n[holdfast: {self.missed} bytes left out]\r\n".encode()
            if self._send(mark) < len(mark):
                self.missed += len(data)
                return
            self.missed = 0
        self.missed = len(data) - self._send(data)

    def _send(self, data: bytes) -> int:
        try:
            return self.connection.send(data)
        except BlockingIOError:
            return 0


class Console:
    """`output` and `input` are QEMU's ends, which the launcher closes when QEMU has them."""

    def __init__(self, rundir: RunDirectory, stdout: Outlet) -> None:
        self._said, self.output = os.pipe2(os.O_CLOEXEC)
        self.input, self._typed = os.pipe2(os.O_CLOEXEC)
        for end in (self._said, self._typed):
            os.set_blocking(end, False)
        widen(self._said)
        self._stdout = stdout
        self._listener = rundir.listen("console")
        self._listener.setblocking(False)
        self._viewers: list[Viewer] = []
        self._dropped = 0
        self._told = -TELL_AGAIN
        self._forget: list[Callable[[], None]] = []
        self._events: Events | None = None
        self._deaf = False  # to new viewers, for want of a descriptor

    def watch(self, events: Events) -> None:
        self._events = events
        events.watch(self._said, self._hear)
        events.watch(self._listener.fileno(), self._accept)

    def forget(self) -> None:
        """Show what QEMU, which has ended, said last."""
        if self._events is None:
            return
        for viewer in list(self._viewers):
            self._leave(viewer)
        for end in (self._said, self._listener.fileno()):
            self._events.forget(end)
        self._events = None
        self._drain(time.monotonic() + LAST_WORDS)

    def close(self) -> None:
        self.forget()
        self._listener.close()
        for end in (self._said, self._typed):
            os.close(end)

    def look(self) -> None:
        """Look after it, every few seconds."""
        self.tell()
        if self._deaf and self._events is not None:
            self._deaf = False
            self._events.watch(self._listener.fileno(), self._accept)

    def tell(self) -> None:
        """Say what was dropped since the last time, once something is taken again."""
        if self._dropped and time.monotonic() - self._told >= TELL_AGAIN:
            log.warning(
                f"the guest's console: {self._dropped} bytes were not taken by stdout, and are lost"
            )
            self._dropped, self._told = 0, time.monotonic()

    # -- what the guest prints

    def _hear(self) -> None:
        if data := self._read():
            taken = self._stdout.write(data)
            if taken:
                self.tell()
            self._dropped += len(data) - taken
            for viewer in list(self._viewers):
                self._show(viewer, data)
            time.sleep(REST)
        elif self._events is not None:  # QEMU has closed it: its end is for others to see
            self._events.forget(self._said)

    def _read(self) -> bytes:
        return os.read(self._said, PIECE)

    def _drain(self, deadline: float) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(ROOM // PIECE + 1):
                if not (data := self._read()):
                    break
                self._dropped += len(data) - self._stdout.finish(data, deadline)
        self._told = -TELL_AGAIN
        self.tell()

    # -- who looks on

    def _accept(self) -> None:
        if self._events is None or (connection := self._accepted(self._events)) is None:
            return
        if len(self._viewers) >= VIEWERS:
            connection.close()
            return
        connection.setblocking(False)
        viewer = Viewer(connection)
        self._viewers.append(viewer)
        self._events.watch(connection.fileno(), lambda: self._type(viewer))

    def _accepted(self, events: Events) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except (BlockingIOError, ConnectionError):  # it has thought better of it
            return None
        except (
            OSError
        ):  # it would be there at once again, and for as long as no descriptor is to be had
            events.forget(self._listener.fileno())
            self._deaf = True
            return None

    def _type(self, viewer: Viewer) -> None:
        """A guest that does not read its port loses what it had no room for."""
        try:
            data = viewer.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave(viewer)
            return
        with contextlib.suppress(OSError):
            os.write(self._typed, data)

    def _show(self, viewer: Viewer, data: bytes) -> None:
        try:
            viewer.show(data)
        except OSError:
            self._leave(viewer)

    def _leave(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)
            if self._events is not None:
                self._events.forget(viewer.connection.fileno())
            viewer.connection.close()
