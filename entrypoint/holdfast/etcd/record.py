"""How a record is written down: JSON with a version.

A launcher of another version may run beside this one, or have run before it. Of a record whose version
it knows, it passes over the fields that it does not know; so a field may only be added where passing
over it is harmless, and the version is raised where it is not. What it cannot read it never takes
for nothing: it says so, and takes nothing.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from holdfast.dataclass import MISSING, fields

VERSION = 1
LONGEST = 256 * 1024  # bytes of a record: 20 disks and a thousand storage clients have less
LONGEST_TEXT = 4096
MOST_STRINGS = 4096
CLIENT = re.compile(r"[][0-9A-Fa-f.:]{2,64}:[0-9]{1,5}/([1-9][0-9]{0,9})")


class Unreadable(ValueError):
    """Nobody may go on as if this record said nothing. The text is the end of a sentence on it."""


class Newer(Unreadable):
    def __init__(self, why: str) -> None:
        super().__init__(f"is of a newer Holdfast ({why}): upgrade the launcher on this host")


class Damaged(Unreadable):
    def __init__(self, why: str) -> None:
        super().__init__(f"is damaged ({why})")


def decode(kind: type, value: bytes, longest: int = LONGEST) -> dict[str, Any]:
    """Read the fields of `kind` from a record. Who may write a VM's keys may have written it.

    `longest` is in bytes. Raises Damaged or Newer.
    """
    if len(value) > longest:
        raise Damaged(f"{len(value)} bytes")
    data = _parsed(value)
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise Damaged("no version")
    if version > VERSION:
        raise Newer(f"version {version}, and this one reads up to {VERSION}")
    return known(kind, data, max(longest - LONGEST, LONGEST_TEXT))


def known(kind: type, data: object, longest: int = LONGEST_TEXT) -> dict[str, Any]:
    """Take the fields of `kind`, each text of at most `longest` characters. Raises Damaged."""
    if not isinstance(data, dict):
        raise Damaged("no object")
    for field in fields(kind):
        if field.name not in data and field.default is MISSING:
            raise Damaged(f"no {field.name}")
    found = {field.name: data[field.name] for field in fields(kind) if field.name in data}
    for field in fields(kind):
        if not _fits(field.type, found.get(field.name, field.default), longest):
            raise Damaged(f"{field.name} is not what it should be")
    return found


def _fits(kind: Any, value: object, longest: int) -> bool:
    """Only what is text or number by its field's type; a list has a reader of its own."""
    if isinstance(kind, type) and issubclass(kind, str):  # an enum of texts, too
        return isinstance(value, str) and value.isprintable() and len(value) <= longest
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return True


def _parsed(value: bytes) -> dict[str, Any]:
    try:
        data = json.loads(value)
    except (ValueError, RecursionError) as error:  # of many brackets
        raise Damaged("no JSON") from error
    if not isinstance(data, dict):
        raise Damaged("no object")
    return data


def strings(data: object) -> tuple[str, ...]:
    """Take a list of texts. Raises Damaged."""
    if not isinstance(data, list) or len(data) > MOST_STRINGS:
        raise Damaged("no list of texts")
    if not all(_fits(str, one, LONGEST_TEXT) for one in data):
        raise Damaged("no list of texts")
    return tuple(data)


def clients(data: object) -> tuple[str, ...]:
    """Read storage clients as Ceph lists them, IP:PORT/NONCE. Raises Damaged.

    Nonce 0 is a whole host in Ceph's blocklist (OSDMap::is_blocklisted), and no client's; it has
    32 bits there, so 2^32 may be taken for it.
    """
    found = strings(data)
    if wrong := [one for one in found if not _is_client(one)]:
        raise Damaged(f"{wrong[0][:64]!r} is no address of one client of Ceph")
    return found


def _is_client(text: str) -> bool:
    found = CLIENT.fullmatch(text)
    return found is not None and int(found[1]) < 2**32


def decode_copies(copies: Mapping[str, list[str]]) -> dict[int, tuple[str, ...]]:
    """Read the clients in the images' copies of fence records: by epoch a text for each image.

    Raises Newer for what it cannot read.

    >>> decode_copies({"7": ['["10.0.0.1:0/1"]', '["10.0.0.1:0/2"]']})
    {7: ('10.0.0.1:0/1', '10.0.0.1:0/2')}
    """
    found: dict[int, tuple[str, ...]] = {}
    for epoch, texts in copies.items():
        if not (epoch.isascii() and epoch.isdecimal() and len(epoch) < 20):  # noqa: PLR2004 - 2**63
            raise Newer(f"epoch {epoch[:64]!r}")
        found[int(epoch)] = tuple(one for text in texts for one in _copy(text))
    return found


def _copy(text: str) -> tuple[str, ...]:
    try:
        return clients(json.loads(text))
    except (ValueError, RecursionError, Damaged) as error:
        raise Newer(f"its clients are {text[:64]!r}") from error
