"""What can be said of a VM's images before its lock is taken: nothing of it leaves a trace on them.

For the process that speaks to Ceph (`librbd`).
"""

import contextlib
import os
from shlex import quote
from typing import Any

import rados
import rbd

from holdfast.dataclass import replace
from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.ceph.librbd_claim import writers
from holdfast.storage.ceph.librbd_images import Images
from holdfast.storage.ceph.librbd_unfinished import mark_of
from holdfast.storage.ceph.librbd_variables import fault

COPY = "holdfast.fence."  # and an epoch: the metadata key of a copy of a fence record, by older launchers
DENIED = (rados.PermissionError, rados.PermissionDeniedError, rbd.PermissionError)


class Inspector:
    def __init__(self, images: Images, user: str) -> None:
        self._images = images
        self._user = user
        self._data: dict[str, str] = {}  # the pool of an image's data, where it is another one

    def inspect(self, images: list[ImageRef], *, proven: bool) -> dict[str, Any]:
        """Look at all. `proven`: that this client may shut others out is not tried again."""
        faults = [fault for image in images for fault in self._faults(image)]
        writable = [image for image in images if image.writable]
        return {
            "fsid": self._images.cluster.get_fsid(),
            "faults": faults,
            "may_fence": proven or bool(faults) or not writable or self._may_fence(),
            "copies": {} if faults else self._copies(writable),
            "marks": {} if faults else self._marks(images),
            "claims": {} if faults else self._images.claims(writable),
            "written": [] if faults else self._written(images),
        }

    def _may_fence(self) -> bool:
        """Try it on a client of our own address that does not exist, for a second."""
        address = self._images.address().rpartition("/")[0]
        try:
            self._images.cluster.blocklist_add(
                f"{address}/{int.from_bytes(os.urandom(4)) | 1 << 31}", 1
            )
        except DENIED:
            return False
        return True

    def _written(self, images: list[ImageRef]) -> list[dict[str, Any]]:
        """Of those that the VM only reads: to which somebody writes."""
        found = []
        for image in images:
            if image.writable or (opened := self._images.existing_looked_at(image)) is None:
                continue
            if who := writers(self._images.pool_of(image), opened):
                found.append({"key": image.key, "image": image.name, **who})
        return found

    def _copies(self, images: list[ImageRef]) -> dict[str, list[str]]:
        """What each epoch of an older launcher has left in the images' metadata, as it stands there."""
        found: dict[str, list[str]] = {}
        for opened in filter(None, map(self._images.existing_looked_at, images)):
            for key, value in opened.metadata_list():
                if key.startswith(COPY):
                    found.setdefault(key.removeprefix(COPY), []).append(value)
        return found

    def _marks(self, images: list[ImageRef]) -> dict[str, str]:
        """By disk: the id of each volume that is there, "" where it bears none."""
        volumes = [image for image in images if image.volume]
        found = {image.disk: self._images.existing_looked_at(image) for image in volumes}
        return {disk: mark_of(opened) for disk, opened in found.items() if opened is not None}

    def _faults(self, image: ImageRef) -> list[dict[str, str]]:
        name = image.name
        try:
            rule = self._judged(image)
        except (rados.TimedOut, rbd.Timeout) as error:
            # The monitor gives a client without any right to OSDs no ticket, and it waits for one.
            reason = f"{name}: no OSD serves its pool, or client.{self._user} has no rights there: it needs {self._needed(image)}"
            raise rados.TimedOut(reason) from error
        except rados.ObjectNotFound:
            pool = image.pool
            rule = f"there is no pool {pool} in this cluster: ceph osd pool create {pool}"
        except rbd.ImageNotFound:
            rule = self._missing(image)
        except DENIED:
            verb = "write to" if image.writable else "read"
            rule = f"client.{self._user} may not {verb} it: it needs {self._needed(image)}"
        except rbd.Error as error:
            rule = f"cannot be opened: {error}"
        return [{"key": image.key, "value": name, "rule": rule}] if rule else []

    def _judged(self, image: ImageRef) -> str:
        opened = self._images.looked_at(image)
        if not image.writable:
            return ""
        self._try_to_write(image, opened.block_name_prefix(), opened.data_pool_id())
        if opened.features() & rbd.RBD_FEATURE_EXCLUSIVE_LOCK:
            return fault(image, opened)
        name = image.name
        return f"lacks the feature exclusive-lock: rbd feature enable {quote(name)} exclusive-lock"

    def _try_to_write(self, image: ImageRef, prefix: str, data: int = -1) -> None:
        """The right to write, asked for without writing: there is no such object. An image may keep its
        data in another pool (`data`, by its number), of which a user's rights say nothing by themselves.
        """
        with contextlib.suppress(rados.ObjectNotFound), self._images.pool(image) as pool:
            pool.remove_object(f"{prefix}.holdfast")
        if data < 0:
            return
        self._data[image.name] = self._images.cluster.pool_reverse_lookup(data)
        elsewhere = replace(image, pool=self._data[image.name])
        with contextlib.suppress(rados.ObjectNotFound), self._images.pool(elsewhere) as pool:
            pool.remove_object(f"{prefix}.holdfast")

    def _missing(self, image: ImageRef) -> str:
        """A volume is made when it is ours; whether that will do is asked now."""
        if rule := self._no_namespace(image) or self._in_trash(image):
            return rule
        if not image.volume:
            return f"there is no such image: rbd create --size 20G {quote(image.name)}"
        if not image.size and not image.sourced:
            return f"the volume does not exist: give disks/{image.disk}/size to create it, or a source"
        self._try_to_write(image, "rbd_data")
        return ""

    def _no_namespace(self, image: ImageRef) -> str:
        with self._images.cluster.open_ioctx(image.pool) as pool:
            space = image.namespace
            if not space or rbd.RBD().namespace_exists(pool, space):
                return ""
            name = quote(f"{image.pool}/{space}")
            return f"there is no such namespace: rbd namespace create {name}"

    def _in_trash(self, image: ImageRef) -> str:
        """A disk that somebody has removed, and that is still there: a new one would hide it."""
        with self._images.pool(image) as pool:
            trash = rbd.RBD().trash_list(pool)
            ids = [entry["id"] for entry in trash if entry["name"] == image.image]
        if not ids:
            return ""
        name = quote(f"{image.name.removesuffix(image.image)}{ids[-1]}")
        return f"is in the trash: rbd trash restore {name}"

    def _needed(self, image: ImageRef) -> str:
        space = f" namespace={image.namespace}" if image.namespace else ""
        data = self._data.get(image.name)
        more = f", profile rbd pool={data}{space}" if data else ""
        return f"mon 'profile rbd', osd 'profile rbd pool={image.pool}{space}{more}'"
