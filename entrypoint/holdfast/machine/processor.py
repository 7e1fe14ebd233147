"""The guest's processors and its clock."""

from enum import StrEnum, auto

from holdfast.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class Topology:
    sockets: int = 1
    cores: int = 1
    threads: int = 1

    @property
    def cpus(self) -> int:
        return self.sockets * self.cores * self.threads


class Rtc(StrEnum):
    """What the guest's hardware clock shows. Windows wants `localtime`."""

    utc = auto()
    localtime = auto()


class Watchdog(StrEnum):
    """What is done to a guest that has asked to be watched and feeds the watchdog no more."""

    off = auto()
    reset = auto()
    poweroff = auto()
    pause = auto()
