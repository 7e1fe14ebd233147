"""Network and mount namespaces for a test's own use, so that nothing of the machine is touched."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

NEEDS_ROOT = "needs root, to make network namespaces, bridges and device nodes"

_libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def namespaces() -> Iterator[None]:
    """Until the end the calling thread, and what it starts, sees an empty network and private mounts."""
    cwd = Path.cwd()
    homes = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "net")]
    _must(_libc.unshare(CLONE_NEWNS | CLONE_NEWNET))
    try:
        run("mount", "--make-rprivate", "/")
        yield
    finally:
        # A thread that is just ending still shares our root and cwd, and setns() refuses that.
        _must(_libc.unshare(CLONE_FS))
        for home in homes:
            _must(_libc.setns(home, 0))
            os.close(home)
        os.chdir(cwd)  # going back to a mount namespace leads to its root


def run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def mount_tmpfs(path: Path | str, options: str = "dev") -> None:
    Path(path).mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path))


def add_bridge(name: str, *, up: bool = True) -> None:
    run("ip", "link", "add", name, "type", "bridge")
    if up:
        run("ip", "link", "set", name, "up")
