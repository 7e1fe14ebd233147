"""A UEFI's variables as an image in Ceph. For the process that speaks to it (`librbd`)."""

import contextlib
import os
from pathlib import Path
from typing import Any

import rbd

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

Request = dict[str, Any]


def create(pool: Any, image: Request) -> None:
    """A copy of a file, whole or not at all: what a launcher that died has begun is begun anew."""
    data = Path(image["template"]).read_bytes()
    unfinished = f"{image['image']}.new"
    with contextlib.suppress(rbd.ImageNotFound):
        rbd.RBD().remove(pool, unfinished)
    rbd.RBD().create(pool, unfinished, image["size"], old_format=False, features=FEATURES)
    with rbd.Image(pool, unfinished) as opened:
        for offset in range(0, len(data), CHUNK):
            chunk = data[offset : offset + CHUNK]
            if chunk.strip(b"\0"):
                opened.write(chunk, offset)
        opened.flush()
    rbd.RBD().rename(pool, unfinished, image["image"])


def fault(image: Request, opened: Any) -> str:
    if not image["template"]:
        return ""
    with Path(image["template"]).open("rb") as file:
        template, size = file.read(HEAD), os.fstat(file.fileno()).st_size
    return unfit(opened.read(0, min(HEAD, opened.size())), opened.size(), template, size)
