"""QEMU options that a user adds, and those that nobody may add.

The list is not what keeps a guest in (QEMU runs as a uid of its own, under its sandbox). It keeps
a VM's keys from undoing what Holdfast promises: the lock on the disks, and the supervision.
"""

from collections.abc import Iterator, Sequence

from holdfast.grammar import Refused
from holdfast.qemu import option

Pair = tuple[str, str]

# QEMU reads a word after these as the name of a disk image.
_NO_VALUE = """
S alt-grab async-teardown audio-help ctrl-grab curses daemonize enable-kvm enable-sync-profile
    full-screen h help mem-prealloc no-acpi no-fd-bootchk no-hpet no-quit no-reboot no-shutdown
    no-user-config nodefaults nographic nouserconfig old-param only-migratable portrait preconfig
    s sdl semihosting singlestep snapshot usb version win2k-hack xen-attach xen-domid-restrict
"""
NO_VALUE = frozenset(_NO_VALUE.split())

_ENDS = "would take QEMU out of the supervision"
_OPENS = "would open another way to control QEMU"
_FILES = "would have QEMU read or write files, or start programs, of a user's choice"
_CONFINES = "would change the confinement of QEMU"
_PRINTS = "makes QEMU print something and end"

DENIED = {
    "S": _ENDS, "add-fd": _ENDS, "daemonize": _ENDS, "incoming": _ENDS, "loadvm": _ENDS,
    "no-shutdown": _ENDS, "pidfile": _ENDS, "preconfig": _ENDS,
    "gdb": _OPENS, "mon": _OPENS, "monitor": _OPENS, "qmp": _OPENS, "qmp-pretty": _OPENS, "s": _OPENS,
    "D": _FILES, "L": _FILES, "acpitable": _FILES, "dump-vmstate": _FILES, "fsdev": _FILES,
    "mem-path": _FILES, "plugin": _FILES, "readconfig": _FILES, "virtfs": _FILES,
    "writeconfig": _FILES,
    "chroot": _CONFINES, "run-with": _CONFINES, "runas": _CONFINES, "sandbox": _CONFINES,
    "audio-help": _PRINTS, "h": _PRINTS, "help": _PRINTS, "version": _PRINTS,
}  # fmt: skip

# Properties that only some options may not have: those that name a file or start a program.
DENIED_PROPERTIES = {
    "action": ("shutdown",),
    "chardev": ("path", "logfile"),
    "fw_cfg": ("file",),
    "machine": ("dumpdtb",),
    "net": ("script", "downscript", "helper", "smb", "tftp", "guestfwd"),
    "object": ("dir", "evdev", "file", "filename", "mem-path", "path"),
    "smbios": ("file", "path"),
    "trace": ("events", "file"),
}
FAMILIES = {"M": "machine", "netdev": "net", "nic": "net"}
HARMLESS = ("no", "/dev/urandom", "/dev/random")
CHARACTER_DEVICES = ("debugcon", "parallel", "serial")

# Whatever option they are in, at the end of whatever path (`file.locking`, `backing.file.locking`).
UNLOCKED = "would let two writers meet on one disk"
LOSES_WRITES = "would lose what the guest was told is written"
DENIED_SETTINGS: dict[tuple[str, bool | str], str] = {
    ("locking", False): UNLOCKED,
    ("share-rw", True): UNLOCKED,
    ("force-share", True): UNLOCKED,
    ("cache", "unsafe"): LOSES_WRITES,
    ("no-flush", True): LOSES_WRITES,
}
_SWITCHES = {"on": True, "yes": True, "true": True, "y": True,
             "off": False, "no": False, "false": False, "n": False}  # fmt: skip

# Of QEMU's own options given by the operator, who is trusted: those that no launcher survives.
ENDS_SUPERVISION = (
    "chroot",
    "daemonize",
    "incoming",
    "no-shutdown",
    "pidfile",
    "preconfig",
    "runas",
)


def parse(text: str) -> tuple[str, ...]:
    """Quoted as for a shell, and no shell sees it: `$(id)` is four letters and two brackets."""
    import shlex  # noqa: PLC0415 - most VMs have no extra flags

    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise Refused(f"is not quoted as a shell would have it: {error}", hidden=True) from None
    refuse_denied(words)
    return words


def refuse_denied(words: Sequence[str]) -> None:
    for word, value in options(words):
        name = word.removeprefix("-").removeprefix("-")
        if name in DENIED:
            raise Refused(DENIED[name], part=word)
        for pair in properties(name, value):
            rule = denied(name, pair)
            if rule:
                raise Refused(rule, part=f"{word} {pair[0]}={pair[1]}")


def refuse_unsupervised(words: Sequence[str]) -> None:
    for word in words:
        if word.startswith("-") and word.removeprefix("-").removeprefix("-") in ENDS_SUPERVISION:
            raise Refused(f"{_ENDS}: leave it out, or set EXEC=yes", part=word)


def permit(words: Sequence[str], allowed: Sequence[str]) -> None:
    """Each word that may be an option must be in the list, letter by letter."""
    for word in words:
        if word.strip().startswith("-") and word not in allowed:
            raise Refused("is not in args_allowlist of host.toml", part=word)


def options(words: Sequence[str]) -> Iterator[Pair]:
    """Each option with its value. A value that starts with - is taken for an option as well:
    better refuse a strange value than miss an option behind one that QEMU reads otherwise.
    """
    wanting = False
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("-"):
            takes = word.removeprefix("-").removeprefix("-") not in NO_VALUE
            yield word, following if takes else ""
            wanting = takes
        elif not wanting:
            raise Refused("stands where QEMU takes it for a disk image", part=word)
        else:
            wanting = False


def properties(name: str, value: str) -> list[Pair]:
    if value.startswith("{"):
        return _members(value)
    if name in CHARACTER_DEVICES:
        return [("", value)]
    first, *others = option.parts(value)
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
    except (ValueError, RecursionError):
        raise Refused("is not JSON", part=text) from None


def _flat(path: str, value: object) -> Iterator[Pair]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _flat(f"{path}.{name}" if path else name, member)
    elif isinstance(value, list):
        for member in value:
            yield from _flat(path, member)
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def denied(name: str, pair: Pair) -> str:
    """The reason why an option may not have this property; "" if it may."""
    key, value = pair
    last = key.rpartition(".")[2].replace("_", "-")
    if key == "property":  # -global driver=...,property=share-rw,value=on
        last, value = value.rpartition(".")[2].replace("_", "-"), "on"
    family = FAMILIES.get(name, name)
    if family == "machine" and (last, value) in (("", "none"), ("type", "none")):
        return "is a machine without CPU and memory"
    if value in ("help", "?") or (last, value) == ("help", "on"):
        return _PRINTS
    if last in DENIED_PROPERTIES.get(family, ()) and value not in HARMLESS:
        return _FILES
    if name in CHARACTER_DEVICES and value.startswith(("file:", "pipe:", "unix:", "/")):
        return _FILES
    if value.startswith("json:"):
        return "hides the properties of a disk in its name"
    return DENIED_SETTINGS.get((last, _SWITCHES.get(value.lower(), value)), "")
