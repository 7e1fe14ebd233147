"""One QEMU after another in one place: paused, the record, only then the guest; and again after a crash."""

import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NoReturn

from holdfast import log
from holdfast.dataclass import dataclass, replace
from holdfast.description import pinned
from holdfast.errors import HoldfastError
from holdfast.instance.launch import GREETING, Launch, Starved
from holdfast.instance.outcome import Ending, How
from holdfast.instance.plan import Plan
from holdfast.instance.restart import Restarts
from holdfast.machine import Accelerator, Pinned
from holdfast.ownership import hearsay
from holdfast.ownership.fencing import Fencing, Strangers
from holdfast.qemu.processor import model
from holdfast.qmp.client import Disconnected, Qmp
from holdfast.runtime.child import Child
from holdfast.runtime.events import Events, Stopped
from holdfast.runtime.rundir import RunDirectory
from holdfast.runtime.status import FILE, Status, VmState, now
from holdfast.storage import local

if TYPE_CHECKING:
    from holdfast.network.addresses import Whereabouts

QUIT = 2.0  # seconds for a QEMU whose guest has not run to close its disks
UNLOCKING = 10.0  # seconds for the image locks of a QEMU that is reaped


@dataclass(frozen=True, kw_only=True)
class Runs:
    """`fencing` is None without etcd: nobody else is to know of this VM."""

    plan: Plan
    launch: Launch
    rundir: RunDirectory
    accelerator: Accelerator
    status: Status
    events: Events
    fencing: Fencing | None

    def all(self) -> Ending:
        """Run one QEMU after another; return how the last ended. Whatever is raised, none
        stays.
        """
        restarts = Restarts(machine=self.plan.machine)
        while True:
            ending = self._told_why(self._run())
            if judged := restarts.judge(ending, time.monotonic()):
                return judged
            log.warning(f"{ending}: starting QEMU again in place", restarts=restarts.number)
            self.status.report(
                state=VmState.restarting,
                restarts=restarts.number,
                last_restart={"when": now(), "why": str(ending)},
                trouble="",
                broken="",
            )
            try:
                self._clear(ending)
            except Stopped:
                return replace(ending, how=How.stopped)

    def _run(self) -> Ending:
        with ExitStack() as stack:
            # What follows is loaded while QEMU opens its disks (see Launch.spawn).
            try:
                child, qmp = self.launch.spawn(stack, self.fencing)
            except Starved as error:
                log.warning(error.message)
                return Ending(how=How.starved, qemu=-signal.SIGKILL)
            try:
                self._admit(child, qmp, stack)
            except HoldfastError as error:
                if not isinstance(error, Disconnected):
                    self._dismiss(child, qmp, error)
                # killed before its guest ran: a crash like any other
                log.warning(error.message)
                return Ending(how=How.died, qemu=child.end())
            self.plan.close()
            stack.enter_context(self._whereabouts())
            from holdfast.instance.supervisor import Supervisor  # noqa: PLC0415 - loaded by Launch.spawn

            supervisor = Supervisor(
                child,
                qmp,
                self.events,
                self.status,
                stop_timeout=self.plan.machine.stop_timeout,
                keepalive=self.fencing.keepalive if self.fencing else None,
            )
            launch = self.launch
            return supervisor.run(launch.helpers, self.rundir.path / "agent", launch.console)

    def _told_why(self, ending: Ending) -> Ending:
        starved = ending.how is How.died and self.launch.starved(ending.qemu)
        return replace(ending, how=How.starved) if starved else ending

    def _admit(self, child: Child, qmp: Qmp, stack: ExitStack) -> None:
        if self.fencing is not None:
            self.fencing.guarded(child.pid, self.events, stack)
            self.fencing.admit_qemu(qmp.version, self._newly_pinned(qmp))

    def _dismiss(self, child: Child, qmp: Qmp, error: HoldfastError) -> NoReturn:
        """Its guest will not run. One that closes its disks by itself need not be shut out of them."""
        with suppress(HoldfastError):
            qmp.call("quit", timeout=QUIT)
        if self.fencing is not None:
            if child.ended(QUIT):
                self.fencing.dismissed()
            if isinstance(error, Strangers):
                raise self.fencing.name_strangers() or error
        raise error

    def _newly_pinned(self, qmp: Qmp) -> bytes:
        """What is to be written as `pinned`; nothing where it stands there already."""
        machine = self.plan.machine
        if self.plan.adapted is not None:
            return b""
        kind = qmp.call("qom-get", timeout=GREETING, path="/machine", property="type")
        cpu = model(machine, self.accelerator)
        found = Pinned(machine=str(kind).removesuffix("-machine"), cpu=cpu)
        return b"" if found == machine.pinned else pinned.encode(found)

    def _whereabouts(self) -> "Whereabouts":
        """The guest's addresses, for the log and for the status key."""
        from holdfast.network.addresses import Whereabouts  # noqa: PLC0415 - see Launch.spawn

        def tell(addresses: Mapping[str, Sequence[str]]) -> None:
            said = hearsay.addresses(addresses)
            for card, there in said.items():
                log.info(f"the guest's addresses on {card}: {', '.join(there)}")
            self.status.hear(addresses=said)

        machine = self.plan.machine
        agent = self.rundir.path / "agent" if machine.guest_agent else None
        return Whereabouts(machine.vm, machine.nics, agent, tell)

    def _clear(self, ending: Ending) -> None:
        """Nothing of the QEMU that has ended is in the way of the next one."""
        self.rundir.empty(FILE)
        if self.fencing is not None:
            self.fencing.bury(closed=ending.closed, events=self.events)
        until = time.monotonic() + UNLOCKING
        # It is reaped, but the kernel lets go of a file a moment later where a request on it was under way.
        while any(map(local.locked, self.plan.disks)) and time.monotonic() < until:
            self.events.sleep(time.monotonic() + 0.05)
