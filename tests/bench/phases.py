"""Where the time of a start goes: `holdfast`, with a look at when its steps begin and end.

    python3 -IB phases.py OUTPUT run VM

Python's own monitoring (PEP 669) tells of a function the first time only, unless it is one of the steps: the
rest of the code runs as always.
"""

import time

BEGAN = time.monotonic()

import sys  # noqa: E402 - after the first look at the clock

sys.path.append("/usr/lib/python3/dist-packages")

from holdfast import precompiled  # noqa: E402

precompiled.use()

import json  # noqa: E402 - as a start loads them
import threading  # noqa: E402
from pathlib import Path  # noqa: E402
from types import CodeType  # noqa: E402
from typing import Any  # noqa: E402

monitoring: Any = vars(sys)["monitoring"]  # Python 3.12 and later

# What the innermost of these that is under way is doing. Imports count as imports, wherever they are.
STEPS = {
    "<frozen importlib._bootstrap>:_find_and_load": "imports",
    "probe.py:probe": "look at the host",
    "store.py:Store._anywhere": "etcd",
    "__init__.py:describe": "build",
    "preflight.py:make": "build",
    "preflight.py:reach": "Ceph",
    "fencing.py:Fencing.shut_out": "fence",
    "fencing.py:Fencing.admit_ourselves": "fence",
    "fencing.py:Fencing.admit_qemu": "fence",
    "start.py:make_volumes": "Ceph",
    "launch.py:Launch._wire": "build",
    "launch.py:Launch._argv": "build",
    "firewall.py:Firewall.around": "firewall",
    "child.py:Child.__init__": "spawn",
    "launch.py:Launch._greet": "QMP",
    "supervisor.py:Supervisor._begin": "cont",
}
LAST = "Supervisor._begin"


class Clock:
    def __init__(self, output: str) -> None:
        self._output = output
        self._stack: list[str] = []
        self._mark = time.monotonic()
        self._spent = {"imports": self._mark - BEGAN}  # those above

    def begin(self, code: CodeType, _: int) -> object:
        step = _step(code)
        if step is None:
            return monitoring.DISABLE
        if threading.current_thread() is threading.main_thread():
            self._account()
            self._stack.append(step)
        return None

    def end(self, code: CodeType, *_: object) -> object:
        if _step(code) is None:
            return monitoring.DISABLE
        if threading.current_thread() is threading.main_thread() and self._stack:
            self._account()
            self._stack.pop()
            if code.co_qualname == LAST:
                self._write()
        return None

    def unwind(self, code: CodeType, *_: object) -> None:
        """It cannot be switched off for one function alone."""
        if _step(code) is not None:
            self.end(code)

    def _account(self) -> None:
        now = time.monotonic()
        steps = self._stack or ["the rest"]
        what = "imports" if "imports" in steps else steps[-1]
        self._spent[what] = self._spent.get(what, 0) + now - self._mark
        self._mark = now

    def _write(self) -> None:
        seen = {"began": BEGAN, "ended": self._mark, "spent": self._spent}
        Path(self._output).write_text(json.dumps(seen), encoding="ascii")


def _step(code: CodeType) -> str | None:
    file: str = code.co_filename
    return STEPS.get(f"{file.rpartition('/')[2]}:{code.co_qualname}")


def watch(clock: Clock) -> None:
    tool, events = monitoring.PROFILER_ID, monitoring.events
    monitoring.use_tool_id(tool, "phases")
    monitoring.register_callback(tool, events.PY_START, clock.begin)
    monitoring.register_callback(tool, events.PY_RETURN, clock.end)
    monitoring.register_callback(tool, events.PY_UNWIND, clock.unwind)
    monitoring.set_events(tool, events.PY_START | events.PY_RETURN | events.PY_UNWIND)


if __name__ == "__main__":
    output, *sys.argv[1:] = sys.argv[1:]
    watch(Clock(output))
    from holdfast.__main__ import main

    main()
