"""QEMU's options as a user spells them, read: `key=value` with doubled commas, or JSON."""

import json
from collections.abc import Sequence
from typing import Any

from holdfast.dataclass import dataclass
from holdfast.errors import UsageError, shortened
from holdfast.qemu.spelling import spelled


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


# Options that stand alone, in QEMU 7 to 10 and those of older ones that are translated. All others
# are followed by a value.
_SWITCHES = """
S alt-grab async-teardown audio-help ctrl-grab curses daemonize enable-fips enable-kvm
enable-sync-profile full-screen h help jitdump localtime mem-prealloc no-acpi no-fd-bootchk
no-frame no-hpet no-kvm no-kvm-irqchip no-kvm-pit no-kvm-pit-reinjection no-quit no-reboot
no-shutdown no-user-config nodefaults nodefconfig nographic old-param only-migratable perfmap
portrait preconfig rtc-td-hack s sdl semihosting show-cursor singlestep snapshot tdf usb
version win2k-hack xen-attach xen-domid-restrict
"""
SWITCHES = frozenset(_SWITCHES.split())


@dataclass(frozen=True)
class Option:
    """One option as a user gave it. A word where an option is due names the first disk: `image`."""

    name: str
    value: str | None = None

    def words(self) -> list[str]:
        if self.name == IMAGE:
            return [self.value or ""]
        return [f"-{self.name}"] + ([] if self.value is None else [self.value])

    def __str__(self) -> str:
        return " ".join(self.words())

    def pairs(self, head: str = "") -> list[tuple[str, str]]:
        """The value's members, nested ones with dots, whichever of the two forms it has."""
        text = self.value or ""
        if text.startswith("{"):
            return [(key, as_text(value)) for key, value in flattened(parsed(text))]
        return split(text, head)


IMAGE = "image"
OFF = frozenset({"off", "no", "n", "false"})  # QEMU's words for a switch that is


def scan(words: Sequence[str]) -> list[Option]:
    """A user's words as options. One or two dashes are the same to QEMU."""
    found = []
    rest = iter(words)
    for word in rest:
        name = word[2:] if word.startswith("--") else word[1:]
        if not word.startswith("-"):
            found.append(Option(IMAGE, word))
        elif name in SWITCHES:
            found.append(Option(name))
        elif (value := next(rest, None)) is None:
            raise UsageError(f"{word}: needs a value")
        else:
            found.append(Option(name, value))
    return found


def parsed(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shortened(text)}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{shortened(text)}: is not a JSON object")
    return value


def flattened(value: object, path: str = "") -> list[tuple[str, object]]:
    """Members of nested objects and lists by their dotted path."""
    if not isinstance(value, dict | list):
        return [(path, value)]
    members = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        pair for key, member in members for pair in flattened(member, f"{path}.{key}".lstrip("."))
    ]


def nested(pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    """The tree that dotted keys stand for."""
    tree: dict[str, Any] = {}
    for key, value in pairs:
        *path, last = key.split(".")
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[last] = value
    return tree


def as_text(value: object) -> str:
    return (
        value
        if isinstance(value, str)
        else spelled(value)
        if isinstance(value, bool | int)
        else str(value)
    )
