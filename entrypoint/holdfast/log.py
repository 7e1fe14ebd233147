"""Holdfast's own lines, on stderr: one a phase, with the time. The guest's console is on stdout."""

import json
import sys
import time
from enum import IntEnum


class Level(IntEnum):
    debug = 10
    info = 20
    warning = 30
    error = 40


LONGEST = 16 * 1024  # characters of one line

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
    try:
        # One write a line: threads and QEMU share the descriptor.
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody reads the log any more; the VM matters more


def plain(text: str) -> str:
    """Half of what is logged was somebody else's word once: nothing of it may move a terminal, or pass for
    a line of ours. What a kernel, a server or a tool said may have several lines: they become one.
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
    return json.dumps(
        {"time": stamp, "elapsed": elapsed, "level": level.name, "message": message, **fields}
    )


def _text_line(level: Level, message: str, fields: dict[str, object]) -> str:
    mark = "" if level <= Level.info else f"{level.name}: "
    tail = "".join(f" {name}={value}" for name, value in fields.items())
    return f"holdfast {time.monotonic() - _started:7.3f}s {mark}{message}{tail}"
