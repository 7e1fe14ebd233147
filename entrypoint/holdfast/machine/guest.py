"""How the guest is set up from inside."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class UserData:
    """Where cloud-init's user-data comes from: exactly one of the first three.

    A `trusted` URL is the operator's own (CLOUD_CONFIG), and may lead to this host itself.
    """

    url: str = ""
    path: str = ""
    inline: str = field(default="", repr=False)
    trusted: bool = False
