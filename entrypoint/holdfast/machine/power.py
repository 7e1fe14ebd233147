"""Whether a VM is to run, and what becomes of it when its guest or its QEMU ends by itself."""

from enum import StrEnum, auto


class Power(StrEnum):
    on = auto()
    off = auto()


class OnPoweroff(StrEnum):
    stop = auto()
    restart = auto()


class OnReboot(StrEnum):
    restart = auto()
    stop = auto()


class OnCrash(StrEnum):
    restart = auto()
    stop = auto()
    pause = auto()  # a guest that has panicked; a QEMU that is dead cannot be paused
