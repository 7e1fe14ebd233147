"""A disk, and where its data is."""

from enum import StrEnum, auto

from holdfast.dataclass import dataclass, field
from holdfast.machine.ceph import RbdImage
from holdfast.machine.format import Format
from holdfast.machine.platform import VARIABLES
from holdfast.machine.source import Source

# Bytes of the largest sectors there are. QEMU does not write to a raw file that ends within a sector.
BLOCK = 4096


def aligned(size: int) -> int:
    """Rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


class DiskKind(StrEnum):
    disk = auto()
    cdrom = auto()
    lun = auto()  # the guest's SCSI commands go to the device itself


class Bus(StrEnum):
    virtio = auto()
    scsi = auto()
    sata = auto()
    ide = auto()
    usb = auto()
    nvme = auto()


class Aio(StrEnum):
    native = auto()
    threads = auto()
    io_uring = auto()


class Discard(StrEnum):
    unmap = auto()
    ignore = auto()


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


def key_of(name: str) -> str:
    return "firmware" if name == VARIABLES else f"disks/{name}"


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What is None follows from the board, the pool or the host."""

    name: str
    backend: Backend
    format: Format = Format.raw
    size: int | None = None
    sparse: bool | None = None
    source: Source | None = None
    chained: bool = False  # copy-on-write over its source
    kind: DiskKind = DiskKind.disk
    bus: Bus | None = None
    cache: Cache = Cache.none
    aio: Aio | None = None
    discard: Discard = Discard.unmap
    iothread: bool | None = None
    iops: int | None = None  # in a second
    bps: int | None = None
    primary: bool = False
    boot: int | None = None  # its turn
    read_only: bool = False
    serial: str = ""
    devname: str = ""
    format_named: bool = field(default=False, compare=False)  # in the keys: not just what is usual
    template: str = ""  # the file that a new volume is a copy of
    mark: str = ""  # the id that a new volume bears

    @property
    def key(self) -> str:
        """Where a person looks who reads of a fault in it."""
        return key_of(self.name)

    @property
    def writable(self) -> bool:
        return not self.read_only and self.kind is not DiskKind.cdrom

    @property
    def direct(self) -> bool:
        """Past the host's page cache."""
        return self.cache is Cache.none
