"""A control group of the suite's own, in whichever hierarchy this machine has the controller."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from chaos.network import run


class Cgroup:
    """`freezer`, `memory` or `pids`. Processes that are left in it go back where it hangs."""

    def __init__(self, controller: str) -> None:
        self._v1 = controller in Path("/proc/cgroups").read_text() and has_v1(controller)
        self._controller = controller
        self._mount = Path(tempfile.mkdtemp())
        self.path = Path()

    def __enter__(self) -> Self:
        kind = ("cgroup", "-o", self._controller) if self._v1 else ("cgroup2",)
        run("mount", "-t", *kind, "none", self._mount)
        self.path = self._mount / f"holdfast-chaos-{os.getpid()}"
        self.path.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        for pid in (self.path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                (self._mount / "cgroup.procs").write_text(pid)
        deadline = time.monotonic() + 10
        while self.path.exists():
            try:
                self.path.rmdir()
            except OSError:
                assert time.monotonic() < deadline, "the control group does not go"
                time.sleep(0.05)
        subprocess.run(["umount", self._mount], check=False)
        self._mount.rmdir()

    def take(self, pids: Iterable[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                (self.path / "cgroup.procs").write_text(str(pid))

    def freeze(self) -> None:
        self._switch("FROZEN", "1")

    def thaw(self) -> None:
        if self._controller == "freezer":
            self._switch("THAWED", "0")

    def _switch(self, v1: str, v2: str) -> None:
        if self._v1:
            (self.path / "freezer.state").write_text(v1)
        else:
            (self.path / "cgroup.freeze").write_text(v2)

    def limit_memory(self, size: int) -> None:
        name = "memory.limit_in_bytes" if self._v1 else "memory.max"
        (self.path / name).write_text(str(size))


def has_v1(controller: str) -> bool:
    """/proc/cgroups: name, hierarchy, number of groups, enabled; hierarchy 0 is the unified one."""
    rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    return any(row[0] == controller and row[1] != "0" for row in rows)
