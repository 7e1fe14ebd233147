"""From a lock that is ours to its release."""

import contextlib
import time

from holdfast import log
from holdfast.config.settings import EtcdLoss, Settings
from holdfast.errors import HoldfastError, Unreachable
from holdfast.host import Host
from holdfast.instance.launch import ImageInUse
from holdfast.instance.outcome import OFF, Ending, How
from holdfast.instance.plan import Plan
from holdfast.launcher.contender import Ours
from holdfast.launcher.start import first_facts, start
from holdfast.ownership.fencing import Fencing
from holdfast.ownership.keepalive import KeepAlive
from holdfast.ownership.last_run import CRASHED, Last
from holdfast.ownership.records import ImageKind
from holdfast.runtime.events import Events, Stopped
from holdfast.runtime.status import Facts, Status, now

LET_GO_AGAIN = 1.0  # between two tries to give the VM away while etcd is down


class Failed(Exception):
    """The VM could not be started, and is given back. What failed may pass: see Standby.put_off."""

    def __init__(self, error: HoldfastError) -> None:
        super().__init__(error.message)
        self.error = error


def serve(ours: Ours, settings: Settings, host: Host, events: Events) -> Ending:
    """Run the VM while it is ours. Raises Failed where its guest has never run."""
    try:
        ending, clean = held(ours, settings, host, events)
    except HoldfastError as error:
        give_back(ours, host)
        raise Failed(error) from error
    except Stopped:
        give_back(ours, host)
        raise
    if ending.how is not How.lost:
        Parting(ours, host, ending, clean=clean).let_go(events)
    return ending


def held(ours: Ours, settings: Settings, host: Host, events: Events) -> tuple[Ending, bool]:
    """Run the VM. Return how it ended, and whether nobody may write to its disks any more.

    When this returns the keep-alive has ended: it would take a lock again that we let go.
    """
    hold = ours.hold
    epoch, ttl = hold.taken.epoch, hold.session.times.ttl
    facts: Facts = {**first_facts(ours.plan, host), "epoch": epoch, "ttl": ttl}
    status = Status(**facts)
    with (
        contextlib.closing(ours.plan),
        KeepAlive(hold, ours.revision, events.post, status) as keepalive,
        contextlib.closing(
            Fencing(ours.plan, hold, keepalive, hold_on=holds_on(settings, ours.plan))
        ) as fencing,
    ):
        keepalive.keeps(ours.vault)
        ending = started(ours, host, events, fencing)
        return ending, ending.how is not How.lost and fencing.part(closed=ending.closed)


def started(ours: Ours, host: Host, events: Events, fencing: Fencing) -> Ending:
    try:
        return start(ours.plan, host, events, fencing, ours.vault, ours.volumes)
    except BaseException as error:
        fencing.withdraw(in_use=isinstance(error, ImageInUse))
        raise


def holds_on(settings: Settings, plan: Plan) -> bool:
    """Tell whether the VM outlives a loss of etcd. One without a writable disk could run twice,
    with one MAC and one address; one with a disk that only time guards, with one disk.
    """
    if settings.etcd_loss is EtcdLoss.auto:
        return bool(plan.images) and not any(
            image.kind is ImageKind.shared for image in plan.images
        )
    return settings.etcd_loss is EtcdLoss.hold


def give_back(ours: Ours, host: Host) -> None:
    """Give back a VM whose start failed: our guest has never run, and where its QEMU was killed
    that stays in the record.
    """
    hold = ours.hold
    unmade = ours.volumes.unmade() if ours.volumes else []
    last = Last(when=now(), host=host.name, why="failed to start", exit=70, epoch=hold.taken.epoch)
    with contextlib.suppress(Unreachable):  # the lease ends by itself
        try:
            hold.release(last.encode(), clean=not hold.recorded, unmade=unmade)
        except HoldfastError as error:
            log.warning(error.message)
            hold.session.abandon()  # nobody need wait until the lease has run out


class Parting:
    """Giving the VM away, however long etcd is away."""

    def __init__(self, ours: Ours, host: Host, ending: Ending, *, clean: bool) -> None:
        self._hold = ours.hold
        self._vault = ours.vault
        self._off = ending.how in OFF
        self._clean = clean
        self._last = Last(
            when=now(),
            host=host.name,
            why=str(ending),
            exit=ending.status,
            epoch=ours.hold.taken.epoch,
            forced=ending.how is How.forced,
            **({"state": CRASHED, "keys": ours.keys} if ending.crashed else {}),
        )
        self._told = False
        self._until = time.monotonic() + ours.plan.machine.stop_timeout

    def let_go(self, events: Events) -> None:
        """Give the VM away. A stop that was asked for does not wait for ever; a guest's own
        power-off does: a standby must not boot what its user has switched off. Nor what crashed
        for good.
        """
        if not self._clean:
            log.warning(
                "not all who may still write are shut out: the next owner will do it, or wait"
            )
        try:
            while not self._released():
                events.sleep(time.monotonic() + LET_GO_AGAIN)
        except Stopped:
            log.error("stopped again before etcd was back: the record stays as it is")

    def _released(self) -> bool:
        stays = self._off or self._last.state == CRASHED
        try:
            self._hold.release(
                self._last.encode(),
                clean=self._clean,
                power_off=self._off,
                # All of it: an etcd that was restored meanwhile may have an older one.
                tpm=self._vault.record() if self._vault else b"",
            )
        except Unreachable as error:
            if not stays and time.monotonic() > self._until:
                log.error(f"{error.message}; leaving the record for the next owner to judge")
                return True
            if not self._told:
                log.warning(f"the VM cannot be given away yet: {error.message}")
            self._told = True
            return False
        log.info("the VM is released", etcd_requests=self._hold.session.store.requests)
        return True
