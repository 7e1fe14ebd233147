"""The control group that this container is in (cgroups(7), version 2)."""

import os
from contextlib import suppress
from pathlib import Path

ROOT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"


def folder(*, root: str = ROOT, own: str = OWN) -> Path | None:
    """Where our group's files are; None where the kernel has no version 2 at that place.

    In a cgroup namespace of its own, as engines give it to a container, the path is just /.
    """
    with suppress(OSError):
        for line in Path(own).read_text(encoding="utf-8").splitlines():
            number, _, path = line.partition("::")
            if number == "0" and (found := Path(root + path)).joinpath("cgroup.procs").exists():
                return found
    return None


def set_cpu_weight(weight: int, *, root: str = ROOT, own: str = OWN) -> str:
    """Our share of the CPU while others want it too. Returns why it could not be set, or ""."""
    group = folder(root=root, own=own)
    if group is None:
        return "there is no cgroup of version 2 here"
    try:
        descriptor = os.open(group / "cpu.weight", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(weight).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{group / 'cpu.weight'}: {error.strerror}"
    return ""


def memory_max(*, root: str = ROOT, own: str = OWN) -> int | None:
    """What our group and those above it may use, in bytes; None: no limit."""
    group = folder(root=root, own=own)
    found = []
    while group is not None and group.is_relative_to(root):
        with suppress(OSError, ValueError):
            found.append(int((group / "memory.max").read_text(encoding="ascii")))
        group = group.parent
    return min(found, default=None)
