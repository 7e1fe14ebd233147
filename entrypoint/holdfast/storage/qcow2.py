"""What stands in a qcow2 header (docs/interop/qcow2), read without trust in it."""

import os
import re
import struct
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.storage.pathname import regular

MAGIC = b"QFI\xfb"
# magic, version, backing_file_offset, backing_file_size, cluster_bits, size, crypt_method
HEADER = struct.Struct(">4sIQIIQI")
FEATURES = struct.Struct(">72xQ")
DATA_FILE = 1 << 2  # incompatible feature: the data is in another file
SUBCLUSTERS = 1 << 4
LENGTH = 104
LONGEST_NAME = 1023

GOLDEN = re.compile(r"golden-[0-9a-f]{64}\.qcow2")


@dataclass(frozen=True, kw_only=True)
class Header:
    size: int
    backing: str
    data_file: bool
    encrypted: bool


def header(path: Path) -> Header | None:
    """Read it. None: this is no qcow2 image."""
    with path.open("rb") as file:
        return read(file.fileno())


def read(descriptor: int) -> Header | None:
    head = os.pread(descriptor, LENGTH, 0)
    if not head.startswith(MAGIC) or len(head) < HEADER.size:
        return None
    _, version, offset, length, _, size, crypt = HEADER.unpack_from(head)
    # A guest can write any number there: one outside of the file leads nowhere.
    inside = 0 < offset < os.fstat(descriptor).st_size
    backing = os.pread(descriptor, min(length, LONGEST_NAME), offset) if inside else b""
    extended = version >= 3 and len(head) >= FEATURES.size  # noqa: PLR2004 - qcow2's version
    flags = FEATURES.unpack_from(head)[0] if extended else 0
    return Header(
        size=size,
        backing=backing.decode(errors="replace") or ("?" if offset else ""),
        data_file=bool(flags & DATA_FILE),
        encrypted=bool(crypt),
    )


def parent(path: Path) -> Path | None:
    """Find the golden image beside a volume, on which it sits."""
    with regular(path, follow=True) as file:
        found = read(file)
    return parent_of(path, found) if found else None


def parent_of(path: Path, found: Header) -> Path | None:
    return path.with_name(found.backing) if GOLDEN.fullmatch(found.backing) else None
