"""What a VM is, as values. Sizes are bytes. Nothing in here knows text, files or etcd."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface


class Accelerator(StrEnum):
    auto = "auto"  # spelled out: the name hides enum.auto
    kvm = "kvm"
    tcg = "tcg"


class Power(StrEnum):
    on = auto()
    off = auto()


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


class NicMode(StrEnum):
    bridge = auto()
    user = auto()
    none = auto()


@dataclass(frozen=True, kw_only=True)
class RbdImage:
    """An image in Ceph: `pool/image` or `pool/namespace/image`."""

    pool: str
    image: str
    namespace: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.pool, self.namespace, self.image) if part)


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


@dataclass(frozen=True, kw_only=True)
class Nic:
    name: str
    mode: NicMode
    mac: str
    bridge: str = ""
    model: str = "virtio"
    address: tuple[IPv4Interface | IPv6Interface, ...] = ()
    gateway: tuple[IPv4Address | IPv6Address, ...] = ()
    dns: tuple[IPv4Address | IPv6Address, ...] = ()
    search: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Spice:
    """`password` is None where the operator chose `spice_password=none`, "" where one is to be made."""

    port: int
    addr: str = "127.0.0.1"
    password: str | None = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class UserData:
    """Where cloud-init's user-data comes from: exactly one of the first three.

    A `trusted` URL is the operator's own (CLOUD_CONFIG), and may lead to this host itself.
    """

    url: str = ""
    path: str = ""
    inline: str = field(default="", repr=False)
    trusted: bool = False


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One VM, complete and checked. `options` is set in argv mode: QEMU's own words replace the rest."""

    vm: str
    hostname: str
    uuid: str
    machine: str
    hosts: tuple[str, ...] = ()  # empty: any
    power: Power = Power.on
    accelerator: Accelerator = Accelerator.auto
    cpus: int = 1
    cpu_model: str = ""  # "": host with KVM, else max
    ram: int = 1024 * 1024**2
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    spice: Spice | None = None
    user_data: UserData | None = None
    guest_agent: bool = True
    rng: bool = True
    stop_timeout: int = 300
    extra_flags: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
