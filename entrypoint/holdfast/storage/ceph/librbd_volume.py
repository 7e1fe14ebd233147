"""Making volumes in Ceph, in the process that speaks to it: each has its name only when it is whole."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rbd

from holdfast.dataclass import replace
from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.ceph.librbd_claim import claim_in
from holdfast.storage.ceph.librbd_images import Images
from holdfast.storage.ceph.librbd_parent import snapshot_of
from holdfast.storage.ceph.librbd_unfinished import (
    UNFINISHED,
    Claimed,
    bear,
    blank,
    drop_snapshot,
    name_it,
    remove,
)
from holdfast.storage.ceph.librbd_variables import FEATURES, create
from holdfast.storage.sparse import pieces

GOLDEN = "golden"  # the protected snapshot of a parent that many share
Tell = Callable[[str, int, int], None]


class Volumes:
    """The requests by which volumes come into being."""

    def __init__(self, images: Images, tell: Tell) -> None:
        self._images = images
        self._tell = tell

    def is_there(self, image: ImageRef) -> bool:
        with self._images.existing(image) as opened:
            return opened is not None

    def provide(self, image: ImageRef) -> str:
        """Make a missing volume; grow one that is too small. A smaller size is no request to shrink."""
        size = image.size
        with self._images.existing(image) as opened:
            if opened:
                return self._grown(image, opened)
        with self._images.pool(image) as pool:
            new = blank(pool, image.image, image)
            if image.template:
                create(pool, image, new)
            else:
                rbd.RBD().create(pool, new, size, old_format=False, features=FEATURES)
            name_it(pool, new, image)
        return "created"

    def _grown(self, image: ImageRef, opened: Any) -> str:
        """Of what came into being since it was looked for, nothing is touched: it is somebody else's."""
        with self._images.pool(image) as pool:
            if (found := claim_in(pool, opened.id())) != image.claim:
                raise Claimed(found)
        if opened.size() >= image.size:
            return ""
        with self._images.opened(image, read_only=False) as writable:
            writable.resize(image.size)
        return "grown"

    def bear(self, image: ImageRef) -> None:
        with self._images.opened(image, read_only=False) as opened:
            bear(opened, image)

    def import_file(self, image: ImageRef, path: str) -> None:
        with self._images.pool(image) as pool:
            new = blank(pool, image.image, image)
            self._fill(pool, new, path, image.size)
            name_it(pool, new, image)

    def has_golden(self, image: ImageRef, name: str) -> bool:
        with self._images.existing(replace(image, image=name)) as opened:
            return opened is not None

    def import_golden(self, image: ImageRef, name: str, path: str) -> None:
        """Import a parent. Two hosts may do it at once: the second one's copy goes again."""
        with self._images.pool(image) as pool:
            new = blank(pool, f"{name}.{image.image}", image)
            self._fill(pool, new, path, 0)
            with rbd.Image(pool, new) as opened:
                opened.create_snap(GOLDEN)
                opened.protect_snap(GOLDEN)
            try:
                rbd.RBD().rename(pool, new, name)
            except rbd.ImageExists:
                remove(pool, new)

    def clone_golden(self, image: ImageRef, name: str) -> None:
        with self._images.pool(image) as pool:
            new = self._cloned(pool, name, GOLDEN, image)
            name_it(pool, new, image)

    def clone_volume(
        self, image: ImageRef, name: str, *, chained: bool, in_use: bool
    ) -> dict[str, Any]:
        """Clone the volume as it is now; `in_use`: also while somebody writes to it. Returns what
        speaks against it, as snapshot_of() does.
        """
        snapshot = f"holdfast.{image.image}"
        with self._images.pool(image) as pool:
            try:
                if found := snapshot_of(pool, name, snapshot, image, in_use=in_use):
                    return found
            except rbd.ImageNotFound:
                return {"rule": "there is no such volume in this pool"}
            new = self._cloned(pool, name, snapshot, image)
            if not chained:
                with rbd.Image(pool, new) as child:
                    child.flatten(
                        on_progress=lambda done, total: self._tell("copying", done, total)
                    )
                with rbd.Image(pool, name) as parent:
                    drop_snapshot(parent, snapshot)
            name_it(pool, new, image)
        return {}

    # -- goldens, for the operator

    def goldens(self, image: ImageRef) -> list[dict[str, Any]]:
        """List parents of a pool, with how many volumes sit on each."""
        found = []
        with self._images.pool(image) as pool:
            for name in rbd.RBD().list(pool):
                if name.startswith(f"{GOLDEN}-") and not name.endswith(UNFINISHED):
                    with rbd.Image(pool, name, read_only=True) as opened:
                        opened.set_snap(GOLDEN)
                        children = len(list(opened.list_children()))
                        found.append({"name": name, "size": opened.size(), "children": children})
        return found

    def remove_golden(self, image: ImageRef, name: str) -> bool:
        """Remove a parent. False: somebody sits on it."""
        with self._images.pool(image) as pool:
            try:
                with rbd.Image(pool, name) as opened:
                    opened.unprotect_snap(GOLDEN)
                    opened.remove_snap(GOLDEN)
                rbd.RBD().remove(pool, name)
            except rbd.ImageBusy:
                return False
        return True

    # -- steps

    def _cloned(self, pool: Any, parent: str, snapshot: str, image: ImageRef) -> str:
        new = blank(pool, image.image, image)
        rbd.RBD().clone(pool, parent, snapshot, pool, new, features=FEATURES)
        with rbd.Image(pool, new) as opened:
            if opened.size() < image.size:
                opened.resize(image.size)
            # What older launchers have left in the parent's metadata comes along, and is not of this image.
            for key in [key for key, _ in opened.metadata_list() if key.startswith("holdfast.")]:
                opened.metadata_remove(key)
        return new

    def _fill(self, pool: Any, name: str, path: str, size: int) -> None:
        with Path(path).open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            whole = max(size, length)
            rbd.RBD().create(pool, name, whole, old_format=False, features=FEATURES)
            with rbd.Image(pool, name) as opened:
                for start, data in pieces(file.fileno(), length):
                    opened.write(data, start)
                    self._tell("importing", start, length)
                opened.flush()
