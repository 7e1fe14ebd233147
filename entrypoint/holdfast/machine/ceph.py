"""Ceph as the disks of a VM see it: images, and the way to the cluster that holds them."""

from holdfast.dataclass import dataclass, field

MONITOR_PORTS = (3300, 6789)  # of msgr2, and of what was there before
ADMIN = "admin"  # whom Ceph's own programs are, where nobody says another


@dataclass(frozen=True, kw_only=True)
class Monitor:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a pool of host.toml says of its cluster. All that is empty comes from /etc/ceph.

    `keyring` is a file of ceph-authtool's, `key_file` one that holds nothing but the key.
    """

    monitors: tuple[Monitor, ...] = ()
    user: str = ""
    keyring: str = ""
    key_file: str = ""


ETC_CEPH = Access()


@dataclass(frozen=True, kw_only=True)
class RbdImage:
    """An image in Ceph: `pool/image` or `pool/namespace/image`."""

    pool: str
    image: str
    namespace: str = ""
    access: Access = field(default=ETC_CEPH, repr=False)

    def __str__(self) -> str:
        return "/".join(part for part in (self.pool, self.namespace, self.image) if part)


@dataclass(frozen=True, kw_only=True)
class RbdVolume(RbdImage):
    """The image `<vm>-<name>` in an RBD pool of host.toml, created when it is missing. `label` is host.toml's name
    of the pool; "" for what lies beside an image of the user's own.
    """

    label: str = field(default="", compare=False, repr=False)
