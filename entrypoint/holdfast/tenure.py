"""From a lock that is ours to its release."""

import contextlib
import json
import time
from datetime import UTC, datetime

from holdfast import log
from holdfast.ending import Ending, How
from holdfast.errors import HoldfastError, LockHeld, Unreachable
from holdfast.events import Events
from holdfast.fence import Fence
from holdfast.host import Host
from holdfast.keeper import Keeper
from holdfast.lock import Hold
from holdfast.plan import Plan
from holdfast.settings import EtcdLoss, Settings
from holdfast.standby import Ours, Stopped, doze
from holdfast.start import start
from holdfast.storage.rbd import Cluster

BACK_OFF = 5.0  # after another QEMU was found to have an image open
LET_GO_AGAIN = 1.0  # between two tries to give the VM away while etcd is down


def serve(ours: Ours, settings: Settings, host: Host, events: Events) -> Ending | None:
    """Run the VM while it is ours. None: it could not be started for now, and is given back."""
    try:
        ending = held(ours, settings, host, events)
    except (LockHeld, Unreachable) as error:
        # Another QEMU or client has a disk, or Ceph is away: that may pass.
        give_back(ours.hold)
        log.warning(f"{'; '.join(error.lines())}; trying again in {BACK_OFF:g} s")
        doze(events, time.monotonic() + BACK_OFF, wake=lambda _: False)
        return None
    except (HoldfastError, Stopped):
        give_back(ours.hold)
        raise
    if ending.how is not How.lost:
        Parting(ours.hold, ours.plan, ending).let_go(events)
    return ending


def held(ours: Ours, settings: Settings, host: Host, events: Events) -> Ending:
    """When this returns the keeper has ended: it would take a lock again that we let go."""
    status = description(ours.plan, host, ours.hold)
    with (
        contextlib.closing(ours.plan),
        Keeper(ours.hold, ours.revision, events.post, status) as keeper,
    ):
        fence = Fence(ours.plan, ours.hold, keeper, hold_on=holds_on(settings, ours.plan))
        return start(ours.plan, host, events, fence)


def holds_on(settings: Settings, plan: Plan) -> bool:
    """Whether the VM outlives a loss of etcd. One without a writable disk could run twice, with one
    MAC and one address; one with a disk that only time guards, with one disk.
    """
    if settings.etcd_loss is EtcdLoss.auto:
        return bool(plan.images) and not any(image.kind == "shared" for image in plan.images)
    return settings.etcd_loss is EtcdLoss.hold


def description(plan: Plan, host: Host, hold: Hold) -> dict[str, object]:
    """The status key, as far as it is known before QEMU is."""
    return {
        "state": "running",
        "host": host.name,
        "since": now(),
        "epoch": hold.epoch,
        "accelerator": host.accelerator(plan.machine.accelerator).value,
        "unknown": list(plan.unknown),
    }


def give_back(hold: Hold) -> None:
    """A start that failed: our guest has never run, so only a predecessor's record stays."""
    with contextlib.suppress(Unreachable):  # the lease ends by itself
        try:
            hold.release(last("failed to start", 70, hold), clean=not hold.recorded)
        except HoldfastError as error:
            log.warning(error.message)


class Parting:
    """Giving the VM away, however long etcd is away."""

    def __init__(self, hold: Hold, plan: Plan, ending: Ending) -> None:
        self._hold = hold
        self._how = ending.how
        self._ceph = plan.ceph
        self._disks = plan.disks
        self._in_ceph = any(image.kind == "rbd" for image in plan.images)
        # QEMU's death frees a local file. What it still had under way elsewhere may arrive later.
        self._clean = ending.qemu == 0 or all(image.kind == "file" for image in plan.images)
        self._last = last(ending.how.value, ending.status, hold)
        self._told = False
        self._until = time.monotonic() + plan.machine.stop_timeout

    def let_go(self, events: Events) -> None:
        """A stop that was asked for does not wait for ever; a guest's own power-off does: a standby
        must not boot what its user has switched off.
        """
        if self._clean:
            self._forget_copies()
        else:
            log.warning(
                "QEMU did not close its disks in Ceph or on shared storage: the next owner will shut it "
                "out there, or wait"
            )
        try:
            while not self._released():
                doze(events, time.monotonic() + LET_GO_AGAIN, wake=lambda _: False)
        except Stopped:
            log.error("stopped again before etcd was back: the record stays as it is")

    def _forget_copies(self) -> None:
        """They would make the next owner shut out clients that are gone. It harms nobody if they stay."""
        if self._ceph is None or not self._in_ceph:
            return
        try:
            with contextlib.closing(Cluster(self._disks, self._ceph)) as cluster:
                cluster.drop_copy(self._hold.epoch)
        except HoldfastError as error:
            log.warning(f"the copies of the fence record stay in the images: {error.message}")

    def _released(self) -> bool:
        off = self._how is How.powered_off
        try:
            self._hold.release(self._last, clean=self._clean, power_off=off)
        except Unreachable as error:
            if not off and time.monotonic() > self._until:
                log.error(f"{error.message}; leaving the record for the next owner to judge")
                return True
            if not self._told:
                log.warning(f"the VM cannot be given away yet: {error.message}")
            self._told = True
            return False
        log.info("the VM is released", etcd_requests=self._hold.store.requests)
        return True


def last(why: str, status: int, hold: Hold) -> bytes:
    forced = why == How.forced.value
    record = {"when": now(), "why": why, "exit": status, "epoch": hold.epoch, "forced": forced}
    return json.dumps(record, separators=(",", ":")).encode()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
