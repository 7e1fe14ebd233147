"""Handles of images in Ceph. For the process that speaks to it (`librbd`)."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rbd

from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.ceph.librbd_claim import claim_in


class Images:
    """Images of one cluster, opened and closed."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self._looking: dict[str, Any] = {}
        self._pools: dict[str, Any] = {}

    @contextmanager
    def pool(self, image: ImageRef) -> Iterator[Any]:
        with self.cluster.open_ioctx(image.pool) as pool:
            pool.set_namespace(image.namespace)
            yield pool

    @contextmanager
    def opened(self, image: ImageRef, *, read_only: bool = True) -> Iterator[Any]:
        with (
            self.pool(image) as pool,
            rbd.Image(pool, image.image, read_only=read_only) as opened,
        ):
            yield opened

    @contextmanager
    def existing(self, image: ImageRef) -> Iterator[Any]:
        """Open it read-only; None for a volume that is still to be made."""
        opening = self.opened(image, read_only=True)
        try:
            opened = opening.__enter__()
        except rbd.ImageNotFound:
            if not image.volume:
                raise
            yield None
            return
        with contextlib.ExitStack() as stack:
            stack.push(opening)
            yield opened

    def looked_at(self, image: ImageRef) -> Any:
        """Open read-only, and kept so: to open it takes several turns to Ceph, a look at its clients one. What a
        handle like this remembers, such as a size, is of the time when it was opened.
        """
        if image.name not in self._looking:
            pool = self.cluster.open_ioctx(image.pool)
            pool.set_namespace(image.namespace)
            self._looking[image.name] = rbd.Image(pool, image.image, read_only=True)
            self._pools[image.name] = pool
        return self._looking[image.name]

    def existing_looked_at(self, image: ImageRef) -> Any:
        """Look at it; None for a volume that is still to be made."""
        try:
            return self.looked_at(image)
        except rbd.ImageNotFound:
            if not image.volume:
                raise
            return None

    def header(self, image: ImageRef) -> tuple[Any, str]:
        """Find the image's pool, and its id."""
        opened = self.looked_at(image)
        return self._pools[image.name], opened.id()

    def claims(self, images: list[ImageRef]) -> dict[str, str]:
        """Read them by image, as they stand there; "" for an image that nobody has claimed."""
        there = (image for image in images if self.existing_looked_at(image) is not None)
        return {image.name: claim_in(*self.header(image)) for image in there}

    def address(self) -> str:
        """Get our address as Ceph lists it: of the forms of get_addrs, the one of watchers."""
        first = str(self.cluster.get_addrs()).strip("[]").split(",")[0]
        return first.partition(":")[2] if first[:3] in ("v1:", "v2:", "any") else first

    def pool_of(self, image: ImageRef) -> Any:
        """Find the pool of an image that is looked at."""
        return self._pools[image.name]
