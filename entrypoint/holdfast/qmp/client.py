"""QEMU's machine protocol (docs/interop/qmp-spec) over a socket that QEMU was born with."""

import json
import socket
import time
from collections import deque
from contextlib import suppress
from typing import Any

from holdfast.errors import InternalError

Message = dict[str, Any]

LARGEST = 8 << 20  # bytes of a message
MOST_UNSENT = 64 * 1024  # bytes of commands that QEMU has not taken yet
MOST_WAITING = 10_000  # messages that come before an answer
SHAPES = {"event": str, "data": dict, "error": dict, "QMP": dict}


class QmpError(InternalError):
    """QEMU refused a command."""


class Disconnected(InternalError):
    """QEMU has closed its end: it is gone, or about to be."""


class Mute(Disconnected):
    """QEMU is there, and has not answered in time."""


class Qmp:
    """One client, no path in the file system: nobody else can reach this monitor.

    `call` is for the start, when an answer is needed; `send` never waits, so a QEMU that hangs
    cannot hang the launcher. A command is sent whole or not at all: what QEMU has no room for goes when it
    says something next, as it does when it has taken the commands before.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray()
        self._unsent = bytearray()
        self._messages: deque[Message] = deque()
        self._number = 0
        self.version = ""

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()

    def fileno(self) -> int:
        return self._ours.fileno()

    def connect(self, timeout: float) -> None:
        """Greet, and learn QEMU's version, within `timeout` seconds. Raises Disconnected."""
        self.theirs.close()  # QEMU's exit must be seen as an end of file
        deadline = time.monotonic() + timeout
        greeting = self._next(deadline)
        self.call("qmp_capabilities", timeout=deadline - time.monotonic())
        self.version = _version(greeting)

    def send(self, command: str, **arguments: Any) -> int:
        """Send a command; return its number. Raises Disconnected."""
        self._number += 1
        request = {
            "execute": command,
            "id": self._number,
            **({"arguments": arguments} if arguments else {}),
        }
        line = json.dumps(request).encode() + b"\n"
        if len(self._unsent) + len(line) > MOST_UNSENT:
            raise Disconnected(f"QEMU does not take the command {command}: many before it wait")
        self._unsent += line
        self._flush()
        return self._number

    def _flush(self) -> None:
        self._ours.setblocking(False)
        try:
            while self._unsent:
                del self._unsent[: self._ours.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Disconnected(f"QEMU does not take commands: {error}") from error

    def call(self, command: str, *, timeout: float, **arguments: Any) -> Any:
        """Return the answer; events that come before it are kept for `read`.

        `timeout` is in seconds. Raises QmpError for a refusal, Mute, Disconnected.
        """
        deadline = time.monotonic() + timeout
        number = self.send(command, **arguments)
        events: list[Message] = []
        while (message := self._next(deadline)).get("id") != number:
            events.append(message)
            if len(events) > MOST_WAITING:
                raise Disconnected(f"QEMU says much, and does not answer {command}")
        self._messages.extendleft(reversed(events))
        if "error" in message:
            raise QmpError(f"QEMU refuses {command}: {message['error'].get('desc')}")
        return message.get("return")

    def read(self) -> list[Message]:
        """Return all that has come. Raises Disconnected at the end."""
        try:
            self._receive(0)
        except TimeoutError:
            pass
        found = list(self._messages)
        self._messages.clear()
        return found

    def _next(self, deadline: float) -> Message:
        while not self._messages:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise Mute("QEMU does not answer on its monitor")
            try:
                self._receive(remaining)
            except TimeoutError:
                continue
        return self._messages.popleft()

    def _heard(self, timeout: float) -> bytes | None:
        self._ours.settimeout(max(timeout, 0.0))
        try:
            return self._ours.recv(65536)
        except BlockingIOError:
            return None
        except TimeoutError:
            raise
        except OSError as error:
            raise Disconnected(f"QEMU's monitor is gone: {error}") from error

    def _receive(self, timeout: float) -> None:
        data = self._heard(timeout)
        if data is None:
            return
        if not data:
            raise Disconnected("QEMU has closed its monitor")
        first, *others = data.split(b"\n")
        self._buffer += first
        for line in others:
            if whole := self._buffer.strip():
                self._messages.append(_message(whole))
            self._buffer = bytearray(line)
        if len(self._buffer) > LARGEST:
            raise Disconnected("QEMU's monitor says something without end")
        with suppress(Disconnected):  # its last words are read before its end
            self._flush()


def _message(line: bytes | bytearray) -> Message:
    """A guest may have broken out into QEMU: what it says is looked at like anybody's."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Disconnected(f"QEMU's monitor does not speak JSON: {error}") from error
    if not isinstance(found, dict) or any(
        name in found and not isinstance(found[name], kind) for name, kind in SHAPES.items()
    ):
        raise Disconnected("QEMU's monitor does not speak QMP")
    return found


def _version(greeting: Message) -> str:
    try:
        version = greeting["QMP"]["version"]["qemu"]
        return f"{version['major']}.{version['minor']}.{version['micro']}"
    except (LookupError, TypeError) as error:
        raise Disconnected("QEMU's monitor does not say which QEMU it is") from error
