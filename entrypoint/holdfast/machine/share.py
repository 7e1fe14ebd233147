"""A folder of the host that the guest sees, too."""

from holdfast.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class Share:
    """`name` is the tag by which the guest mounts it; `mount` is where cloud-init does so, if at all."""

    name: str
    path: str
    read_only: bool = False
    mount: str = ""
