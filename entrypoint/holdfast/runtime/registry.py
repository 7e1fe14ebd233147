"""What the launchers of one network namespace let each other know.

Each may be in a container of its own, with its own processes and files: what they share is the
network. An abstract unix socket belongs to it, is seen by all in the namespace, and goes with the
process that bound it, however that ends. Anybody can bind such a name, a QEMU that was broken out of,
too: only root's word counts, and a name that somebody else has taken is said with a number behind it.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import HostLacks, LockHeld

SOCKETS = "/proc/net/unix"
PREFIX = "holdfast/"
NUMBER = "#"  # in no word of ours
TRIES = 8

# The numbers of sock_diag(7).
SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
BY_FAMILY, ERROR, DONE = 20, 2, 3
REQUEST, DUMP = 0x001, 0x300
SHOW_NAME, SHOW_UID = 0x01, 0x40
NAME, UID = 0, 7  # UNIX_DIAG_*
HEADER = struct.Struct("=IHHII")  # nlmsghdr
ASK = struct.Struct("=BBHIIIII")  # unix_diag_req
TOLD = 16  # bytes of unix_diag_msg
ATTRIBUTE = struct.Struct("=HH")
PATIENCE = 2.0


def announce(word: str) -> socket.socket:
    """Say a word, for as long as the socket is open. Raises LockHeld while another says it."""
    for number in range(TRIES):
        said = _bound(word if number == 0 else f"{word}{NUMBER}{number}", word)
        if said is not None:
            if [one for one in _said() if one.partition(NUMBER)[0] == word][1:]:
                said.close()  # root said it before us, while a stranger had the plain name
                break
            return said
        if word in (one.partition(NUMBER)[0] for one in _said()):
            break
    raise LockHeld(f"another launcher on this host has announced {word}")


def _bound(name: str, word: str) -> socket.socket | None:
    said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        said.bind(f"\0{PREFIX}{name}")
    except OSError as error:
        said.close()
        if error.errno != errno.EADDRINUSE:
            raise HostLacks(f"{word} cannot be announced on this host: {error}") from error
        return None
    return said


def announced(kind: str) -> list[str]:
    """List how the words go on that are said and begin with `kind`."""
    words = (word.partition(NUMBER)[0] for word in _said())
    return [word.removeprefix(kind) for word in words if word.startswith(kind)]


def _said() -> list[str]:
    """Root's words, as far as the kernel tells whose they are."""
    begin = f"@{PREFIX}"
    try:
        found = [name for name, uid in _diagnosed() if uid in (os.geteuid(), None)]
    except OSError:  # a kernel without unix_diag
        lines = Path(SOCKETS).read_text(encoding="utf-8", errors="replace").splitlines()
        found = [line.split(None, 7)[-1] for line in lines if line]
    return [name.removeprefix(begin) for name in found if name.startswith(begin)]


def _diagnosed() -> Iterator[tuple[str, int | None]]:
    body = ASK.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, SHOW_NAME | SHOW_UID, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as asked:
        asked.settimeout(PATIENCE)
        asked.send(HEADER.pack(HEADER.size + len(body), BY_FAMILY, REQUEST | DUMP, 1, 0) + body)
        while True:
            data = asked.recv(1 << 16)
            while data:
                size, kind, *_ = HEADER.unpack_from(data)
                if kind == ERROR:
                    raise OSError(errno.EOPNOTSUPP, "no unix_diag")
                if kind == DONE:
                    return
                given = _attributes(data[HEADER.size + TOLD : size])
                uid = struct.unpack("=I", given[UID])[0] if UID in given else None
                name = given.get(NAME, b"").decode(errors="replace").replace("\0", "@", 1)
                yield name, uid
                data = data[(size + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= ATTRIBUTE.size:
        size, kind = ATTRIBUTE.unpack_from(data)
        found[kind] = data[ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]
    return found
