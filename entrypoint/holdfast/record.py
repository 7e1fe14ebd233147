"""How a record is written down: JSON with a version.

A launcher of another version may run beside this one, or have run before it. Of a record whose version
it knows, it passes over the fields that it does not know; so a field may only be added where passing
over it is harmless, and the version is raised where it is not. What it cannot read it never takes
for nothing: it says so, and takes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

VERSION = 1


class Unreadable(ValueError):
    """Nobody may go on as if this record said nothing. The text is the end of a sentence on it."""


class Newer(Unreadable):
    def __init__(self, why: str) -> None:
        super().__init__(f"is of a newer Holdfast ({why}): upgrade the launcher on this host")


class Damaged(Unreadable):
    def __init__(self, why: str) -> None:
        super().__init__(f"is damaged ({why})")


def decode(kind: type, value: bytes) -> dict[str, Any]:
    """What the record says of the fields of `kind`."""
    data = _parsed(value)
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise Damaged("no version")
    if version > VERSION:
        raise Newer(f"version {version}, and this one reads up to {VERSION}")
    return known(kind, data)


def known(kind: type, data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Damaged("no object")
    for field in fields(kind):
        if field.name not in data and field.default is MISSING:
            raise Damaged(f"no {field.name}")
    return {field.name: data[field.name] for field in fields(kind) if field.name in data}


def _parsed(value: bytes) -> dict[str, Any]:
    try:
        data = json.loads(value)
    except ValueError as error:
        raise Damaged("no JSON") from error
    if not isinstance(data, dict):
        raise Damaged("no object")
    return data


def strings(data: object) -> tuple[str, ...]:
    if not isinstance(data, list) or not all(isinstance(one, str) for one in data):
        raise Damaged("no list of addresses")
    return tuple(data)


def decode_copies(copies: Mapping[str, list[str]]) -> dict[int, tuple[str, ...]]:
    """The clients in the images' copies of fence records: by epoch a text for each image.

    >>> decode_copies({"7": ['["10.0.0.1:0/1"]', '["10.0.0.1:0/2"]']})
    {7: ('10.0.0.1:0/1', '10.0.0.1:0/2')}
    """
    found: dict[int, tuple[str, ...]] = {}
    for epoch, texts in copies.items():
        if not epoch.isdecimal():
            raise Newer(f"epoch {epoch}")
        found[int(epoch)] = tuple(one for text in texts for one in _copy(text))
    return found


def _copy(text: str) -> tuple[str, ...]:
    try:
        return strings(json.loads(text))
    except (ValueError, Damaged) as error:
        raise Newer(f"its clients are {text[:64]!r}") from error
