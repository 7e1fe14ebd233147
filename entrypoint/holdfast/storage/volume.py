"""Volumes for a start: made from nothing, an image or another volume, grown, and left alone when whole."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import ConfigError, Fault, Unreachable
from holdfast.machine import Disk, Format, RbdImage, RbdVolume, Source, Volume
from holdfast.runtime.confinement import Identity
from holdfast.runtime.worker import Attend, Overdue, idle
from holdfast.storage import directory, qcow2, sparse
from holdfast.storage.ceph.cluster import Cluster
from holdfast.storage.identity import UNCLAIMED, Identities
from holdfast.storage.image import golden
from holdfast.storage.image.cache import Cache
from holdfast.storage.image.cached import Cached
from holdfast.storage.pathname import Bounds

MOST = 1024**4  # bytes of an image, where the disk says no size
SPARE = 1024**3  # what a format may need beside the data


class Volumes:
    """`who` is the uid that reads strangers' images; `attend` raises what ends the work; within `bounds` images lie.
    `fence_off` comes before a process of `who` speaks to a server.
    """

    def __init__(
        self,
        cache: Path,
        who: Identity,
        cluster: Cluster | None,
        attend: Attend,
        bounds: Bounds,
        fence_off: Callable[[], None] = idle,
    ) -> None:
        self._who = who
        self._cluster = cluster
        self._attend = attend
        self._bounds = bounds
        self._cache = Cache(cache, who, attend, bounds, fence_off)

    def provide(self, disk: Disk, known: Identities = UNCLAIMED) -> str:
        """Make or grow the disk. Returns what was done, "" for nothing. `known` is what the disks are claimed as."""
        if isinstance(disk.backend, RbdImage):
            return self._in_ceph(disk, self._cluster) if self._cluster else ""
        if disk.source is None or not isinstance(disk.backend, Volume):
            return directory.provide(disk, self._bounds, known=known)
        with contextlib.ExitStack() as stack:
            if disk.chained and not os.path.lexists(disk.backend.path):
                stack.enter_context(golden.in_use(Path(disk.backend.directory), self._attend))
            return directory.provide(disk, self._bounds, self._fill, known)

    # -- in a directory

    def _fill(self, path: Path, disk: Disk) -> None:
        assert disk.source is not None  # noqa: S101 - provide() has looked
        assert isinstance(disk.backend, Volume)  # noqa: S101 - for the type checker
        if disk.source.volume and disk.chained:
            self._chain_over(path, disk, disk.backend, disk.source.volume)
            return
        if disk.source.volume:
            self._clone(path, disk, disk.source.volume)
        else:
            cached = self._image(disk, disk.source)
            image = self._cache.path(cached)
            if disk.chained:
                self._chain(path, disk, disk.backend, image, cached)
                return
            with _naming(disk, cached.place):
                golden.convert(image, cached.format, path, disk.format, self._who, self._attend)
        directory.grow(disk, path)
        if disk.sparse is False:
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def _chain(self, path: Path, disk: Disk, volume: Volume, image: Path, cached: Cached) -> None:
        with _naming(disk, cached.place):
            pool = Path(volume.directory)
            parent = golden.provide(pool, image, cached, self._who, self._attend)
        golden.chain(parent, path, disk, disk.size or cached.size)

    def _chain_over(self, path: Path, disk: Disk, volume: Volume, name: str) -> None:
        """Over what the volume holds now, which becomes a parent; the volume itself lives on. Of one that sits on
        a parent the copy sits there, too: parents have none themselves.
        """
        from holdfast.storage.image import origin  # noqa: PLC0415 - for few volumes

        place = self._origin(disk, volume, name)
        if place.suffix == ".qcow2" and (parent := qcow2.parent(place)):
            if not parent.is_file():
                rule = f"sits on {parent.name}, which is not in the pool any more"
                raise _fault(disk, "source/volume", name, rule)
            self._clone(path, disk, place.name)
            directory.grow(disk, path)
            return
        key = f"disks/{disk.name}/source/volume"
        with origin.still(key, place) as opened:
            with _naming(disk, name):
                cached = origin.judged(opened, place, self._attend)
            _check_size(disk, name, cached.size)
            if golden.place(place.parent, cached).exists():
                self._chain(path, disk, volume, place, cached)
                return
            target = Path(volume.path)
            with origin.readable(opened, cached, target, self._who, self._attend) as copy:
                origin.refuse_held(key, place, opened)
                self._chain(path, disk, volume, copy, cached)

    def _clone(self, path: Path, disk: Disk, name: str) -> None:
        """Byte for byte: a chained volume's clone sits on the same parent."""
        assert isinstance(disk.backend, Volume)  # noqa: S101 - for the type checker
        from holdfast.storage.image import origin  # noqa: PLC0415 - for few volumes

        key = f"disks/{disk.name}/source/volume"
        place = self._origin(disk, disk.backend, name)
        with origin.still(key, place) as opened:
            header = qcow2.read(opened)
            if (header is None) is (disk.format is Format.qcow2):
                rule = f"is not {disk.format.value}, which this volume is to be: set format"
                raise _fault(disk, "source/volume", name, rule)
            _check_size(disk, name, header.size if header else os.fstat(opened).st_size)
            sparse.copy(opened, path, self._attend)
            origin.refuse_held(key, place, opened)

    def _origin(self, disk: Disk, volume: Volume, name: str) -> Path:
        pool = Path(volume.directory)
        names = [name, *(f"{name}.{form}" for form in (disk.format, *Format))]
        found = [pool / one for one in names if (pool / one).is_file()]
        found = [
            one for one in found if not one.is_symlink() and not one.name.startswith("golden-")
        ]
        if not found:
            raise _fault(disk, "source/volume", name, "there is no such volume in this pool")
        if found[0].suffix.removeprefix(".") not in tuple(Format):
            rule = "must have a name that ends in .raw or .qcow2, which says what it is"
            raise _fault(disk, "source/volume", name, rule)
        return found[0]

    # -- in Ceph

    def _in_ceph(self, disk: Disk, cluster: Cluster) -> str:
        source = disk.source
        if source is None or not isinstance(disk.backend, RbdVolume) or cluster.is_there(disk):
            return cluster.provide(disk)
        if source.volume:
            if rule := cluster.clone_volume(disk, source.volume, self._attend):
                raise _fault(disk, "source/volume", source.volume, rule)
            return "created"
        cached = self._image(disk, source)
        name = f"golden-{cached.sha256}"
        if not disk.chained:
            with self._raw(disk, cached) as path:
                cluster.import_file(disk, str(path), self._attend)
            return "created"
        if not cluster.has_golden(disk, name):
            with self._raw(disk, cached) as path:
                cluster.import_golden(disk, name, str(path), self._attend)
        cluster.clone_golden(disk, name, self._attend)
        return "created"

    @contextmanager
    def _raw(self, disk: Disk, cached: Cached) -> Iterator[Path]:
        """Librbd takes plain bytes."""
        image = self._cache.path(cached)
        if cached.format is Format.raw:
            yield image
            return
        assert isinstance(disk.backend, RbdImage)  # noqa: S101 - for the type checker
        target = self._cache.root / "partial" / f"{disk.backend.image}.raw"
        with directory.unfinished(target) as new:
            with _naming(disk, cached.place):
                golden.convert(image, cached.format, new, Format.raw, self._who, self._attend)
            yield new

    # -- the source

    def _image(self, disk: Disk, source: Source) -> Cached:
        limit = 2 * disk.size + SPARE if disk.size else MOST
        key = f"disks/{disk.name}/source/image"
        cached = self._cache.image(source, key=key, limit=limit)
        _check_size(disk, cached.place, cached.size)
        return cached


@contextmanager
def _naming(disk: Disk, place: str) -> Iterator[None]:
    """What qemu-img says of an image says neither which nor whose."""
    try:
        yield
    except (ConfigError, Overdue) as error:
        key = "source/volume" if disk.source and disk.source.volume else "source/image"
        fault = _fault(disk, key, place, error.message)
        raise (fault if isinstance(error, ConfigError) else Unreachable(fault.message)) from error


def _check_size(disk: Disk, place: str, size: int) -> None:
    if disk.size is not None and size > disk.size:
        rule = f"is too small for {place}, whose disk has {size} bytes"
        raise _fault(disk, "size", str(disk.size), rule)


def _fault(disk: Disk, key: str, value: str, rule: str) -> ConfigError:
    return ConfigError([Fault(key=f"disks/{disk.name}/{key}", value=value, rule=rule)])
