"""How QEMU's options are spelled, and read back: `key=value` with doubled commas, and JSON."""

import json
from collections.abc import Mapping

Value = str | int | bool | None


def escaped(value: str) -> str:
    """A value that cannot end its place: QEMU reads two commas as one."""
    return value.replace(",", ",,")


def spelled(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return escaped(str(value))


def keyed(head: str, /, **properties: Value) -> str:
    """`head,key=value,...` in the order given; None leaves a property out.

    QEMU's own `-` is `_` here, as Python wants it: no option of ours has a key with `_`.
    """
    given = [(key.replace("_", "-"), value) for key, value in properties.items()]
    pairs = [f"{key}={spelled(value)}" for key, value in given if value is not None]
    return ",".join([escaped(head), *pairs] if head else pairs)


def as_json(properties: Mapping[str, object]) -> str:
    """The JSON form, in the order given; None leaves a member out."""
    given = {key: value for key, value in properties.items() if value is not None}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def split(text: str, head: str = "") -> list[tuple[str, str]]:
    """What QEMU makes of a `key=value` text; `head` is the key that a bare first word stands for.

    A later bare word is a switch: `on`.
    """
    pairs = []
    for number, part in enumerate(parts(text)):
        key, equals, value = part.partition("=")
        if equals:
            pairs.append((key, value.replace(",,", ",")))
        elif number == 0 and head:
            pairs.append((head, part.replace(",,", ",")))
        else:
            pairs.append((key, "on"))
    return pairs


def parts(text: str) -> list[str]:
    """The text cut at its single commas; doubled ones stay as they are."""
    found, start, place = [], 0, 0
    while (place := text.find(",", place)) >= 0:
        if text[place + 1 : place + 2] == ",":
            place += 2
            continue
        found.append(text[start:place])
        start = place = place + 1
    return [*found, text[start:]]
