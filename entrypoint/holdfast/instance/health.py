"""What ails a running VM: for status and log, and for the engine's health check, which sees a file or none.

Well is a VM whose QEMU answers, whose guest runs, whose storage does, whose lease is minded, with all threads alive. A
lease that cannot be renewed is no ailment where the VM rightly holds on.
"""

import time

from holdfast import log
from holdfast.devices.console import Console
from holdfast.instance.ailments import Ailments
from holdfast.instance.pulse import Pulse
from holdfast.ownership.keepalive import KeepAlive
from holdfast.qmp.monitor import Monitor
from holdfast.runtime import thread
from holdfast.runtime.rundir import beat
from holdfast.runtime.status import Status


class Health:
    def __init__(
        self, monitor: Monitor, status: Status, keepalive: KeepAlive | None, console: Console
    ) -> None:
        self._pulse = Pulse(monitor)
        self._status = status
        self._keepalive = keepalive
        self._console = console
        self._ailments = Ailments()
        self._seen: set[str] = set()  # what the last look has found
        self._told = ""

    def look(self) -> None:
        log.catch_up()
        self._console.look()
        found = {**self._pulse.look(time.monotonic()), **self._threads(), **self._file()}
        now = time.monotonic()
        for source in self._seen - found.keys():
            if line := self._ailments.clear(source, now):
                log.info(line)
        for source, text in found.items():
            if line := self._ailments.set(source, text, now):
                log.error(line)
        self._seen = set(found)
        self._show()

    def ails(self, source: str, text: str) -> None:
        """Note what somebody else has seen, and said in the log."""
        self._ailments.set(source, text, time.monotonic())
        self._show()

    def recovers(self, source: str) -> None:
        self._ailments.clear(source, time.monotonic())
        self._show()

    def _threads(self) -> dict[str, str]:
        found = {name: f"the thread {name} has ended" for name in sorted(thread.ended)}
        if self._keepalive is not None and self._keepalive.stuck():
            found["keeper"] = "the thread that minds the lease does not go on"
        return found

    def _file(self) -> dict[str, str]:
        return {"status.json": self._status.stale} if self._status.stale else {}

    def _show(self) -> None:
        beat(well=not self._ailments)
        if (text := str(self._ailments)) != self._told:
            self._told = text
            self._status.report(trouble=text)
