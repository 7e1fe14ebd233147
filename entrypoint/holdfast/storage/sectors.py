"""Whether a file can be written to its end where the storage has larger sectors than 512 bytes.

QEMU says "Cannot get 'write' permission without 'resize'" there, when the lock is long taken. Volumes are
whole blocks (machine.BLOCK) and pass; of a file of the user's own it is found out as QEMU does it.
"""

import mmap
import os
from contextlib import closing

from holdfast.machine import BLOCK, Disk, Format, aligned

SECTORS = (512, 1024, 2048, BLOCK)


def unfit(disk: Disk, path: str) -> str:
    """Say why it is unusable, or "". `path` leads to the disk's file, whatever its name does."""
    length = os.stat(path).st_size  # noqa: PTH116 - of a path that was found to be a file
    grows = disk.size is not None and disk.size >= length
    if grows or not disk.writable or not disk.direct or disk.format is not Format.raw:
        return ""
    sector = sector_of(path)
    # QEMU rounds the length up to 512 itself.
    if sector == SECTORS[0] or length % sector == 0:
        return ""
    return (
        f"has {length} bytes, and its storage has sectors of {sector}, of which it must be a multiple: "
        f"truncate --size {aligned(length)} {disk.backend}, or set disks/{disk.name}/cache to writeback"
    )


def sector_of(path: str) -> int:
    """Find the least number of bytes that can be read past the cache; 512 where there is no such way."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return SECTORS[0]  # said when it is opened
    try:
        return next((size for size in SECTORS if _reads(descriptor, size)), SECTORS[0])
    finally:
        os.close(descriptor)


def _reads(descriptor: int, size: int) -> bool:
    # A page of its own: memory has to be aligned as well.
    with closing(mmap.mmap(-1, BLOCK)) as page, memoryview(page) as view, view[:size] as part:
        try:
            os.preadv(descriptor, [part], 0)
        except OSError:
            return False
    return True
