"""What the launchers of one network namespace let each other know.

Each may be in a container of its own, with its own processes and files: what they share is the
network. An abstract unix socket belongs to it, is seen by all in /proc/net/unix, and goes with the
process that bound it, however that ends.
"""

import errno
import socket
from pathlib import Path

from holdfast.errors import HostLacks, LockHeld

SOCKETS = "/proc/net/unix"
PREFIX = "holdfast/"


def announce(word: str) -> socket.socket:
    """True for as long as the socket is open. Only one process can say it at a time."""
    said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        said.bind(f"\0{PREFIX}{word}")
    except OSError as error:
        said.close()
        if error.errno != errno.EADDRINUSE:
            raise HostLacks(f"{word} cannot be announced on this host: {error}") from error
        raise LockHeld(f"another launcher on this host has announced {word}") from error
    return said


def announced(kind: str) -> list[str]:
    """What is said that begins with `kind`, and how it goes on."""
    begin = f"@{PREFIX}{kind}"
    lines = Path(SOCKETS).read_text(encoding="utf-8", errors="replace").splitlines()
    words = (line.split(None, 7)[-1] for line in lines)
    return [word.removeprefix(begin) for word in words if word.startswith(begin)]
