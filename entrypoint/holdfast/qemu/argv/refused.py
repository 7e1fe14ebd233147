"""Options that would end the launcher's supervision of a QEMU, or the ownership of its disks."""

import re

from holdfast.errors import UsageError
from holdfast.qemu.option import OFF, Option

PROCESS = "QEMU must stay the launcher's own child, under the user it gives it"
START = "the launcher starts the guest when its lock is sure, and nobody else may"
STOP = "the launcher must see when the guest is down"
MONITOR = "the launcher alone speaks to QEMU's monitor: any other could start a guest that is not ours yet"
HANDED = "the launcher alone hands descriptors and confinement to QEMU"
FILE = "options in a file cannot be looked at"

REASONS = {
    **dict.fromkeys(("daemonize", "pidfile", "runas", "chroot", "run-with"), PROCESS),
    **dict.fromkeys(("S", "incoming", "preconfig", "gdb", "s"), START),
    "no-shutdown": STOP,
    **dict.fromkeys(("qmp", "qmp-pretty", "mon", "monitor"), MONITOR),
    **dict.fromkeys(("add-fd", "sandbox"), HANDED),
    **dict.fromkeys(("readconfig", "writeconfig"), FILE),
}
HINT = "Leave it out; with EXEC=yes QEMU gets every option, and runs without lock, supervision and confinement."

# What two QEMUs need to write to one image. Keys may be nested: file.locking.
SHARING = re.compile(r"(?:.*\.)?(?:(?P<locking>locking)|share-rw|force-share)")


def refuse(option: Option) -> None:
    if reason := why(option):
        raise UsageError(f"{option}: {reason}", hint=HINT)


def why(option: Option) -> str:
    """The reason to refuse it, or ""."""
    if option.name in ("monitor", "run-with") and option.value in (
        "none",
        "null",
        "async-teardown=on",
    ):
        return ""
    if option.name in REASONS:
        return REASONS[option.name]
    if option.name in ("drive", "blockdev", "device", "set", "global"):
        return next(
            (sharing(key, value) for key, value in option.pairs() if sharing(key, value)), ""
        )
    return ""


def sharing(key: str, value: str) -> str:
    match = SHARING.fullmatch(key)
    if match and (value in OFF) == bool(match["locking"]):
        return f"{key}={value} lets a second QEMU write to the image"
    return ""
