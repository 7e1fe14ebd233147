"""How a VM ended, and the exit status that says so."""

from dataclasses import dataclass
from enum import StrEnum

from holdfast.errors import OwnershipLost

SYSEXITS = range(64, 79)  # ours; QEMU's own status must not look like one of them


class How(StrEnum):
    powered_off = "guest powered off"
    stopped = "stopped"
    switched_off = "switched off by its power key"
    forced = "ended after stop_timeout"
    lost = "ownership lost"
    crashed = "QEMU ended by itself"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """`qemu` is QEMU's exit status as subprocess gives it: negative for a signal."""

    how: How
    qemu: int

    @property
    def killed(self) -> bool:
        """By a signal: QEMU did not flush and close its disks itself."""
        return self.qemu < 0

    @property
    def status(self) -> int:
        """The launcher's exit status (docs/keys.md).

        >>> Ending(how=How.crashed, qemu=-9).status
        137
        """
        if self.how is How.lost:
            return OwnershipLost.status
        if self.how is not How.crashed:
            return 0
        if self.killed:
            return 128 - self.qemu
        return 70 if self.qemu == 0 or self.qemu in SYSEXITS else self.qemu
