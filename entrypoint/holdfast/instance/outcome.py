"""How a VM ended, and the exit status that says so."""

from enum import StrEnum

from holdfast.dataclass import dataclass
from holdfast.errors import InternalError, OwnershipLost

SYSEXITS = range(64, 79)  # ours; QEMU's own status must not look like one of them


class How(StrEnum):
    powered_off = "guest powered off"
    rebooted = "guest rebooted, and on_reboot is stop"
    stopped = "stopped"
    switched_off = "switched off by its power key"
    forced = "ended after stop_timeout"
    lost = "ownership lost"
    died = "QEMU ended by itself"
    starved = (
        "the kernel killed QEMU for want of memory: raise the container's limit, or lower ram"
    )
    panicked = "the guest's kernel panicked"
    crash_loop = "crashed again and again"
    off_loop = "guest powered off again and again"


CRASHES = frozenset({How.died, How.starved, How.panicked, How.crash_loop, How.off_loop})
OFF = frozenset({How.powered_off, How.rebooted})  # by its own user: nobody starts it again


@dataclass(frozen=True, kw_only=True)
class Ending:
    """`qemu` is QEMU's exit status as subprocess gives it: negative for a signal. `asked`: a signal has asked the
    launcher to stop, whatever the VM was doing then.
    """

    how: How
    qemu: int
    asked: bool = False

    @property
    def closed(self) -> bool:
        """QEMU flushed and closed its disks itself: none of its writes is under way any more."""
        return self.qemu == 0

    @property
    def crashed(self) -> bool:
        return self.how in CRASHES

    @property
    def status(self) -> int:
        """The launcher's exit status (docs/keys.md).

        >>> Ending(how=How.died, qemu=-9).status
        137
        """
        if self.how is How.lost:
            return OwnershipLost.status
        if self.how in (How.crash_loop, How.off_loop):
            return InternalError.status
        if not self.crashed:
            return 0
        if self.qemu < 0:
            return 128 - self.qemu
        ours = self.qemu == 0 or self.qemu in SYSEXITS
        return InternalError.status if ours else self.qemu

    def __str__(self) -> str:
        """For the log: what happened, and what QEMU's status was where that says more."""
        if self.how is not How.died:
            return self.how.value
        by = "signal" if self.qemu < 0 else "status"
        return f"QEMU ended by itself, with {by} {abs(self.qemu)}"
