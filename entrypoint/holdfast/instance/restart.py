"""Whether a VM that ended by itself is started again in place."""

from holdfast.dataclass import dataclass, field, replace
from holdfast.instance.outcome import Ending, How
from holdfast.machine import Machine, OnCrash, OnPoweroff

MOST_OFFS = 10  # restarts of a guest that has switched itself off; one that does it in a loop is not in use
MOST = 3  # restarts after a crash, within
WITHIN = 600.0  # seconds


@dataclass(kw_only=True)
class Restarts:
    """The crashes under one lock. A guest that is switched off and on again has not crashed; one that does
    nothing else has.
    """

    machine: Machine
    number: int = 0
    _crashes: list[float] = field(default_factory=list)
    _offs: list[float] = field(default_factory=list)

    def judge(self, ending: Ending, now: float) -> Ending | None:
        """Judge an ending. None: start it again. Else how the VM ended after all. `now`: seconds
        of any clock that only goes forward.
        """
        if ending.how is How.powered_off and self.machine.on_poweroff is OnPoweroff.restart:
            return self._again(self._offs, MOST_OFFS, replace(ending, how=How.off_loop), now)
        if not ending.crashed or self.machine.on_crash is not OnCrash.restart:
            return ending
        # Want of memory keeps its name and its status, which say what is wrong.
        over = ending if ending.how is How.starved else replace(ending, how=How.crash_loop)
        return self._again(self._crashes, MOST, over, now)

    def _again(self, before: list[float], most: int, over: Ending, now: float) -> Ending | None:
        before[:] = [when for when in before if when > now - WITHIN]
        if len(before) == most:
            return over
        before.append(now)
        self.number += 1
        return None
