"""A thread that no fault ends: it is logged, and the work begun again. One that has ended all the same is known."""

import threading
import time

from holdfast import log

PAUSE = 1.0  # seconds before the work begins again

ended: set[str] = set()  # by name: those that went without being asked to


class Thread(threading.Thread):
    """`work` returns when the thread is to end. Where it is left by a fault it must be fit to be begun again."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._faults = 0

    def work(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        ended.discard(self.name)
        try:
            while not self._worked():
                time.sleep(PAUSE)
        except BaseException:
            ended.add(self.name)
            raise

    def _worked(self) -> bool:
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody counts on this thread
            self._faults += 1
            if self._faults & (self._faults - 1) == 0:  # the 1st, 2nd, 4th, 8th: seldom in the end
                log.error(f"{self.name}: {described(error)}", times=self._faults)
            return False
        return True


def described(error: BaseException) -> str:
    """Describe a fault of ours, with the place where it came up."""
    place, trace = "", error.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}: {error}"
