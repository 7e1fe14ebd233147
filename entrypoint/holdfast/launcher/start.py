"""What comes before the first QEMU: predecessors shut out, volumes made, a directory of the VM's own."""

import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import log
from holdfast.errors import OwnershipLost
from holdfast.host import Host, Kvm, kvm_lack
from holdfast.instance.launch import Launch
from holdfast.instance.outcome import Ending
from holdfast.instance.plan import Plan
from holdfast.instance.runs import Runs
from holdfast.machine import Accelerator, Disk, RbdImage
from holdfast.ownership.fencing import Fencing
from holdfast.ownership.keepalive import Finding, KeepAlive
from holdfast.runtime.confinement import Identity
from holdfast.runtime.events import Events
from holdfast.runtime.rundir import RunDirectory
from holdfast.runtime.status import Facts, Status, VmState, now
from holdfast.runtime.uid_claim import claim
from holdfast.storage import directory
from holdfast.system import capacity

if TYPE_CHECKING:
    from holdfast.devices.tpm import Vault
    from holdfast.instance.firewall import Firewall
    from holdfast.ownership.volumes import Inventory


def start(
    plan: Plan,
    host: Host,
    events: Events,
    fencing: Fencing | None = None,
    vault: "Vault | None" = None,
    volumes: "Inventory | None" = None,
) -> Ending:
    """Run QEMU until it is reaped for good; whatever is raised, it is gone by then."""
    for line in [*about_kvm(host, plan), *plan.warnings, *capacity.warnings(plan.machine, host)]:
        log.warning(line)
    if fencing is not None:
        fencing.claim()
        fencing.shut_out(events)
        fencing.admit_ourselves()
        fencing.admit_writes()
    from holdfast.instance.firewall import Firewall  # noqa: PLC0415 - nothing of it is in a mere plan

    with ExitStack() as life:
        who = own_identity(plan, host, life)
        firewall = life.enter_context(closing(Firewall(plan)))
        see_to_volumes(plan, who, firewall, events, fencing, volumes)
        status = fencing.keepalive.status if fencing else Status(**first_facts(plan, host))
        rundir = life.enter_context(RunDirectory(plan.machine.vm or "qemu", who))
        life.enter_context(status.shown_in(rundir.path))
        return Runs(
            plan=plan,
            launch=Launch(plan, host, who, rundir, firewall, vault),
            rundir=rundir,
            accelerator=host.accelerator(plan.machine),
            status=status,
            events=events,
            fencing=fencing,
        ).all()


def first_facts(plan: Plan, host: Host) -> Facts:
    """Return what is known before QEMU is."""
    return {
        "state": VmState.starting,
        "host": host.name,
        "since": now(),
        "accelerator": host.accelerator(plan.machine).value,
        "unknown": plan.unknown,
    }


class Attention:
    """What a long piece of work before the start must not miss: a stop signal, and the loss of the VM. Called again
    and again by whoever works; raises what ends the work.
    """

    def __init__(self, events: Events, keepalive: KeepAlive | None) -> None:
        self._events = events
        self._keepalive = keepalive
        self._lost = False

    def __call__(self, seconds: float = 0.05) -> None:
        """Raises Stopped or OwnershipLost, at once or within these seconds."""
        self._events.sleep(time.monotonic() + seconds, wake=self._look)
        if self._lost or (self._keepalive is not None and self._keepalive.in_doubt()):
            raise OwnershipLost("the VM was lost, or switched off, while its disks were made")

    def _look(self, event: object) -> bool:
        self._lost = self._lost or isinstance(event, Finding)
        return self._lost


def see_to_volumes(
    plan: Plan,
    who: Identity,
    firewall: "Firewall",
    events: Events,
    fencing: Fencing | None,
    volumes: "Inventory | None",
) -> None:
    make_volumes(plan, who, firewall, Attention(events, fencing.keepalive if fencing else None))
    if fencing is not None:
        fencing.claim_made()
    if volumes is not None and fencing is not None:
        volumes.finish(fencing.hold, plan.cluster)
    elif fencing is None and plan.machine.has_volumes:
        from holdfast.storage import pools  # noqa: PLC0415 - for those who have volumes and no etcd

        pools.mark_all(plan.disks)


def make_volumes(plan: Plan, who: Identity, firewall: "Firewall", attend: Attention) -> None:
    for disk in plan.disks:
        if done := made(disk, plan, who, firewall, attend):
            more = {} if disk.size is None else {"bytes": disk.size}
            log.info(f"disk {disk.name}: {done} {disk.backend}", **more)
        directory.keep_private(disk)


def made(disk: Disk, plan: Plan, who: Identity, firewall: "Firewall", attend: Attention) -> str:
    if disk.source is not None:
        from holdfast.storage.volume import Volumes  # noqa: PLC0415 - few starts fetch an image

        cache, fence_off = Path(plan.image_cache), partial(firewall.around_fetch, who.uid)
        volumes = Volumes(cache, who, plan.cluster, attend, plan.bounds, fence_off)
        return volumes.provide(disk, plan.identities)
    if plan.cluster is not None and isinstance(disk.backend, RbdImage):
        return plan.cluster.provide(disk)
    return directory.provide(disk, plan.bounds, known=plan.identities)


def own_identity(plan: Plan, host: Host, life: ExitStack) -> Identity:
    kvm = host.accelerator(plan.machine) is Accelerator.kvm
    return claim(plan.machine.vm, host.kvm_gid if kvm else None, life)


def about_kvm(host: Host, plan: Plan) -> list[str]:
    """Warn where the VM takes the slow way because the fast one is closed."""
    chosen = plan.adapted.names_accelerator if plan.adapted else False
    wanted = plan.machine.accelerator
    if chosen or wanted is not Accelerator.auto:
        return []
    if host.is_foreign(plan.machine.arch):
        return [f"emulating {plan.machine.arch} on {host.arch}, many times slower than its own"]
    if host.kvm is Kvm.usable:
        return []
    lack = kvm_lack(host.kvm)
    hyperv = ["hyperv: only KVM has it; the guest sees none of it"] if plan.machine.hyperv else []
    return [f"running without KVM, many times slower: {lack.message}. {lack.hint}", *hyperv]
