"""How far a qcow2 image reaches in its file: qemu-img reads zeros behind the file's end, and says nothing.

By docs/interop/qcow2. Runs where strangers' images are read: each table of the file is read once at most,
whatever its numbers say. Only a lower bound: what ends in the middle of a cluster may be whole.
"""

import os
import struct
import sys
from array import array
from collections.abc import Iterator

from holdfast.storage.qcow2 import FEATURES, MAGIC, SUBCLUSTERS

# cluster_bits, size, crypt_method, l1_size, l1_table_offset
LAYOUT = struct.Struct(">20xIQIIQ")
OFFSET = 0x00FF_FFFF_FFFF_FE00
PACKED, ZEROS = 1 << 62, 1
MOST_L1 = 4 * 1024**2  # entries; QEMU's own limit
NEWEST = 1024**2  # bytes of tables: 8 GiB of a guest's
SECTOR, OF_CLUSTER = 512, 32  # subclusters


def missing(descriptor: int) -> str:
    """Say what is not there of an image, or ""; also for what is no qcow2."""
    head = os.pread(descriptor, 104, 0)
    if not head.startswith(MAGIC) or len(head) < LAYOUT.size:
        return ""
    length = os.fstat(descriptor).st_size
    end = max(_ends(descriptor, head, length), default=0)
    return f"is cut off: it has {length} bytes of {end} or more" if end > length else ""


def cut_off(descriptor: int) -> str:
    """Say the same of a disk that is in use, at once: its newest tables only, and a last cluster that was not
    written to its end is none that misses.
    """
    head = os.pread(descriptor, 104, 0)
    if not head.startswith(MAGIC) or len(head) < LAYOUT.size:
        return ""
    length = os.fstat(descriptor).st_size
    end = max(_newest_ends(descriptor, head, length), default=0)
    # Asked again: somebody may be writing to it.
    if end <= (length := os.fstat(descriptor).st_size):
        return ""
    return f"is cut off: it has {length} bytes of {end} or more"


def _newest_ends(descriptor: int, head: bytes, length: int) -> Iterator[int]:
    """Of those tables that lie farthest behind, as what is written later does."""
    bits, size, _, entries, place = LAYOUT.unpack_from(head)
    if not 9 <= bits <= 21 or entries > MOST_L1:  # noqa: PLR2004 - QEMU refuses it
        return
    first = enumerate(_table(descriptor, place, entries, length))
    tables = sorted({entry & OFFSET: number for number, entry in first}.items())
    flags = _flags(head)
    yield place + 8 * entries
    for table, number in tables[-max(1, NEWEST >> bits) :]:
        if table:
            yield table + 1
            about = bits, size, number, flags
            ends = _of_table(descriptor, table, length, about)
            yield from (end - (1 << bits) + 1 for end in ends)


def _flags(head: bytes) -> int:
    version = int.from_bytes(head[4:8], "big")
    flags: int = FEATURES.unpack_from(head)[0] if version > 2 and len(head) >= FEATURES.size else 0  # noqa: PLR2004 - version 3 has features
    return flags


def _ends(descriptor: int, head: bytes, length: int) -> Iterator[int]:
    bits, size, _, entries, place = LAYOUT.unpack_from(head)
    if not 9 <= bits <= 21 or entries > MOST_L1:  # noqa: PLR2004 - qemu-img refuses it
        return
    flags = _flags(head)
    yield place + 8 * entries
    seen = set()
    for number, entry in enumerate(_table(descriptor, place, entries, length)):
        table = entry & OFFSET
        if table and table not in seen:
            seen.add(table)
            yield table + (1 << bits)
            yield from _of_table(descriptor, table, length, (bits, size, number, flags))


def _of_table(
    descriptor: int, place: int, length: int, about: tuple[int, int, int, int]
) -> Iterator[int]:
    bits, size, number, flags = about
    entries = _table(descriptor, place, (1 << bits) // 8, length)
    if flags & SUBCLUSTERS:
        yield from _of_subclusters(entries, bits)
        return
    last, rest = (size - 1) >> bits, size % (1 << bits) or 1 << bits
    last -= number * len(entries)
    for index, entry in enumerate(entries):
        if entry & PACKED:
            yield _packed_end(entry, bits)
        elif entry & OFFSET and not entry & ZEROS:
            yield (entry & OFFSET) + (rest if index == last else 1 << bits)


def _packed_end(entry: int, bits: int) -> int:
    """It reaches into its last sector at least."""
    shift = 62 - (bits - 8)
    first = (entry & ((1 << shift) - 1)) // SECTOR
    more = (entry & (PACKED - 1)) >> shift
    return (first + more) * SECTOR + 1


def _of_subclusters(entries: "array[int]", bits: int) -> Iterator[int]:
    for entry, bitmap in zip(entries[::2], entries[1::2], strict=False):
        if entry & PACKED:
            yield _packed_end(entry, bits)
        elif there := bitmap & 0xFFFF_FFFF:
            yield (entry & OFFSET) + there.bit_length() * ((1 << bits) // OF_CLUSTER)


def _table(descriptor: int, place: int, entries: int, length: int) -> "array[int]":
    found: array[int] = array("Q")
    if place < length:
        data = os.pread(descriptor, 8 * entries, place)
        found.frombytes(data[: len(data) // 8 * 8])
    if sys.byteorder == "little":
        found.byteswap()
    return found
