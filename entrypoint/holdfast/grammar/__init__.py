"""How text is read: one parser a kind of value, which returns the value or raises Refused.

All grammars are ASCII and strict: what looks like a number in Python (`1_000`, ` 2`, `1e3`, an
Arabic digit) is none here. No regular expressions: compiling them would cost more than parsing.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from holdfast.errors import Fault
from holdfast.machine import GIB, KIB, MIB, TIB

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Parser = Callable[[str], T]

LARGEST = 2**63 - 1
HIGHEST_PORT = 65535  # of TCP and UDP

VALUE_LENGTH = MIB  # beyond it etcd would soon refuse the value, and no value of ours needs it

# Of a list of names, addresses or ports: judging it may take each one with each other.
MOST_ITEMS, LIST_LENGTH = 256, 64 * 1024
MOST_LINES = 4096

_UNITS = {
    "k": KIB, "m": MIB, "g": GIB, "t": TIB, "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip
_SWITCHES = {"on": True, "yes": True, "true": True, "1": True,
             "off": False, "no": False, "false": False, "0": False}  # fmt: skip


class Refused(ValueError):
    """The rule that a text breaks. `part` is the guilty piece of it; `hidden` keeps it unshown."""

    def __init__(self, rule: str, *, part: str = "", hidden: bool = False) -> None:
        super().__init__(rule)
        self.rule = rule
        self.part = part
        self.hidden = hidden

    def fault(self, key: str, text: str | None = None) -> Fault:
        return Fault(key=key, value=None if self.hidden else self.part or text, rule=self.rule)


def decoded(value: bytes) -> str:
    """The text of a value. One newline at its end is what `etcdctl put` and editors leave there."""
    if len(value) > VALUE_LENGTH:
        raise Refused(f"has {len(value)} bytes, more than 1 MiB", hidden=True)
    try:
        text = value.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise Refused(f"is not UTF-8 text (byte {error.start})", hidden=True) from None
    if text.startswith("\ufeff"):
        raise Refused("starts with a byte-order mark: save it as UTF-8 without one")
    if "\0" in text:
        raise Refused("has a NUL byte")
    return text


def size(*, bare: int = 1, least: int = 0, step: int = 1) -> Parser[int]:
    """Bytes. `bare` is the unit of a number without a suffix."""

    def parse(text: str) -> int:
        digits = text.rstrip("kKmMgGtTiIbB")
        suffix = text[len(digits) :].lower()
        unit = _UNITS.get(suffix) if suffix else bare
        if unit is None or not (digits.isascii() and digits.isdigit()):
            raise Refused("must be a size such as 512M, 4G, 4GiB or 4GB, without blank or sign")
        value = int(digits) * unit if len(digits) < 20 else LARGEST + 1  # noqa: PLR2004 - 2**63
        if value > LARGEST:
            raise Refused("is too large")
        if value < least:
            raise Refused(f"must be at least {spelled(least)}")
        if value % step:
            raise Refused(f"must be a multiple of {step} bytes")
        return value

    return parse


def spelled(value: int) -> str:
    return f"{value // MIB} MiB" if value and value % MIB == 0 else f"{value} bytes"


def whole(least: int, most: int) -> Parser[int]:
    def parse(text: str) -> int:
        plain = text.isascii() and text.isdigit() and len(text) < 20  # noqa: PLR2004 - digits
        if not plain or not least <= int(text) <= most:
            raise Refused(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def switch(text: str) -> bool:
    state = _SWITCHES.get(text.lower())
    if state is None:
        raise Refused("must be on or off (also yes, no, true, false, 1, 0)")
    return state


def choice(kinds: type[E]) -> Parser[E]:
    """One of an enumeration."""

    def parse(text: str) -> E:
        try:
            return kinds(text)
        except ValueError:
            raise Refused(f"must be one of {', '.join(kinds)}") from None

    return parse


def one_of(*words: str) -> Parser[str]:
    def parse(text: str) -> str:
        if text not in words:
            raise Refused(f"must be one of {', '.join(words)}")
        return text

    return parse


def text(value: str) -> str:
    """Free text of several lines. Control characters would move the terminal that shows it."""
    if any(letter < " " and letter not in "\n\t" for letter in value):
        raise Refused("has a control character")
    return value


def line(longest: int) -> Parser[str]:
    def parse(value: str) -> str:
        if not value.isprintable():
            raise Refused("must be one line without control characters")
        if len(value.encode()) > longest:
            raise Refused(f"must not be longer than {longest} bytes")
        return value

    return parse


def several(parser: Parser[T]) -> Parser[tuple[T, ...]]:
    """Items on lines of their own, or with blanks between."""

    def parse(value: str) -> tuple[T, ...]:
        items = value[:LIST_LENGTH].split()
        if not items:
            raise Refused("is empty: delete the key instead")
        if len(value) > LIST_LENGTH or len(items) > MOST_ITEMS:
            raise Refused(
                f"has more than {MOST_ITEMS} items, or {LIST_LENGTH} characters", hidden=True
            )
        return tuple(_item(parser, item) for item in items)

    return parse


def _item(parser: Parser[T], item: str) -> T:
    try:
        return parser(item)
    except Refused as refused:
        rule = "has a comma: items stand on lines of their own, or with blanks between"
        raise Refused(rule if "," in item else refused.rule, part=item) from None


def lines(value: str) -> tuple[str, ...]:
    """One item a line, whichever system's editor ended them; empty lines count for nothing."""
    found = tuple(item for item in text(unix(value)).split("\n") if item.strip())
    if len(found) > MOST_LINES:
        raise Refused(f"has {len(found)} lines, more than {MOST_LINES}", hidden=True)
    return found


def unix(value: str) -> str:
    """With the ends of lines that are used here."""
    return value.replace("\r\n", "\n").removesuffix("\r")
