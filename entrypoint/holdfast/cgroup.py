"""The control group that this container is in (cgroups(7), version 2).

Of version 1 only the limit of processes is known, where engines show it to a container.
"""

import os
from collections.abc import Iterator
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
    return min(_limits("memory.max", root, own), default=None)


def pids_max(*, root: str = ROOT, own: str = OWN) -> int | None:
    """How many processes and threads our group and those above it may have; None: no limit."""
    version_1 = _limit(Path(root, "pids", "pids.max"))
    return min((*_limits("pids.max", root, own), *version_1), default=None)


def _limits(name: str, root: str, own: str) -> Iterator[int]:
    group = folder(root=root, own=own)
    while group is not None and group.is_relative_to(root):
        yield from _limit(group / name)
        group = group.parent


def _limit(file: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):  # "max"
        yield int(file.read_text(encoding="ascii"))
