"""Our standard input, which leads nowhere: what is typed there does not reach the guest."""

import os
import stat

NULL = os.makedev(1, 3)  # devices.txt of the kernel


def is_connected() -> bool:
    """Tell whether docker's -i or -t was given: an engine gives a container /dev/null, or nothing,
    without.
    """
    try:
        found = os.fstat(0)
    except OSError:
        return False
    return not (stat.S_ISCHR(found.st_mode) and found.st_rdev == NULL)


def advice(vm: str) -> str:
    """Return the line that does lead to the guest, until there is a command for it."""
    place = f"/root/run/holdfast/{vm or 'qemu'}/console"
    return (
        "stdin is not connected to the guest, -i and -t do nothing here. To type at its console, on the host "
        "(Ctrl-] leaves): socat -,raw,echo=0,escape=0x1d "
        f"\"UNIX-CONNECT:/proc/$(docker inspect --format '{{{{.State.Pid}}}}' CONTAINER){place}\""
    )
