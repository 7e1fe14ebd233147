"""A thread that somebody counts on: a fault is logged, and it goes on."""

import threading

import pytest

from holdfast.runtime import thread
from holdfast.runtime.thread import Thread

pytestmark = pytest.mark.processes


class Stumbling(Thread):
    def __init__(self, faults: list[BaseException]) -> None:
        super().__init__("stumbling")
        self.faults = faults
        self.worked = threading.Event()

    def work(self) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.worked.set()


@pytest.mark.parametrize(
    "fault", [KeyError("header"), RecursionError(), TypeError("x"), MemoryError(), ValueError()]
)
def test_it_goes_on(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(thread, "PAUSE", 0.01)
    one = Stumbling([fault, fault, fault])
    one.start()
    assert one.worked.wait(10)
    one.join(10)
    said = capsys.readouterr().err
    assert f"stumbling: {type(fault).__name__} at test_thread.py" in said
    assert said.count("stumbling:") == 2, "the 1st and the 2nd"
    assert "stumbling" not in thread.ended


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_ends_all_the_same_is_known() -> None:
    one = Stumbling([GeneratorExit()])
    one.start()
    one.join(10)
    assert "stumbling" in thread.ended
    thread.ended.clear()
