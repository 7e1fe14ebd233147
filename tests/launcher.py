"""`holdfast run` as a real process, with its log and its guest's console read along."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from deadline import PATIENCE

SOURCE = Path(__file__).parents[1] / "entrypoint"
BASE = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}


class Followed:
    """A process that is, or shows, a launcher: `log` is Holdfast's own (stderr), `console` what the
    guest prints (stdout).
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started = time.monotonic()
        self._said = {"log": "", "console": ""}
        self._news = threading.Condition()
        assert self.process.stderr
        assert self.process.stdout
        streams = {"log": self.process.stderr, "console": self.process.stdout}
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams.items()
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            while data := os.read(stream.fileno(), 65536):
                with self._news:
                    self._said[name] += data.decode(errors="replace")
                    self._news.notify_all()

    @property
    def log(self) -> str:
        return self._said["log"]

    @property
    def console(self) -> str:
        return self._said["console"]

    def says(
        self, pattern: str, *, where: str = "log", timeout: float = PATIENCE, after: int = 0
    ) -> re.Match[str]:
        """Wait until the pattern is there. Fails at once when the process has ended without it."""
        deadline = time.monotonic() + timeout
        with self._news:
            while not (found := re.search(pattern, self._said[where][after:])):
                left = deadline - time.monotonic()
                over = self.process.poll() is not None and not any(
                    r.is_alive() for r in self._readers
                )
                assert left > 0, f"{where} never said {pattern!r}:\n{self.story()}"
                assert not over, f"ended without {pattern!r}:\n{self.story()}"
                self._news.wait(min(left, 0.2))
        return found

    def ready(self, timeout: float = 2 * PATIENCE, after: int = 0) -> re.Match[str]:
        """The guest's own line that it is up."""
        pattern = (
            r"GUEST-READY hostname=(?P<hostname>\S+) address=(?P<address>\S+) boot=(?P<boot>\d+)"
        )
        return self.says(pattern, where="console", timeout=timeout, after=after)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ends(self, timeout: float = PATIENCE) -> int:
        """The exit status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout} s:\n{self.story()}") from None
        for reader in self._readers:
            reader.join(5)
        return status

    def close(self) -> None:
        """Whatever the test has come to: nothing is left behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(10)

    def story(self) -> str:
        return f"--- log\n{self.log[-4000:]}\n--- console\n{self.console[-2000:]}"

    def qemu(self) -> int:
        """The newest QEMU's pid, from the log line that names it."""
        self.says(r"QEMU is up.*pid=(\d+)")
        return int(re.findall(r"QEMU is up.*pid=(\d+)", self.log)[-1])


class Launcher(Followed):
    """The launcher itself, from this work tree."""

    def __init__(
        self, environ: Mapping[str, str], arguments: Sequence[str] = (), prefix: Sequence[str] = ()
    ) -> None:
        super().__init__(
            [*prefix, sys.executable, "-P", "-m", "holdfast", *arguments], {**BASE, **environ}
        )


# Lines for the shell on a guest's console: a variable of its UEFI is written, and read back.
_VARIABLE = "/sys/firmware/efi/efivars/Witness-5b6d0e3c-8d0b-4c55-9a35-d4b1a2f0c7e9"
_MOUNT = "modprobe efivarfs; mount -t efivarfs none /sys/firmware/efi/efivars"
WITNESS_WRITTEN = f"{_MOUNT}; printf '\\7\\0\\0\\0holdfast' >{_VARIABLE}; echo WRITTEN $?"
WITNESS_READ = f"{_MOUNT}; echo FOUND $(tail -c 8 {_VARIABLE})"


def told(vm: str, line: str, pattern: str) -> re.Match[str]:
    """A line for the shell on the guest's console, and its answer. What the guest has not read yet is
    lost when the socket closes.
    """
    said = ""
    with socket.socket(socket.AF_UNIX) as console:
        console.settimeout(60)
        console.connect(f"/run/holdfast/{vm}/console")
        console.sendall(f"{line}\n".encode())
        while not (found := re.search(pattern, said, re.MULTILINE)):
            data = console.recv(4096).decode(errors="replace")
            assert data, said
            said += data.replace("\r", "")
    return found


def alive(pid: int) -> bool:
    """A zombie that waits for its parent is dead; `kill -0` would say otherwise."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int, timeout: float = PATIENCE) -> bool:
    deadline = time.monotonic() + timeout
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)
