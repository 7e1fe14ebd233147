"""Starting QEMU and its helpers, and reaping them and whatever else falls to PID 1."""

import contextlib
import os
import subprocess
import time
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path

from holdfast import log

PIECE = 64 * 1024  # read at once; then whatever else has happened has its turn
REST = 0.005  # seconds after a whole piece: it has more to say than anybody will read
LONGEST_LINE, KEPT_LINES = 1024, 50
LINES_A_SECOND = 20


class Child:
    """A process that we started, with a command of `confinement`. What it says goes to the log, a
    line each, after its name; it is less trusted than we are, and may say anything, without end.
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
        self.said: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = b""
        self._second, self._lines = 0, 0

    def listen(self) -> bool:
        """Log what has been said since the last time. False: it has closed its end, and may live on."""
        data = self._hear()
        if data and len(data) == PIECE:
            time.sleep(REST)
        return data != b""

    def _hear(self) -> bytes | None:
        """None: nothing for now."""
        try:
            data = os.read(self.output, PIECE)
        except BlockingIOError:
            return None
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LONGEST_LINE]  # of a line without end its beginning
        for line in lines:
            self._say(line[:LONGEST_LINE].decode(errors="replace"))
        return data

    def _say(self, line: str) -> None:
        self.said.append(line)
        now = int(time.monotonic())
        if now != self._second:
            self._tell_of_others()
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines <= LINES_A_SECOND:
            log.warning(f"{self.name}: {line}")

    def _tell_of_others(self) -> None:
        if self._lines > LINES_A_SECOND:
            log.warning(f"{self.name}: {self._lines - LINES_A_SECOND} more lines in that second")

    def _last_words(self) -> None:
        """What a pipe holds; a child of its own may still write into it."""
        for _ in range(16):
            if not self._hear():
                break
        self._tell_of_others()
        self._lines = 0

    def reap(self) -> int | None:
        """Return the exit status as subprocess has it (negative: the signal); None: it lives."""
        status = self._process.poll()
        if status is not None:
            self._last_words()
        return status

    def kill(self) -> None:
        self._process.kill()

    def ended(self, timeout: float) -> bool:
        """Tell whether it ends by itself, with status 0, in so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout) == 0
        return False

    def end(self) -> int:
        """Kill it if it lives; return the exit status."""
        self.kill()
        status = self._process.wait()
        self._last_words()
        return status

    def close(self) -> None:
        """Kill it if it lives: no way out leaves a process behind."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        if not self._process.stdout.closed:
            self.end()
            self._process.stdout.close()


def _environment(timezone: str) -> dict[str, str]:
    """Nothing else of ours reaches QEMU: the environment may hold passwords."""
    zone = timezone or os.environ.get("TZ", "")
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", **({"TZ": zone} if zone else {})}


def reap_orphans(own: Collection[int]) -> None:
    """Reap orphans: PID 1 inherits all of its namespace; each of `own` is reaped by its Child."""
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in own:
                return
            os.waitpid(found.si_pid, 0)


def uid_map_end() -> int:
    """Return one more than the highest uid of this user namespace (user_namespaces(7))."""
    rows = [
        line.split()
        for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    ]
    return max(int(first) + int(count) for first, _, count in rows)
