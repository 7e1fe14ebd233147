"""A disk, and where its data is."""

from dataclasses import dataclass
from enum import StrEnum, auto

from holdfast.machine.ceph import RbdImage


class Format(StrEnum):
    raw = auto()
    qcow2 = auto()


class DiskKind(StrEnum):
    disk = auto()
    cdrom = auto()


class Cache(StrEnum):
    none = auto()
    writeback = auto()
    writethrough = auto()


@dataclass(frozen=True, kw_only=True)
class LocalPath:
    """A file or block device of this host, under one of host.toml's image_paths."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume in a directory pool: `directory/name`, created when it is missing."""

    pool: str
    directory: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.directory}/{self.name}"

    def __str__(self) -> str:
        return self.path


Backend = RbdImage | LocalPath | Volume


@dataclass(frozen=True, kw_only=True)
class Disk:
    name: str
    backend: Backend
    format: Format = Format.raw
    size: int | None = None
    kind: DiskKind = DiskKind.disk
    cache: Cache = Cache.none
    primary: bool = False
    read_only: bool = False
    serial: str = ""

    @property
    def writable(self) -> bool:
        return not self.read_only and self.kind is not DiskKind.cdrom
