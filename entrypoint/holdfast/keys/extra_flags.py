"""QEMU options that a VM's keys add, and those that they may not.

This list is not what keeps a guest in: QEMU runs as a uid of its own, under its sandbox. It keeps
keys from undoing what Holdfast promises: the locks of disks, the supervision, one way to control.
"""

from collections.abc import Iterator, Mapping, Sequence

from holdfast.grammar import Refused
from holdfast.qemu.argv.refused import HANDED, MONITOR, why
from holdfast.qemu.option import SWITCHES, Option, parts

DEEPEST = 16  # of JSON: QEMU's own has five
LONGEST = 64 * 1024  # bytes, of all: no command line of QEMU's needs as much

Pair = tuple[str, str]

_PROCESS = "would take QEMU out of the supervision"
_FILES = "would have QEMU read or write files, or start programs, of a user's choice"
_DISK = "is a disk that nobody would claim and lock: describe it under disks/<name> instead (path, rbd or pool)"
_KEY = "has a key of its own: kernel, initrd or firmware"
_REMOTE = "lets others into the guest's memory"
_PRINTS = "makes QEMU print something and end"
_NO_MACHINE = "is a machine without CPU and memory"

# Beside those that no launcher survives, whoever gives them.
DENIED: Mapping[str, str] = {
    **dict.fromkeys(("action", "loadvm", "monitor", "run-with"), _PROCESS),
    **dict.fromkeys(
        ("blockdev", "cdrom", "drive", "fda", "fdb", "hda", "hdb", "hdc", "hdd", "mtdblock", "pflash", "sd"), _DISK
    ),
    **dict.fromkeys(("bios", "initrd", "kernel"), _KEY),
    **dict.fromkeys(
        ("D", "L", "acpitable", "dtb", "dump-vmstate", "fsdev", "jitdump", "mem-path", "option-rom", "perfmap",
         "plugin", "semihosting", "semihosting-config", "virtfs"),
        _FILES,
    ),
    **dict.fromkeys(("qtest", "qtest-log"), _REMOTE),
    **dict.fromkeys(("audio-help", "h", "help", "version"), _PRINTS),
}  # fmt: skip

# What names a file or a program, as a property or behind its last hyphen, wherever it is nested:
# `mem-path`, `x509-key-file`, `addr.path`.
_NAMES = """
dir downscript dtb dumpdtb evdev events file filename firmware guestfwd helper hostdevice initrd
kernel logfile path pidfile rendernode romfile rootdir rrfile script shim smb splash sysfsdev
tftp unix vhostdev
"""
FILES = frozenset(_NAMES.split())
DESCRIPTORS = frozenset(("fd", "fds", "vhostfd", "vhostfds"))
SCHEMES = ("file:", "pipe:", "unix:")
HARMLESS = ("", "no", "/dev/urandom", "/dev/random")
# Text for the guest, or for people, may have a slash; any other value with one is taken for a path.
TEXTS = ("name", "smbios")
# What QEMU reads as JSON where it begins with `{`. Elsewhere that is a text, of which QEMU would read another thing.
JSON = ("audiodev", "blockdev", "compat", "device", "display", "netdev", "object")
TEXT_PROPERTIES = ("bootfile", "data", "ipv6-net", "name", "net", "serial", "string")
FAMILIES = {"M": "machine"}
CHARACTER_DEVICES = ("debugcon", "parallel", "serial")

# In whatever option, at the end of whatever path: `file.locking`, `backing.file.locking`.
_UNLOCKS = "would let two writers meet on one disk"
_LOSES_WRITES = "would lose what the guest was told is written"
DENIED_SETTINGS: Mapping[tuple[str, bool | str], str] = {
    ("locking", False): _UNLOCKS,
    ("share-rw", True): _UNLOCKS,
    ("force-share", True): _UNLOCKS,
    ("cache", "unsafe"): _LOSES_WRITES,
    ("type", "fd"): HANDED,
    ("no-flush", True): _LOSES_WRITES,
    ("werror", "ignore"): _LOSES_WRITES,
}
_SWITCHED = {
    **dict.fromkeys(("on", "yes", "true", "y"), True),
    **dict.fromkeys(("off", "no", "false", "n"), False),
}


def parse(text: str) -> tuple[str, ...]:
    """Quoted as for a shell, though no shell sees it: `$(id)` is five characters."""
    import shlex  # noqa: PLC0415 - most VMs have no extra flags

    if len(text.encode()) > LONGEST:
        raise Refused(f"is longer than {LONGEST} bytes", hidden=True)
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise Refused(f"is not quoted as a shell would have it: {error}") from None
    for word, value in options(words):
        refuse(word, value)
    return words


def refuse(word: str, value: str) -> None:
    """The reports name the property alone: the rest of the option may hold a password."""
    from holdfast.qemu.argv.renamed import outdated  # noqa: PLC0415 - most VMs have no extra flags

    name = bare(word)
    if reason := DENIED.get(name):
        raise Refused(reason, part=word)
    for pair in properties(name, value):
        if reason := denied(name, pair):
            raise Refused(reason, part=f"{word} {'='.join(filter(None, pair))}")
    if reason := why(Option(name, value)) or outdated(Option(name, value)):
        raise Refused(reason, part=word)


def bare(word: str) -> str:
    return word[2:] if word.startswith("--") else word[1:]


def options(words: Sequence[str]) -> Iterator[Pair]:
    """Each option with its value. What starts with - is an option here even where it may be a
    value: better refuse a strange value than miss what stands behind a switch we do not know.
    """
    wanting = False
    for word, following in zip(words, [*words[1:], ""], strict=False):  # without words one is left
        if word.startswith("-"):
            wanting = bare(word) not in SWITCHES
            yield word, following if wanting else ""
        elif not wanting:
            raise Refused("stands where QEMU takes it for a disk image", part=word)
        else:
            wanting = False


def properties(name: str, value: str) -> list[Pair]:
    if name == "append":
        return []  # the guest kernel's
    if value.startswith("{"):
        if name not in JSON:
            raise Refused("begins with {, where QEMU does not read JSON", part=f"-{name}")
        return _members(value)
    if name in CHARACTER_DEVICES:
        return [("", value)]
    first, *others = parts(value)
    # Some options read a bare first word as the value of a key of their own, others as a switch.
    head = [] if "=" in first else [("", first)]
    return [*head, *map(_switched, [first, *others])]


def _switched(part: str) -> Pair:
    """QEMU still reads a bare `share-rw` as on, and `nolocking` as off."""
    key, equals, value = part.partition("=")
    if equals:
        return key, value
    return (key[2:], "off") if key.startswith("no") else (key, "on")


def _members(text: str) -> list[Pair]:
    import json  # noqa: PLC0415 - few flags are JSON

    try:
        return list(_flat("", json.loads(text)))
    except Refused:
        raise
    except (ValueError, RecursionError):
        raise Refused("is not JSON", part=text) from None


def _flat(path: str, value: object, level: int = 0) -> Iterator[Pair]:
    """Others read it after us, with less of the stack left."""
    if level > DEEPEST:
        raise Refused(f"is JSON nested deeper than {DEEPEST} levels", hidden=True)
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _flat(f"{path}.{name}", member, level + 1)
    elif isinstance(value, list):
        for member in value:
            yield from _flat(path, member, level + 1)
    else:
        yield path.lstrip("."), str(value).lower() if isinstance(value, bool) else str(value)


def denied(name: str, pair: Pair) -> str:
    """The reason why an option may not have this property; "" if it may."""
    key, value = pair
    *above, last = key.replace("_", "-").split(".")
    if last == "property":  # -global driver=...,property=share-rw,value=on
        last, value = value.rpartition(".")[2].replace("_", "-"), "on"
    if FAMILIES.get(name, name) == "machine" and last in ("", "type") and value == "none":
        return _NO_MACHINE
    if value in ("help", "?") or (last, value) == ("help", "on"):
        return _PRINTS
    if name in CHARACTER_DEVICES and value.startswith("mon:"):
        return MONITOR
    if reason := DENIED_SETTINGS.get((last, _SWITCHED.get(value.lower(), value))):
        return reason
    if not DESCRIPTORS.isdisjoint((*above, last)):
        return HANDED
    return _FILES if _is_file(name, (*above, last), value) else ""


def _is_file(name: str, path: Sequence[str], value: str) -> bool:
    if value in HARMLESS:
        return False
    if any(step.rpartition("-")[2] in FILES for step in path):
        return True
    if name in TEXTS or path[-1] in TEXT_PROPERTIES:
        return False
    return "/" in value or value.startswith(SCHEMES)
