"""What a command is made of, as values, and how QEMU's options are spelled, last of all: `key=value` with doubled
commas, or JSON.

QEMU's JSON is the same on its command line and in QMP: the members of `-blockdev` are the arguments of
`blockdev-add` (QAPI: qdev.json, block-core.json, net.json, qom.json). So the values of a start are those that a
running guest is given by `add` and `arguments`, too; tests/integration/test_argv_boots.py has QEMU take both.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from holdfast.dataclass import dataclass

Value = str | int | bool | None  # of one property; None leaves it out


class Hex(int):
    """A number that is spelled in hexadecimal, where a person reads it: an id of USB's."""

    def __str__(self) -> str:
        return f"{self:#06x}"


@dataclass(frozen=True)
class Setting:
    """What only a start can say, once the value is spelled: `-machine`, `-name`, `-spice`. None: a switch."""

    name: str
    value: str | None = None


@dataclass(frozen=True)
class Chardev:
    """A character device. QMP nests what it is told of one otherwise."""

    backend: str
    properties: Mapping[str, Value]


@dataclass(frozen=True)
class Pluggable:
    """What QMP can add to a running guest by the words of a start: its type, and its properties by QEMU's own names,
    each of the type that QEMU gives it.
    """

    type: str
    properties: Mapping[str, object]

    option: ClassVar[str]
    add: ClassVar[str]  # QMP's command
    head: ClassVar[str]  # the member that the type is


class Device(Pluggable):
    """The guest's end. Its values are a `Value` each."""

    option, add, head = "device", "device_add", "driver"


class Blockdev(Pluggable):
    option, add, head = "blockdev", "blockdev-add", "driver"


class Netdev(Pluggable):
    option, add, head = "netdev", "netdev_add", "type"


class Object(Pluggable):
    option, add, head = "object", "object-add", "qom-type"


Part = Setting | Chardev | Pluggable


def words(parts: Iterable[Part], *, late: bool = False) -> list[str]:
    """Spell the parts as arguments of a command.

    `late`: devices as JSON, too. QEMU makes those after all that are spelled as `key=value`.
    """
    return [word for part in parts for word in _words(part, late=late)]


def _words(part: Part, *, late: bool) -> list[str]:
    if isinstance(part, Setting):
        return [f"-{part.name}"] if part.value is None else [f"-{part.name}", part.value]
    if isinstance(part, Chardev):
        return ["-chardev", members(part.backend, part.properties)]
    if isinstance(part, Device) and not late:
        return ["-device", members(part.type, part.properties)]
    return [f"-{part.option}", as_json(arguments(part))]


def arguments(part: Pluggable) -> dict[str, object]:
    """Spell a part as the arguments of the QMP command `part.add`, or as the JSON of its option."""
    given = {key: value for key, value in part.properties.items() if value is not None}
    return {part.head: part.type, **given}


def escaped(value: str) -> str:
    """A value that cannot end its place: QEMU reads two commas as one."""
    return value.replace(",", ",,")


def spelled(value: object) -> str:
    """A property's value as text: QEMU's `on` and `off`, and commas doubled."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return escaped(str(value))


def members(head: str, properties: Mapping[str, object]) -> str:
    """`head,key=value,...` in the order given; None leaves a property out."""
    pairs = [f"{key}={spelled(value)}" for key, value in properties.items() if value is not None]
    return ",".join([escaped(head), *pairs] if head else pairs)


def keyed(head: str, /, **properties: Value) -> str:
    """The same. QEMU's own `-` is `_` here, as Python wants it: no setting of ours has a key with `_`."""
    return members(head, {key.replace("_", "-"): value for key, value in properties.items()})


def keyed_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return ",".join(f"{key}={escaped(value)}" for key, value in pairs)


def as_json(properties: Mapping[str, object]) -> str:
    """The JSON form, in the order given; None leaves a member out."""
    given = {key: value for key, value in properties.items() if value is not None}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))
