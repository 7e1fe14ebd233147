"""How the guest is set up from inside, by cloud-init."""

from holdfast.dataclass import dataclass, field
from holdfast.machine.source import UrlLimits


@dataclass(frozen=True, kw_only=True)
class Document:
    """Where one of cloud-init's documents comes from: exactly one of the first three. `key` is its name
    where it was written.

    A `trusted` URL is the operator's own (CLOUD_CONFIG), and may lead to this host itself.
    """

    url: str = ""
    path: str = ""
    inline: str = field(default="", repr=False)
    trusted: bool = False
    reach: UrlLimits = UrlLimits()
    key: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """`user_data` is the user's alone; what the other keys say goes beside it, as vendor-data."""

    user_data: Document | None = None
    meta_data: Document | None = None
    network_config: Document | None = None
    ssh_authorized_keys: tuple[str, ...] = ()
    password: str = field(default="", repr=False)
    commands: tuple[str, ...] = field(default=(), repr=False)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timezone: str = ""
