"""Holdfast's own lines, on stderr: one a phase, with the time. The guest's console is on stdout.

What stands in them may come from a guest, a key, the network: nothing in it can begin a line or move a cursor.
"""

import json
import sys
import time
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.runtime.outlet import Outlet


class Level(IntEnum):
    debug = 10
    info = 20
    warning = 30
    error = 40


# Bytes of one line: with its end it is as much as a pipe takes whole or not at all (pipe(7), PIPE_BUF).
LONGEST = 4095

_started = time.monotonic()
_threshold = Level.info
_as_json = False


def configure(*, level: str, as_json: bool) -> None:
    global _threshold, _as_json
    _threshold, _as_json = Level[level], as_json


def debug(message: str, **fields: object) -> None:
    _write(Level.debug, message, fields)


def info(message: str, **fields: object) -> None:
    _write(Level.info, message, fields)


def warning(message: str, **fields: object) -> None:
    _write(Level.warning, message, fields)


def error(message: str, **fields: object) -> None:
    _write(Level.error, message, fields)


def _write(level: Level, message: str, fields: dict[str, object]) -> None:
    if level < _threshold:
        return
    message = plain(message)
    fields = {name: _plain_field(value) for name, value in fields.items()}
    line = _json_line(level, message, fields) if _as_json else _text_line(level, message, fields)
    show(line.encode(errors="replace")[:LONGEST] + b"\n")


class _Sink:
    """Until `outlet` is there, stderr as any program has it."""

    outlet: "Outlet | None" = None
    unshown = 0  # lines

    def show(self, data: bytes) -> None:
        if self.outlet is None:
            self._wait_for(data)
        elif not self.caught_up() or self.outlet.write(data) < len(data):
            self.unshown += 1

    def caught_up(self) -> bool:
        if self.unshown and self.outlet is not None:
            text = f"{self.unshown} lines were not taken by stderr, and are lost"
            line = (_json_line if _as_json else _text_line)(Level.warning, text, {})
            if not self.outlet.write(line.encode() + b"\n"):
                return False
            self.unshown = 0
        return True

    def _wait_for(self, data: bytes) -> None:
        try:
            sys.stderr.write(data.decode(errors="replace"))
            sys.stderr.flush()
        except OSError:
            pass  # nobody reads the log any more; the VM matters more


_sink = _Sink()


def through(outlet: "Outlet") -> None:
    """Wait from now on for nobody who does not read."""
    _sink.outlet = outlet


def show(data: bytes) -> None:
    """Show a line, or what draws on a terminal. Threads and QEMU's helpers share the descriptor:
    one write each.
    """
    _sink.show(data)


def catch_up() -> None:
    """Say what was not shown, if somebody reads again."""
    _sink.caught_up()


def plain(text: str) -> str:
    """Make one line of a text. Half of what is logged was somebody else's word once: nothing of it
    may move a terminal, or pass for a line of ours. What a kernel, a server or a tool said may
    have several lines: they become one.
    """
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(map(_seen, text.rstrip("\r\n")))


def _seen(letter: str) -> str:
    if letter in "\r\n\t":
        return " "
    return letter if letter.isprintable() else ascii(letter)[1:-1]


def _plain_field(value: object) -> object:
    return value if isinstance(value, int | float) else plain(str(value))


def _json_line(level: Level, message: str, fields: dict[str, object]) -> str:
    stamp = (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
    )
    elapsed = round(time.monotonic() - _started, 3)
    line = {"time": stamp, "elapsed": elapsed, "level": level.name, "message": message, **fields}
    text = json.dumps(line)
    if len(text) <= LONGEST:
        return text
    return json.dumps(
        {**line, "message": message[: LONGEST // 12], **dict.fromkeys(fields, "...")}
    )


def _text_line(level: Level, message: str, fields: dict[str, object]) -> str:
    mark = "" if level <= Level.info else f"{level.name}: "
    tail = "".join(f" {name}={value}" for name, value in fields.items())
    return f"holdfast {time.monotonic() - _started:7.3f}s {mark}{message}{tail}"
