"""A host of the suite: a network namespace, a machine id, and launchers as containers would run them."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from chaos.network import Namespace
from launcher import BASE, Followed, alive

# What a container has of its own: processes, mounts, /run, and the host's machine id mounted into it.
# The kernel ends all of it with its first process.
CONTAINER = """
set -e
[ ! -e /sys/class/dmi/id/product_uuid ] || mount --bind /dev/null /sys/class/dmi/id/product_uuid
touch /etc/machine-id
mount --bind "$MACHINE_ID" /etc/machine-id
mount -t tmpfs -o "mode=755,$RUN_OPTIONS" run /run
unset MACHINE_ID RUN_OPTIONS
eval "$INSIDE"
unset INSIDE
exec "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A boot of the guest that writes a journal, and the epoch whose launcher has started it."""

    uuid: str
    epoch: int


class Host:
    def __init__(self, namespace: Namespace, name: str, machine_id: Path) -> None:
        self.name = name
        self.namespace = namespace
        self.launchers: list[Launcher] = []
        self._machine_id = machine_id
        self._stack = ExitStack()

    def start(
        self,
        environ: Mapping[str, str],
        *arguments: str,
        run_options: str = "size=64m",
        inside: str = "",
        prefix: Sequence[str] = (),
    ) -> "Launcher":
        """A launcher in a container of its own. `inside` is shell for its mounts and limits."""
        own = {
            "HOSTNAME": self.name,
            "MACHINE_ID": str(self._machine_id),
            "RUN_OPTIONS": run_options,
            "INSIDE": inside,
        }
        launcher = Launcher(self.namespace, {**own, **environ}, arguments, prefix)
        self.launchers.append(launcher)
        return launcher

    def crash(self) -> float:
        """SIGKILL for everything on it, as a power cut would have it; when that was."""
        when = time.monotonic()
        for pid in self.namespace.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return when

    def close(self) -> None:
        for launcher in self.launchers:
            launcher.close()
        self.launchers.clear()


class Launcher(Followed):
    """`holdfast` as process 1 of a container. `pid` is that process as the machine sees it."""

    def __init__(
        self,
        namespace: Namespace,
        environ: Mapping[str, str],
        arguments: Sequence[str],
        prefix: Sequence[str],
    ) -> None:
        self._heard: list[tuple[str, str, float]] = []
        self._pid = 0
        command = [
            *("ip", "netns", "exec", namespace.name),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", CONTAINER, "sh", *prefix, sys.executable, "-P", "-m", "holdfast"),
            *arguments,
        ]
        super().__init__(command, {**BASE, **environ})

    def _read(self, name: str, stream: IO[bytes]) -> None:
        rest = ""
        with stream:
            while data := os.read(stream.fileno(), 65536):
                text = data.decode(errors="replace")
                *lines, rest = (rest + text).split("\n")
                with self._news:
                    self._heard += [(name, line, time.monotonic()) for line in lines]
                    self._said[name] += text
                    self._news.notify_all()

    @property
    def pid(self) -> int:
        deadline = time.monotonic() + 10
        while not self._pid:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            self._pid = int((children.read_text().split() or ["0"])[0])
            assert time.monotonic() < deadline, "no container came of it"
        return self._pid

    def signal(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.pid, number)

    def qemu(self) -> int:
        """QEMU's pid as the machine sees it."""
        self.says(r"QEMU is up")
        found = [pid for pid in descendants(self.pid) if is_qemu(pid)]
        assert found, f"no QEMU:\n{self.story()}"
        return found[-1]

    def everything(self) -> list[int]:
        return [self.pid, *descendants(self.pid)]

    def gives_up(self, timeout: float = 90) -> None:
        """Its guest has never run: it ends as one that lost its VM, or stands by again. Which of the two hangs on
        whether an answer that waited for it, or the end of the answer's time, comes first when it wakes.
        """
        deadline = time.monotonic() + timeout
        while self.process.poll() is None and "; standing by" not in self.log:
            assert time.monotonic() < deadline, self.story()
            with self._news:
                self._news.wait(0.2)
        assert self.process.poll() is None or self.ends() == 76, self.story()
        assert not [pid for pid in self.everything() if is_qemu(pid)], self.story()

    def freeze(self) -> None:
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        for pid in self.everything():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def ours(self, timeout: float = 30, after: int = 0) -> int:
        """Wait until it has taken the VM; the epoch."""
        return int(self.says(r"the VM is ours.*epoch=(\d+)", timeout=timeout, after=after)[1])

    def when(self, said: str) -> float:
        """When its log first said so, on time.monotonic()."""
        self.says(said)
        return next(at for stream, line, at in self._heard if stream == "log" and said in line)

    def writes(self, timeout: float = 60, after: int = 0) -> str:
        """Wait until its guest has begun a journal; the writer's uuid."""
        pattern = r"GUEST-JOURNAL disk=\w+ writer=(\S+) after"
        return self.says(pattern, where="console", timeout=timeout, after=after)[1]

    def writers(self) -> list[Writer]:
        """The boots of its guests, each with the epoch that had been taken last before it."""
        epoch, found = 0, []
        for stream, line, _ in list(self._heard):
            if stream == "log" and (ours := re.search(r"the VM is ours.*epoch=(\d+)", line)):
                epoch = int(ours[1])
            elif stream == "console" and (
                boot := re.search(r"GUEST-JOURNAL .*writer=(\S+) after", line)
            ):
                found.append(Writer(uuid=boot[1], epoch=epoch))
        return found

    def close(self) -> None:
        # A process that is stopped takes SIGKILL, and the container goes with its first one.
        super().close()


def descendants(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_qemu(pid: int) -> bool:
    try:
        return b"process=qemu-" in Path(f"/proc/{pid}/cmdline").read_bytes() and alive(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
