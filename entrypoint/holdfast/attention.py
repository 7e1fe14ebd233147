"""What a long piece of work before the start must not miss: a stop signal, and the loss of the VM."""

import time

from holdfast.errors import OwnershipLost
from holdfast.events import Events
from holdfast.keeper import Finding, Keeper


class Attention:
    """Called again and again by whoever works; raises what ends the work."""

    def __init__(self, events: Events, keeper: Keeper | None) -> None:
        self._events = events
        self._keeper = keeper
        self._lost = False

    def __call__(self, seconds: float = 0.05) -> None:
        """Raises Stopped or OwnershipLost, at once or within these seconds."""
        self._events.sleep(time.monotonic() + seconds, wake=self._look)
        if self._lost or (self._keeper is not None and self._keeper.in_doubt()):
            raise OwnershipLost("the VM was lost, or switched off, while its disks were made")

    def _look(self, event: object) -> bool:
        self._lost = self._lost or isinstance(event, Finding)
        return self._lost
