"""Where the first content of a volume comes from."""

from holdfast.dataclass import dataclass
from holdfast.machine.format import Format


@dataclass(frozen=True, kw_only=True)
class UrlLimits:
    """What host.toml opens and closes to URLs that are not the operator's own, as it is written there."""

    reachable: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """Of the file as it is published, before anything is unpacked. `digest` is in lower-case hex."""

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Either `image`, a path or a URL, or `volume`, another one of the same pool.

    `trusted`: the URL is the operator's own, whose server may be this very host. `template`: host.toml has the
    volume among those that all VMs may copy, also while somebody writes to it.
    """

    image: str = ""
    member: str = ""
    volume: str = ""
    format: Format | None = None  # None: as qemu-img finds it
    checksum: Checksum | None = None
    trusted: bool = False
    template: bool = False
    reach: UrlLimits = UrlLimits()

    @property
    def is_url(self) -> bool:
        return self.image.startswith(("http://", "https://"))

    @property
    def place(self) -> str:
        return self.image or self.volume
