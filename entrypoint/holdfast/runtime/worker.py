"""Other processes at work for a start: what they say is read, and they end with whoever waits for them."""

import os
import selectors
import subprocess
from collections.abc import Callable, Iterator, Sequence

LONGEST_LINE = 64 * 1024
Attend = Callable[[], None]  # raises what ends the work


def idle() -> None:
    """Nothing but the work's own end, where nobody can stop it."""


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

    def lines(self, attend: Attend) -> Iterator[str]:
        assert self._process.stdout  # noqa: S101 - for the type checker
        rest = b""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                while True:
                    attend()
                    if not selector.select(0.05):
                        continue
                    data = os.read(self._process.stdout.fileno(), 65536)
                    if not data:
                        break
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
