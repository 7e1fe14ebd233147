"""How long a server may take: a clock for everything together, and a socket that keeps to it."""

import io
import time
from socket import socket
from typing import Any


class Clock:
    """The time for everything together; no server can extend it by a drip of bytes."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Patience(Clock):
    """For what takes as long as it takes: a limit to each wait, not to all of them together."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._seconds = seconds

    def left(self) -> float:
        return self._seconds


class Wire(io.RawIOBase):
    """A socket as http.client uses one, each wait of which ends with the clock."""

    def __init__(self, sock: socket, clock: Clock) -> None:
        super().__init__()
        self._sock = sock
        self._clock = clock
        self.ended = False

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._clock.left())
        count = self._sock.recv_into(buffer)
        self.ended = count == 0
        return count

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def close(self) -> None:
        """http.client closes before the body is read; the socket's owner does it after."""
