"""What all targets have: how their input is taken apart, and what may come of it."""

import tempfile
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.etcd.message import Refusal
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import NoAnswer
from holdfast.grammar import Refused

OURS = (HoldfastError, Refused, Unreadable, NoAnswer, Refusal)
SCRATCH = Path(tempfile.mkdtemp(prefix="holdfast-fuzz-"))


def text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def pairs(data: bytes) -> dict[str, bytes]:
    """A description: a key a line, its value behind the first =."""
    found = {}
    for line in data.split(b"\x1e"):
        name, _, value = line.partition(b"=")
        found[name.decode(errors="replace")] = value
    return found
