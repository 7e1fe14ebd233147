"""Whether a VM that ended by itself is started again in place."""

from dataclasses import dataclass, field, replace

from holdfast.ending import Ending, How
from holdfast.machine import Machine, OnCrash, OnPoweroff

MOST = 3  # restarts after a crash, within
WITHIN = 600.0  # seconds


@dataclass(kw_only=True)
class Restarts:
    """The crashes of one tenure. A guest that is switched off and on again has not crashed."""

    machine: Machine
    number: int = 0
    _crashes: list[float] = field(default_factory=list)

    def judge(self, ending: Ending, now: float) -> Ending | None:
        """None: start it again. Else how the VM ended after all."""
        if ending.how is How.powered_off and self.machine.on_poweroff is OnPoweroff.restart:
            self.number += 1
            return None
        if not ending.crashed or self.machine.on_crash is not OnCrash.restart:
            return ending
        self._crashes = [when for when in self._crashes if when > now - WITHIN]
        if len(self._crashes) == MOST:
            return replace(ending, how=How.crash_loop)
        self._crashes.append(now)
        self.number += 1
        return None
