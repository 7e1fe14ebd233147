"""The KEYS table: what may stand under /kvm/<vm>/, how it is read, and what it is for.

A new key is a row in one of the sections and a field of the value in machine/ that it fills.
"""

from holdfast.keys.disks import DISKS
from holdfast.keys.guest import GUEST
from holdfast.keys.hostdevs import HOSTDEVS
from holdfast.keys.machine import MACHINE
from holdfast.keys.nics import NICS
from holdfast.keys.origin import ORIGIN
from holdfast.keys.power import POWER
from holdfast.keys.row import Key
from holdfast.keys.shares import SHARES

__all__ = ["FAMILIES", "KEYS", "SECTIONS", "WRITTEN", "Key"]

SECTIONS = {
    "From the origin": ORIGIN,
    "The machine": MACHINE,
    "Power": POWER,
    "Disks": DISKS,
    "Network cards": NICS,
    "Guest set-up": GUEST,
    "Shared folders": SHARES,
    "Devices of the host": HOSTDEVS,
}
KEYS = {key.name: key for section in SECTIONS.values() for key in section}

WRITTEN = ("lock", "epoch", "fence", "pinned", "status", "last")
FAMILIES = ("disks", "nics", "usb", "pci", "env", "shares")


LONGEST_NAME = 128  # of a key: disks/<26>/source/checksum and the like have less


def row_name(name: str) -> str:
    """`disks/root/size` is described in the row `disks/<name>/size`."""
    family, _, rest = name.partition("/")
    if family not in FAMILIES or not rest:
        return name
    _, slash, tail = rest.partition("/")
    return f"{family}/<name>{slash}{tail}"


def find(name: str) -> Key | None:
    return KEYS.get(row_name(name))


def is_passed_over(name: str) -> bool:
    """Written by Holdfast itself, or a note that is nobody's business."""
    return name in WRITTEN or name.startswith(("secret/", "x/"))


def is_taken(name: str) -> bool:
    return name in WRITTEN or row_name(name) in KEYS


def complaint(name: str) -> str:
    """What is wrong with a key that is not in the table."""
    near = nearest(name) if len(name) <= LONGEST_NAME else ""
    return f"is no key of a VM; did you mean {near}?" if near else "is no key of a VM"


def nearest(name: str) -> str:
    import difflib  # noqa: PLC0415 - only for a misspelt key

    from holdfast.keys.abroad import meant  # noqa: PLC0415 - likewise

    if found := next((ours for ours in meant(name) if find(ours)), ""):
        return found
    member = "/".join(name.split("/")[1:2]) or "<name>"
    known = [row.replace("<name>", member) for row in KEYS]
    return next(iter(difflib.get_close_matches(name.lower(), known, n=1)), "")
