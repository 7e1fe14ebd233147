"""Other processes at work for a start: what they say is read, and they end with whoever waits for them, or when
their time is over: they read what strangers wrote, and a VM's lock is held meanwhile.
"""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from holdfast.errors import Unreachable

LONGEST_LINE = 64 * 1024
HOUR = 3600.0  # seconds
Attend = Callable[[], None]  # raises what ends the work


class Overdue(Unreachable):
    """It is at work, or silent, for too long; another try may do better. The message goes behind a name."""


def idle() -> None:
    """Attend to nothing but the work's own end, where nobody can stop it."""


class Work:
    """A process whose stdout is read line by line."""

    def __init__(
        self, command: Sequence[str], descriptors: Sequence[int], request: str = ""
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,
            env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
            | {"LANG": "C.UTF-8"},
        )
        assert self._process.stdin  # noqa: S101 - pipes were asked for
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # its status and last words say why

    def lines(self, attend: Attend, *, whole: float, silent: float) -> Iterator[str]:
        """Yield lines for `whole` seconds at most; `silent`: between two words. Raises Overdue."""
        clock = _Clock(whole, silent)
        assert self._process.stdout  # noqa: S101 - for the type checker
        rest = b""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                while True:
                    attend()
                    clock.look()
                    if not selector.select(0.05):
                        continue
                    data = os.read(self._process.stdout.fileno(), 65536)
                    if not data:
                        break
                    clock.heard()
                    *lines, rest = (rest + data).split(b"\n")
                    rest = rest[
                        :LONGEST_LINE
                    ]  # it reads what strangers wrote: nothing of it is endless
                    for line in lines:
                        yield line.decode(errors="replace")
        finally:
            self.close()
        if rest:
            yield rest.decode(errors="replace")

    def close(self) -> int:
        if self._process.poll() is None:
            try:
                self._process.wait(1.0)  # it has closed its stdout, or is to end now
            except subprocess.TimeoutExpired:
                self._process.kill()
        assert self._process.stdout  # noqa: S101 - for the type checker
        self._process.stdout.close()
        return self._process.wait()


class _Clock:
    def __init__(self, whole: float, silent: float) -> None:
        self._whole = whole
        self._silent = silent
        self._began = self._heard = time.monotonic()

    def heard(self) -> None:
        self._heard = time.monotonic()

    def look(self) -> None:
        now = time.monotonic()
        if now - self._began > self._whole:
            raise Overdue(f"has been at work for {self._whole / HOUR:.3g} hours")
        if now - self._heard > self._silent:
            raise Overdue(f"has said nothing for {self._silent / HOUR:.3g} hours")
