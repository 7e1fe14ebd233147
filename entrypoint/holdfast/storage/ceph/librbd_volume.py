"""Making volumes in Ceph, in the process that speaks to it: each has its name only when it is whole."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rbd

from holdfast.storage.ceph.librbd_claim import claim_in
from holdfast.storage.ceph.librbd_parent import snapshot_of
from holdfast.storage.ceph.librbd_unfinished import (
    MARK,
    UNFINISHED,
    Claimed,
    Request,
    bear,
    blank,
    drop_snapshot,
    name_it,
    remove,
)
from holdfast.storage.ceph.librbd_variables import FEATURES, create
from holdfast.storage.hole import pieces

GOLDEN = "golden"  # the protected snapshot of a parent that many share
Tell = Callable[[str, int, int], None]


class Images:
    """Images of one cluster, opened and closed."""

    def __init__(self, cluster: Any, tell: Tell) -> None:
        self._cluster = cluster
        self._tell = tell
        self._looking: dict[str, Any] = {}
        self._pools: dict[str, Any] = {}

    @contextmanager
    def _pool(self, image: Request) -> Iterator[Any]:
        with self._cluster.open_ioctx(image["pool"]) as pool:
            pool.set_namespace(image["namespace"])
            yield pool

    @contextmanager
    def _opened(self, image: Request, *, read_only: bool = True) -> Iterator[Any]:
        with (
            self._pool(image) as pool,
            rbd.Image(pool, image["image"], read_only=read_only) as opened,
        ):
            yield opened

    @contextmanager
    def _existing(self, image: Request) -> Iterator[Any]:
        """None for a volume that is still to be made."""
        opening = self._opened(image, read_only=True)
        try:
            opened = opening.__enter__()
        except rbd.ImageNotFound:
            if not image["volume"]:
                raise
            yield None
            return
        with contextlib.ExitStack() as stack:
            stack.push(opening)
            yield opened

    def _looked_at(self, image: Request) -> Any:
        """Open read-only, and kept so: to open it takes several turns to Ceph, a look at its clients one. What a
        handle like this remembers, such as a size, is of the time when it was opened.
        """
        if image["name"] not in self._looking:
            pool = self._cluster.open_ioctx(image["pool"])
            pool.set_namespace(image["namespace"])
            self._looking[image["name"]] = rbd.Image(pool, image["image"], read_only=True)
            self._pools[image["name"]] = pool
        return self._looking[image["name"]]

    def _existing_looked_at(self, image: Request) -> Any:
        """None for a volume that is still to be made."""
        try:
            return self._looked_at(image)
        except rbd.ImageNotFound:
            if not image["volume"]:
                raise
            return None


class Volumes(Images):
    def is_there(self, image: Request) -> bool:
        with self._existing(image) as opened:
            return opened is not None

    def provide(self, image: Request) -> str:
        """A missing volume is made, one that is too small grows. A smaller size is no request to shrink."""
        size = image["size"]
        with self._existing(image) as opened:
            if opened:
                return self._grown(image, opened)
        with self._pool(image) as pool:
            new = blank(pool, image["image"], image)
            if image["template"]:
                create(pool, image, new)
            else:
                rbd.RBD().create(pool, new, size, old_format=False, features=FEATURES)
            name_it(pool, new, image)
        return "created"

    def _grown(self, image: Request, opened: Any) -> str:
        """Of what came into being since it was looked for, nothing is touched: it is somebody else's."""
        with self._pool(image) as pool:
            if (found := claim_in(pool, opened.id())) != image["claim"]:
                raise Claimed(found)
        if opened.size() >= image["size"]:
            return ""
        with self._opened(image, read_only=False) as writable:
            writable.resize(image["size"])
        return "grown"

    def marks(self, images: list[Request]) -> dict[str, str]:
        """By disk: the id of each volume that is there, "" where it bears none."""
        volumes = [image for image in images if image["volume"]]
        found = {image["disk"]: self._existing_looked_at(image) for image in volumes}
        return {disk: _mark(opened) for disk, opened in found.items() if opened is not None}

    def bear(self, image: Request) -> None:
        with self._opened(image, read_only=False) as opened:
            bear(opened, image)

    def import_file(self, image: Request, path: str) -> None:
        with self._pool(image) as pool:
            new = blank(pool, image["image"], image)
            self._fill(pool, new, path, image["size"])
            name_it(pool, new, image)

    def has_golden(self, image: Request, name: str) -> bool:
        with self._existing({**image, "image": name}) as opened:
            return opened is not None

    def import_golden(self, image: Request, name: str, path: str) -> None:
        """Two hosts may do it at once: the second one's copy goes again."""
        with self._pool(image) as pool:
            new = blank(pool, f"{name}.{image['image']}", image)
            self._fill(pool, new, path, 0)
            with rbd.Image(pool, new) as opened:
                opened.create_snap(GOLDEN)
                opened.protect_snap(GOLDEN)
            try:
                rbd.RBD().rename(pool, new, name)
            except rbd.ImageExists:
                remove(pool, new)

    def clone_golden(self, image: Request, name: str) -> None:
        with self._pool(image) as pool:
            new = self._cloned(pool, name, GOLDEN, image)
            name_it(pool, new, image)

    def clone_volume(self, image: Request, name: str, *, chained: bool, in_use: bool) -> Request:
        """As the volume is at this moment; `in_use`: also while somebody writes to it. Returns what speaks against
        it, as snapshot_of() does.
        """
        snapshot = f"holdfast.{image['image']}"
        with self._pool(image) as pool:
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

    def goldens(self, image: Request) -> list[Request]:
        """Parents of a pool, with how many volumes sit on each."""
        found = []
        with self._pool(image) as pool:
            for name in rbd.RBD().list(pool):
                if name.startswith(f"{GOLDEN}-") and not name.endswith(UNFINISHED):
                    with rbd.Image(pool, name, read_only=True) as opened:
                        opened.set_snap(GOLDEN)
                        children = len(list(opened.list_children()))
                        found.append({"name": name, "size": opened.size(), "children": children})
        return found

    def remove_golden(self, image: Request, name: str) -> bool:
        """False: somebody sits on it."""
        with self._pool(image) as pool:
            try:
                with rbd.Image(pool, name) as opened:
                    opened.unprotect_snap(GOLDEN)
                    opened.remove_snap(GOLDEN)
                rbd.RBD().remove(pool, name)
            except rbd.ImageBusy:
                return False
        return True

    # -- steps

    def _cloned(self, pool: Any, parent: str, snapshot: str, image: Request) -> str:
        new = blank(pool, image["image"], image)
        rbd.RBD().clone(pool, parent, snapshot, pool, new, features=FEATURES)
        with rbd.Image(pool, new) as opened:
            if opened.size() < image["size"]:
                opened.resize(image["size"])
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


def _mark(opened: Any) -> str:
    """Clones and copies take the metadata along: what names another image says nothing of this one."""
    mark, _, own = dict(opened.metadata_list()).get(MARK, "").partition(" ")
    return str(mark) if own == opened.id() else ""
