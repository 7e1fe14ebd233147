"""Starting QEMU and its helpers, and reaping them and whatever else falls to PID 1."""

import contextlib
import os
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from holdfast import log


class Child:
    """A process that we started, with a command of `confinement`. What it says goes to the log, a
    line each, after its name.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        descriptors: Sequence[int],
        *,
        timezone: str = "",  # for a guest's clock that shows local time
    ) -> None:
        self.name = name
        # From the main thread only: the parent-death signal comes when the *thread* that spawned ends.
        # A session of its own: Ctrl-C in a terminal is for the launcher, to QEMU it would be a power cut.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,
            env=_environment(timezone),
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        self.output = self._process.stdout.fileno()
        os.set_blocking(self.output, False)
        self.said: list[str] = []
        self._rest = b""

    def listen(self) -> None:
        """Log what has been said since the last time."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.output, 65536):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._say(line.decode(errors="replace"))

    def _say(self, line: str) -> None:
        self.said.append(line)
        log.warning(f"{self.name}: {line}")

    def reap(self) -> int | None:
        """The exit status as subprocess gives it (negative: the signal), or None while it lives."""
        status = self._process.poll()
        if status is not None:
            self.listen()
        return status

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Kill it if it lives; the exit status."""
        self.kill()
        status = self._process.wait()
        self.listen()
        return status

    def close(self) -> None:
        """No way out leaves a process behind."""
        assert self._process.stdout is not None  # noqa: S101
        if not self._process.stdout.closed:
            self.end()
            self._process.stdout.close()


def _environment(timezone: str) -> dict[str, str]:
    """Nothing else of ours reaches QEMU: the environment may hold passwords."""
    zone = timezone or os.environ.get("TZ", "")
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", **({"TZ": zone} if zone else {})}


def reap_orphans(own: Collection[int]) -> None:
    """PID 1 inherits every orphan of its namespace; each of `own` is reaped by its Child."""
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in own:
                return
            os.waitpid(found.si_pid, 0)


def uid_map_end() -> int:
    """One more than the highest uid that exists in this user namespace (user_namespaces(7))."""
    rows = [
        line.split()
        for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    ]
    return max(int(first) + int(count) for first, _, count in rows)
