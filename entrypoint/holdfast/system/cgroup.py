"""The control group that this container is in (cgroups(7)), of version 2 and of version 1.

Of version 1 an engine shows a container its own groups as if they were the roots; on a host the path counts.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"
UNLIMITED = 1 << 62  # version 1 says a number near 2^63
USUAL_WEIGHT, USUAL_SHARES, LEAST = (
    100,
    1024,
    2,
)  # version 2, version 1, and the least of its shares


def folder(*, root: str = ROOT, own: str = OWN) -> Path | None:
    """Find where our group's files are; None where the kernel has no version 2 at that place.

    In a cgroup namespace of its own, as engines give it to a container, the path is just /.
    """
    with suppress(OSError):
        for line in Path(own).read_text(encoding="utf-8").splitlines():
            number, _, path = line.partition("::")
            if number == "0" and (found := Path(root + path)).joinpath("cgroup.procs").exists():
                return found
    return None


def folders_1(controller: str, *, root: str = ROOT, own: str = OWN) -> Iterator[Path]:
    """Yield our group's folder of version 1, if it is to be seen, else what stands for it."""
    place = Path(root, controller)
    with suppress(OSError):
        for line in Path(own).read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(",") and (found := Path(f"{place}{path}")).is_dir():
                yield found
                return
    if place.is_dir():
        yield place


def set_cpu_weight(weight: int, *, root: str = ROOT, own: str = OWN) -> str:
    """Set our share of the CPU while others want it too. Returns why that could not be, or ""."""
    group, version_1 = folder(root=root, own=own), list(folders_1("cpu", root=root, own=own))
    if group and not (version_1 and not (group / "cpu.weight").exists()):
        return _written(group / "cpu.weight", weight)
    if version_1:
        shares = max(LEAST, weight * USUAL_SHARES // USUAL_WEIGHT)
        return _written(version_1[0] / "cpu.shares", shares)
    return "there is no control group of CPUs here"


def _written(file: Path, number: int) -> str:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(number).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{file}: {error.strerror}"
    return ""


def memory_max(*, root: str = ROOT, own: str = OWN) -> int | None:
    """Return what our group and those above it may use, in bytes; None: no limit."""
    version_1 = [
        limit
        for group in folders_1("memory", root=root, own=own)
        for limit in _field(group / "memory.stat", "hierarchical_memory_limit")
        if limit < UNLIMITED
    ]
    return min((*_limits("memory.max", root, own), *version_1), default=None)


def oom_kills(*, root: str = ROOT, own: str = OWN) -> int:
    """Count the processes of our group that the kernel has killed for memory."""
    group = folder(root=root, own=own)
    files = [group / "memory.events"] if group else []
    files += [one / "memory.oom_control" for one in folders_1("memory", root=root, own=own)]
    return sum(count for file in files for count in _field(file, "oom_kill"))


def pids_max(*, root: str = ROOT, own: str = OWN) -> int | None:
    """Return how many processes and threads our group and those above may have; None: no limit."""
    version_1 = [
        limit
        for group in folders_1("pids", root=root, own=own)
        for limit in _limit(group / "pids.max")
    ]
    return min((*_limits("pids.max", root, own), *version_1), default=None)


def _limits(name: str, root: str, own: str) -> Iterator[int]:
    group = folder(root=root, own=own)
    while group is not None and group.is_relative_to(root):
        yield from _limit(group / name)
        group = group.parent


def _limit(file: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):  # "max"
        yield int(file.read_text(encoding="ascii"))


def _field(file: Path, name: str) -> Iterator[int]:
    with suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                yield int(value)
