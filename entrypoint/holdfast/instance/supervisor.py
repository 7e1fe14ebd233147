"""The one loop beside a running QEMU: signals, its monitor, its exit, the keep-alive, timers."""

import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from holdfast import log
from holdfast.devices.console import Console
from holdfast.errors import legible
from holdfast.instance.health import Health
from holdfast.instance.lifecycle import Action, Event, State, step
from holdfast.instance.outcome import Ending, How
from holdfast.instance.pulse import LOOK
from holdfast.ownership.keepalive import Finding, KeepAlive
from holdfast.qmp import agent
from holdfast.qmp.client import Message, Qmp
from holdfast.qmp.monitor import Monitor
from holdfast.qmp.trouble import Repeats, Trouble
from holdfast.runtime.child import Child, reap_orphans
from holdfast.runtime.clock import Timers, boottime
from holdfast.runtime.events import STOP_SIGNALS, Events
from holdfast.runtime.rundir import beat
from holdfast.runtime.status import Status, VmState

QUIT_TIMEOUT = 10.0  # seconds that QEMU gets to flush and close its disks
PRESS_AGAIN = 10.0  # a guest that has not loaded its button driver yet misses the first press
RECOVERED = 1.0  # without another I/O error
RESUME_AGAIN = 5.0  # between two tries to go on after an I/O error
AGENT_IS_MUTE = object()
SHOWN = {
    State.running: VmState.running,
    State.panicked: VmState.panicked,
    State.stopping: VmState.stopping,
    State.quitting: VmState.stopping,
}
GUEST = {  # why QEMU ends, when it is the guest's doing (qapi/run-state.json, ShutdownCause)
    "guest-shutdown": How.powered_off,
    "guest-reset": How.rebooted,
    "guest-panic": How.panicked,
}
FENCED = "transport endpoint shutdown"  # ESHUTDOWN: Ceph has shut this client out (librbd, -108)


class Supervisor:
    def __init__(
        self,
        child: Child,
        qmp: Qmp,
        events: Events,
        status: Status,
        *,
        stop_timeout: float,
        keepalive: KeepAlive | None,
    ) -> None:
        self._child = child
        self._monitor = Monitor(qmp, events, self._told)
        self._events = events
        self._status = status
        self._stop_timeout = stop_timeout
        self._agent: Path | None = None  # while it listens
        self._keepalive = keepalive
        self._state = State.prelaunch
        self._how: How | None = None
        self._asked = False
        self._runs = False  # since its first instruction
        self._trouble = Trouble()
        self._complaints = Repeats()
        self._timers = Timers()
        self._exit: int | None = None
        self._helpers: list[Child] = []
        self._broken: list[str] = []
        self._acts: dict[Action, Callable[[], None]] = {
            Action.cont: lambda: self._monitor.command("cont"),
            Action.powerdown: self._power_down,
            Action.quit: lambda: self._monitor.command("quit"),
            Action.kill: self._child.kill,
        }

    def run(self, helpers: Sequence[Child], agent_path: Path, console: Console) -> Ending:
        """Run until QEMU is reaped. No exception leaves it running: the caller closes each
        Child.
        """
        self._agent_path = agent_path
        self._health = Health(self._monitor, self._status, self._keepalive, console)
        self._helpers = list(helpers)
        for child in (self._child, *helpers):
            self._events.watch(child.output, partial(self._listen, child))
        self._monitor.watch()
        console.watch(self._events)
        beat()
        self._reap()  # its exit may have come before anybody listened
        for event in self._events.wait(
            time.monotonic()
        ):  # a stop that was asked for during the start
            self._handle(event)
        self._begin()
        while self._exit is None:
            for event in self._events.wait(self._next()):
                self._handle(event)
            self._ring()
        for child in (self._child, *self._helpers):
            self._events.forget(child.output)
        self._monitor.forget()
        console.forget()
        return Ending(how=self._how or How.died, qemu=self._exit, asked=self._asked)

    def _listen(self, child: Child) -> None:
        if not child.listen():
            self._events.forget(child.output)

    def _begin(self) -> None:
        """The guest's first instruction: the record is written, and the lease is still good."""
        if self._keepalive and self._keepalive.in_doubt():
            self._lose("the lease could not be renewed while the VM was starting")
        else:
            self._go(Event.start)
        self._timers.set(self._look, LOOK)

    # -- what happens

    def _handle(self, event: object) -> None:
        if event is signal.SIGCHLD:
            self._reap()
        elif event in STOP_SIGNALS:
            self._asked = True
            self._stop(str(getattr(event, "name", event)))
        elif event is Finding.power_off and self._how is None:
            self._stop("power=off", How.switched_off)
        elif event is Finding.lost:
            self._lose("another owner has taken the VM, or its lock is gone")
        elif event is Finding.unguarded:
            self._lose("the guard of its disks has ended")
        elif event is AGENT_IS_MUTE:
            self._press()

    def _stop(self, why: str, how: How = How.stopped) -> None:
        first = self._how is None
        log.info(f"{why}: {'powering the guest down' if first else 'not waiting any longer'}")
        self._how = self._how or how
        self._go(Event.stop if first else Event.hurry)

    def _lose(self, why: str) -> None:
        if self._how is not How.lost:
            log.error(f"{why}: killing QEMU")
        self._how = How.lost
        self._go(Event.lost)

    def _reap(self) -> None:
        self._exit = self._child.reap()
        for helper in [helper for helper in self._helpers if helper.reap() is not None]:
            self._bereave(helper)
        reap_orphans([child.pid for child in (self._child, *self._helpers)])
        if self._exit is not None:
            self._monitor.hear()  # the monitor's last words say why
            self._go(Event.exited)

    def _bereave(self, helper: Child) -> None:
        """The guest keeps its device, which does not answer any more."""
        self._events.forget(helper.output)
        self._helpers.remove(helper)
        if self._state is not State.running or self._how is not None:
            return  # it ends with QEMU
        log.error(f"{helper.name} has ended: its device hangs until the VM is started anew")
        self._broken.append(helper.name)
        self._status.report(broken=", ".join(self._broken))

    def _overdue(self) -> None:
        if self._state is State.stopping:
            log.warning(
                f"the guest did not power down within {self._stop_timeout:g} s: ending QEMU"
            )
            self._how = How.forced
        self._go(Event.overdue)

    # -- what is done about it

    def _go(self, event: Event) -> None:
        before = self._state
        self._state, actions = step(before, event)
        if self._state is not before and self._state in SHOWN:
            self._status.report(state=SHOWN[self._state])
        limits = {State.stopping: self._stop_timeout, State.quitting: QUIT_TIMEOUT}
        for action in actions:
            self._timers.drop(self._overdue)
            if self._state in limits:
                self._timers.set(self._overdue, limits[self._state])
            self._acts[action]()

    def _power_down(self) -> None:
        """Through the guest's agent where one listens: a desktop may do anything at its power button."""
        if self._agent is None:
            self._press()
            return
        self._timers.set(self._press, PRESS_AGAIN)
        agent.shut_down(self._agent, lambda: self._events.post(AGENT_IS_MUTE))

    def _press(self) -> None:
        if self._state is State.stopping:
            self._monitor.command("system_powerdown")
            self._timers.set(self._press, PRESS_AGAIN)

    def _resume(self) -> None:
        if self._state is State.running:
            self._monitor.command("cont")

    def _look(self) -> None:
        self._health.look()
        self._timers.set(self._look, LOOK)

    # -- QEMU's monitor

    def _told(self, event: str, data: Message) -> None:
        if event == "SHUTDOWN" and self._how is None and str(data.get("reason")) in GUEST:
            self._how = GUEST[str(data["reason"])]
            log.info(self._how.value)
        elif event == "BLOCK_IO_ERROR":
            node = legible(str(data.get("node-name") or data.get("device")))
            reason = legible(str(data.get("reason", "")))
            self._failed(reason, node, str(data.get("action", "stop")))
        elif event == "WATCHDOG":
            self._bitten(legible(str(data.get("action"))))
        elif event == "GUEST_PANICKED":
            self._panicked(paused=data.get("action") == "pause")
        elif event == "RESUME":
            self._go(Event.resumed)
            self._timers.set(self._recover, RECOVERED)
            if not self._runs:
                log.info("the guest runs")
            self._runs = True
        elif event == "VSERPORT_CHANGE" and data.get("id") == "agent":
            self._agent = self._agent_path if data.get("open") else None

    def _panicked(self, *, paused: bool) -> None:
        left = ": it is left as it is, for the operator (on_crash)" if paused else ""
        self._complain(f"the guest's kernel has panicked{left}")
        if paused:
            self._health.ails("guest", "the guest's kernel has panicked")
            self._go(Event.panic)

    def _bitten(self, action: str) -> None:
        self._complain(f"the guest has not fed its watchdog: {action}")
        if action == "poweroff" and self._how is None:  # QEMU ends without a SHUTDOWN event
            self._how = How.powered_off

    def _complain(self, line: str) -> None:
        """A guest may cause it as often as it likes."""
        if said := self._complaints.heard(line):
            log.error(said)

    def _failed(self, reason: str, node: str, action: str) -> None:
        """The guest waits for its disk, unless it was told of the error itself (`action`: QAPI's IoErrorAction)."""
        if FENCED in reason:
            self._lose("the storage has shut this host out")
            return
        if line := self._trouble.heard(node, reason):
            log.error(line)
        if action != "stop":
            return
        self._timers.set(self._resume, RESUME_AGAIN)
        self._timers.drop(self._recover)
        self._health.ails("disk", f"disk {node}: {reason}")
        self._status.report(state=VmState.paused)

    def _recover(self) -> None:
        for ailment in ("disk", "guest"):
            self._health.recovers(ailment)
        if self._state is State.running:
            self._status.report(state=VmState.running)
            if line := self._trouble.over():
                log.info(line)

    # -- time

    def _next(self) -> float | None:
        """The nearest timer; the lease's deadline is one of them where doubt stops the VM."""
        times = [self._timers.next()]
        if (doubt := self._doubt()) is not None:
            times.append(time.monotonic() + doubt)
        return min((one for one in times if one is not None), default=None)

    def _doubt(self) -> float | None:
        """Seconds until ownership is in doubt; None where that stops nothing."""
        if self._keepalive is None or self._keepalive.hold_on:
            return None
        return None if self._how is How.lost else self._keepalive.deadline() - boottime()

    def _ring(self) -> None:
        self._timers.ring()
        doubt = self._doubt()
        if doubt is not None and doubt <= 0:
            self._lose("the lease could not be renewed in time")
