"""A UEFI's variables as an image in Ceph. For the process that speaks to it (`librbd`)."""

import os
from pathlib import Path
from typing import Any

import rbd

from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.variables import HEAD, unfit

CHUNK = 64 * 1024
# Whatever ceph.conf has for new images: without exclusive-lock a dead writer cannot be told.
FEATURES = (
    rbd.RBD_FEATURE_LAYERING
    | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
    | rbd.RBD_FEATURE_OBJECT_MAP
    | rbd.RBD_FEATURE_FAST_DIFF
    | rbd.RBD_FEATURE_DEEP_FLATTEN
)


def create(pool: Any, image: ImageRef, unfinished: str) -> None:
    """Copy a file into an image, under a name for the time being."""
    data = Path(image.template).read_bytes()
    rbd.RBD().create(pool, unfinished, image.size, old_format=False, features=FEATURES)
    with rbd.Image(pool, unfinished) as opened:
        for offset in range(0, len(data), CHUNK):
            chunk = data[offset : offset + CHUNK]
            if chunk.strip(b"\0"):
                opened.write(chunk, offset)
        opened.flush()


def fault(image: ImageRef, opened: Any) -> str:
    if not image.template:
        return ""
    with Path(image.template).open("rb") as file:
        template, size = file.read(HEAD), os.fstat(file.fileno()).st_size
    return unfit(opened.read(0, min(HEAD, opened.size())), opened.size(), template, size)
