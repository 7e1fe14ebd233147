"""`holdfast run`: from the settings to the end of the VM."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from holdfast import log, plan, qemu
from holdfast.confinement import Identity, identity
from holdfast.description import describe
from holdfast.errors import HoldfastError, HostLacks, OwnershipLost, Unreachable
from holdfast.events import Events
from holdfast.host import Host, Kvm, kvm_lack
from holdfast.keeper import Keeper
from holdfast.launch import Launch, Stillborn
from holdfast.lock import Hold
from holdfast.machine import Accelerator
from holdfast.plan import Plan
from holdfast.process import uid_map_end
from holdfast.rundir import RunDirectory
from holdfast.settings import EtcdLoss, Settings
from holdfast.standby import Ours, Standby, Stopped, doze
from holdfast.storage import local
from holdfast.supervisor import Ending, How, Supervisor

SYSEXITS = range(64, 79)  # ours; QEMU's own status must not look like one of them
BACK_OFF = 5.0  # after another QEMU was found to have an image open
LET_GO_AGAIN = 1.0  # between two tries to give the VM away while etcd is down


def alone(settings: Settings, host: Host, events: Events, raw: Mapping[str, bytes]) -> int:
    """Without etcd: nobody else is to know of this VM, so nothing is locked."""
    made = plan.make(settings, host, describe(settings, raw, {}))
    log.info("no etcd: the VM runs without a lock")
    return status_of(Start(settings, host, made, events).run(None))


def replaced(settings: Settings, host: Host, raw: Mapping[str, bytes]) -> int:
    """EXEC=yes: no lock, no confinement, no graceful stop. QEMU takes this process over."""
    machine = describe(settings, raw, {}).machine
    argv = [host.qemu, *settings.options] if settings.options else qemu.command_line(machine, host)
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        raise HostLacks(f"{argv[0]}: {error.strerror}") from error


def exclusively(settings: Settings, host: Host, events: Events) -> int:
    """Under the lock, again and again while STAY asks for it."""
    from holdfast.store import Store  # noqa: PLC0415 - gRPC is for those who have an etcd

    with Store(settings) as store:
        while True:
            try:
                ours = Standby(store, settings, host, events).wait()
                status = one_tenure(settings, host, events, ours)
            except Stopped:
                log.info("stopped while waiting; nothing was held")
                return 0
            if status is not None:
                return status


def one_tenure(settings: Settings, host: Host, events: Events, ours: Ours) -> int | None:
    """From the lock to its release. None: wait for the VM again."""
    hold = ours.hold
    with Keeper(hold, ours.revision, events.post) as keeper:
        try:
            ending = Start(settings, host, ours.plan, events).run(hold, keeper)
        except Stillborn as error:
            give_back(hold)
            if not error.locked:
                raise
            log.warning(
                f"{error.message}; another QEMU still has the disk: trying again in {BACK_OFF:g} s"
            )
            doze(events, time.monotonic() + BACK_OFF, wake=lambda _: False)
            return None
        except HoldfastError:
            give_back(hold)
            raise
    if ending.how is How.lost:
        return OwnershipLost.status
    let_go(hold, ending, host, events, settings, ours.plan)
    again = settings.stay and ending.how in (How.powered_off, How.switched_off)
    return None if again else status_of(ending)


@dataclass(frozen=True)
class Start:
    settings: Settings
    host: Host
    plan: Plan
    events: Events

    def run(self, hold: Hold | None, keeper: Keeper | None = None) -> Ending:
        """Volumes, QEMU paused, the record, and only then the guest; until QEMU is reaped."""
        machine = self.plan.machine
        for line in [*about_kvm(self.host, self.plan), *self.plan.warnings]:
            log.warning(line)
        for disk in self.plan.disks:
            if local.create(disk):
                log.info(f"disk {disk.name}: created {disk.backend}", bytes=disk.size)
        who = self._identity()
        with RunDirectory(machine.vm, who) as rundir, ExitStack() as stack:
            child, qmp = Launch(self.plan, self.host, who, rundir).spawn(stack)
            supervisor = Supervisor(
                child, qmp, self.events, stop_timeout=machine.stop_timeout, hold=hold
            )
            if hold is not None and keeper is not None:
                hold.record(self.plan.images)
                supervisor.hold_on = keeper.hold_on = self._hold_on()
                hold.publish(self._status(hold, qmp.version))
            return supervisor.run()

    def _identity(self) -> Identity:
        accelerator = self.host.accelerator(self.plan.machine.accelerator)
        gid = self.host.kvm_gid if accelerator is Accelerator.kvm else None
        return identity(self.plan.machine.vm, uid_map_end=uid_map_end(), kvm_gid=gid)

    def _hold_on(self) -> bool:
        """Whether the VM outlives a loss of etcd. A VM without a writable disk could run twice."""
        if self.settings.etcd_loss is EtcdLoss.auto:
            return bool(self.plan.images)
        return self.settings.etcd_loss is EtcdLoss.hold

    def _status(self, hold: Hold, qemu_version: str) -> bytes:
        status = {
            "state": "running",
            "host": self.host.name,
            "since": now(),
            "epoch": hold.epoch,
            "qemu": qemu_version,
            "accelerator": self.host.accelerator(self.plan.machine.accelerator).value,
            "unknown": list(self.plan.unknown),
        }
        return json.dumps(status, separators=(",", ":")).encode()


def give_back(hold: Hold) -> None:
    """A start that failed: our QEMU has never run, so only a predecessor's record stays."""
    try:
        hold.release(last("failed to start", 70, hold), clean=not hold.inherited)
    except HoldfastError as error:
        log.warning(error.message)


def let_go(
    hold: Hold, ending: Ending, host: Host, events: Events, settings: Settings, made: Plan
) -> None:
    """Give the VM away, however long etcd is away. A stop that was asked for does not wait for ever;
    a guest's own power-off does: a standby must not boot what its user has switched off.
    """
    clean = not ending.killed or all(image.kind == "file" for image in made.images)
    power_off = ending.how is How.powered_off
    until = None if power_off else time.monotonic() + made.machine.stop_timeout
    record = last(ending.how.value, status_of(ending), hold)
    if not clean:
        log.warning(
            "QEMU did not close its RBD disks: the record stays, and with it the bar to other hosts"
        )
    while True:
        try:
            hold.release(record, clean=clean, power_off=power_off)
        except Unreachable as error:
            if until is not None and time.monotonic() > until:
                log.error(f"{error.message}; leaving the record for the next owner to judge")
                return
            log.warning(f"cannot give the VM away yet: {error.message}")
            doze(events, time.monotonic() + LET_GO_AGAIN, wake=lambda _: False)
        else:
            log.info("the VM is released", etcd_requests=hold.store.requests)
            return


def last(why: str, status: int, hold: Hold) -> bytes:
    forced = why == How.forced.value
    return json.dumps(
        {"when": now(), "why": why, "exit": status, "epoch": hold.epoch, "forced": forced}
    ).encode()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def status_of(ending: Ending) -> int:
    """The exit status of keys.md."""
    if ending.how is How.lost:
        return OwnershipLost.status
    if ending.how is not How.crashed:
        return 0
    log.error(
        f"QEMU ended by itself: {'signal' if ending.killed else 'status'} {abs(ending.status)}"
    )
    if ending.killed:
        return 128 - ending.status
    return 70 if ending.status == 0 or ending.status in SYSEXITS else ending.status


def about_kvm(host: Host, made: Plan) -> list[str]:
    """One warning, where the VM takes the slow way because the fast one is closed."""
    chosen = made.adapted.names_accelerator if made.adapted else False
    wanted = made.machine.accelerator
    if chosen or wanted is not Accelerator.auto or host.kvm is Kvm.usable:
        return []
    lack = kvm_lack(host.kvm)
    return [f"running without KVM, many times slower: {lack.message}. {lack.hint}"]
