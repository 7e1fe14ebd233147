"""What the kernel knows of processes: memory, threads, work."""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one has done since it began."""

    wakeups: int  # times that a thread went to sleep by itself
    nanoseconds: int  # of a processor


def pss(pid: int) -> float:
    """MiB; what it shares with others is divided among them."""
    return field(pid, "smaps_rollup", "Pss") / 1024


def private(pid: int) -> float:
    """MiB that are its own alone."""
    return (
        field(pid, "smaps_rollup", "Private_Dirty") + field(pid, "smaps_rollup", "Private_Clean")
    ) / 1024


def threads(pid: int) -> int:
    return field(pid, "status", "Threads")


def work(pid: int) -> Work:
    tasks = list((PROC / str(pid) / "task").iterdir())
    return Work(
        wakeups=sum(_field(task / "status", "voluntary_ctxt_switches") for task in tasks),
        nanoseconds=sum(int((task / "schedstat").read_text().split()[0]) for task in tasks),
    )


def field(pid: int, file: str, name: str) -> int:
    return _field(PROC / str(pid) / file, name)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(f"{path}: no {name}")


def commands() -> dict[int, list[str]]:
    """All processes of the machine with their arguments."""
    found = {}
    for directory in PROC.iterdir():
        if directory.name.isdigit():
            try:
                words = (directory / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(directory.name)] = words.decode(errors="replace").split("\0")[:-1]
    return found


def children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for pid in commands():
        try:
            found.setdefault(field(pid, "status", "PPid"), []).append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def family(pid: int, of: dict[int, list[int]]) -> list[int]:
    return [pid, *(one for child in of.get(pid, []) for one in family(child, of))]
