"""What a guest keeps of its first start: a newer QEMU must not change its hardware."""

from holdfast.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """The versioned type behind a board's name, and the name of the CPU's model."""

    machine: str
    cpu: str
