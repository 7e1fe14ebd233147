"""Holdfast's commands as an operator gives them, on a machine that has nothing but etcd's address."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from launcher import BASE

from holdfast.__main__ import dispatch
from holdfast.errors import HoldfastError

Said = tuple[int, str]


def told(url: str, *words: str, **environ: str) -> Said:
    """The status, and what was printed; of a refusal the lines on stderr. In this process."""
    printed = StringIO()
    with redirect_stdout(printed):
        try:
            status = dispatch(words, {"ETCD_ENDPOINTS": url, **environ})
        except HoldfastError as error:
            return error.status, printed.getvalue() + "\n".join(error.lines())
    return status, printed.getvalue()


def good(url: str, *words: str, **environ: str) -> str:
    status, said = told(url, *words, **environ)
    assert status == 0, said
    return said


def shown(url: str, *words: str, columns: int, **environ: str) -> str:
    """What a terminal of so many columns gets, from a process of its own."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(["stty", "cols", str(columns)], stdin=theirs, check=True)
        command = [sys.executable, "-P", "-m", "holdfast", *words]
        done = subprocess.Popen(
            command, stdout=theirs, env={**BASE, "ETCD_ENDPOINTS": url, **environ}
        )
        os.close(theirs)
        said = b"".join(iter(lambda: _read(terminal.read), b""))
        assert done.wait() == 0, said
    return said.decode().replace("\r\n", "\n")


def _read(read: Callable[[int], bytes]) -> bytes:
    try:
        return read(65536)
    except OSError:  # EIO: nobody has the other end any more
        return b""


def file(folder: Path, vm: str, text: str) -> Path:
    path = folder / f"{vm}.yaml"
    path.write_text(text, encoding="utf-8")
    return path
