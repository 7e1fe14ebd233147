"""What a person sees of the guest."""

from enum import StrEnum, auto

from holdfast.dataclass import dataclass, field

FIRST_VNC_PORT = 5900  # QEMU counts displays from here


class Display(StrEnum):
    """How a person gets to the screen."""

    spice = auto()
    vnc = auto()
    none = auto()


class Video(StrEnum):
    """The graphics adapter."""

    std = auto()
    virtio = auto()
    qxl = auto()
    none = auto()


@dataclass(frozen=True, kw_only=True)
class Spice:
    """`password` is None where the operator chose `spice_password=none`, "" where one is to be made. `tls` is the
    host's folder with certificate and key; "": it listens without.
    """

    port: int
    addr: str = "127.0.0.1"
    password: str | None = field(default="", repr=False)
    tls: str = ""


@dataclass(frozen=True, kw_only=True)
class Vnc:
    """Its password likewise. VNC looks at the first eight bytes of one only."""

    port: int
    addr: str = "127.0.0.1"
    password: str | None = field(default="", repr=False)
    tls: str = ""
