"""What a person sees of the guest."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Spice:
    """`password` is None where the operator chose `spice_password=none`, "" where one is to be made."""

    port: int
    addr: str = "127.0.0.1"
    password: str | None = field(default="", repr=False)
