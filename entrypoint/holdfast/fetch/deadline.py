"""How long a server may take: a clock for everything together, and a socket that keeps to it."""

import io
import time
from socket import socket
from typing import Any

from holdfast.errors import Unreachable

GRACE = 600.0  # seconds; then what takes as long as it takes must come at
SLOWEST = 1024  # bytes a second or more
MOST_HEAD = 1024**2  # bytes before a body; "100 Continue" may be said again and again


class Clock:
    """The time for everything together; no server can extend it by a drip of bytes."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError for none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def heard(self, count: int) -> None:
        """Count so many bytes that have come."""


class Patience(Clock):
    """For what takes as long as it takes: a limit to each wait, and none to all of them together for as long as
    enough comes. Whoever drips a byte now and then holds a VM's lock up meanwhile.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(GRACE)
        self._seconds = seconds

    def left(self) -> float:
        try:
            return min(self._seconds, super().left())
        except TimeoutError:
            raise Unreachable(f"sends less than {SLOWEST} bytes a second") from None

    def heard(self, count: int) -> None:
        self._end = min(time.monotonic() + GRACE, self._end + count / SLOWEST)


class Wire(io.RawIOBase):
    """A socket as http.client uses one, each wait of which ends with the clock."""

    def __init__(self, sock: socket, clock: Clock) -> None:
        super().__init__()
        self._sock = sock
        self._clock = clock
        self.ended = False
        self.in_head = True
        self._head = 0  # bytes

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._clock.left())
        count = self._sock.recv_into(buffer)
        self.ended = count == 0
        self._clock.heard(count)
        if self.in_head:
            self._head += count
            if self._head > MOST_HEAD:
                raise Unreachable("does not come to the end of its answer's head")
        return count

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def close(self) -> None:
        """Do nothing: http.client closes before the body is read, the socket's owner after."""
