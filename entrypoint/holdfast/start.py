"""From the volumes to the end: QEMU paused, the record, only then the guest; and again in place."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from holdfast import capacity, log
from holdfast.confinement import Identity, identity
from holdfast.ending import Ending, How
from holdfast.events import Events
from holdfast.fence import Fence
from holdfast.host import Host, Kvm, kvm_lack
from holdfast.launch import Launch
from holdfast.machine import Accelerator, Disk, RbdImage
from holdfast.network.whereabouts import Whereabouts
from holdfast.plan import Plan
from holdfast.process import uid_map_end
from holdfast.restart import Restarts
from holdfast.rundir import RunDirectory
from holdfast.standby import Stopped, doze
from holdfast.storage import directory, local
from holdfast.supervisor import Supervisor
from holdfast.vault import Vault

UNLOCKING = 10.0  # seconds for the image locks of a QEMU that is reaped


def start(
    plan: Plan,
    host: Host,
    events: Events,
    tenure: Fence | None = None,
    vault: Vault | None = None,
) -> Ending:
    """Returns when QEMU is reaped for good; whatever is raised, it is gone by then."""
    for line in [*about_kvm(host, plan), *plan.warnings, *capacity.warnings(plan.machine, host)]:
        log.warning(line)
    if tenure is not None:
        tenure.shut_out(events)
        tenure.admit_ourselves()
        tenure.admit_writes()
    make_volumes(plan)
    who = own_identity(plan, host)
    restarts = Restarts(machine=plan.machine)
    with RunDirectory(plan.machine.vm or "qemu", who) as rundir:
        launch = Launch(plan, host, who, rundir, vault)
        while True:
            ending = once(launch, plan, rundir, events, tenure)
            if judged := restarts.judge(ending, time.monotonic()):
                return judged
            log.warning(f"{ending}: starting QEMU again in place", restarts=restarts.number)
            try:
                clear(plan, rundir, events, tenure, ending)
            except Stopped:
                return replace(ending, how=How.stopped)


def once(
    launch: Launch, plan: Plan, rundir: RunDirectory, events: Events, tenure: Fence | None
) -> Ending:
    """One QEMU, from its start to its end."""
    with ExitStack() as stack:
        child, qmp = launch.spawn(stack, tenure)
        if tenure is not None:
            tenure.guarded(child.pid, events, stack)
            tenure.admit_qemu(qmp.version)
        plan.close()
        stack.enter_context(whereabouts(plan, rundir, tenure))
        timeout = plan.machine.stop_timeout
        keeper = tenure.keeper if tenure else None
        supervisor = Supervisor(child, qmp, events, stop_timeout=timeout, keeper=keeper)
        return supervisor.run(launch.helpers)


def whereabouts(plan: Plan, rundir: RunDirectory, tenure: Fence | None) -> Whereabouts:
    """The guest's addresses, for the log and for the status key."""

    def tell(addresses: Mapping[str, Sequence[str]]) -> None:
        for card, there in addresses.items():
            log.info(f"the guest's addresses on {card}: {', '.join(there)}")
        if tenure is not None:
            tenure.keeper.report(addresses=addresses)

    machine = plan.machine
    agent = rundir.path / "agent" if machine.guest_agent else None
    return Whereabouts(machine.vm, machine.nics, agent, tell)


def clear(
    plan: Plan, rundir: RunDirectory, events: Events, tenure: Fence | None, ending: Ending
) -> None:
    """Nothing of the QEMU that has ended is in the way of the next one."""
    rundir.empty()
    if tenure is not None:
        tenure.bury(closed=ending.closed, events=events)
    until = time.monotonic() + UNLOCKING
    # It is reaped, but the kernel may let go of a file a moment later, when the last request on it ends.
    while any(map(local.locked, plan.disks)) and time.monotonic() < until:
        doze(events, time.monotonic() + 0.05, wake=lambda _: False)


def make_volumes(plan: Plan) -> None:
    for disk in plan.disks:
        if done := made(disk, plan):
            log.info(f"disk {disk.name}: {done} {disk.backend}", bytes=disk.size)


def made(disk: Disk, plan: Plan) -> str:
    if plan.cluster is not None and isinstance(disk.backend, RbdImage):
        return plan.cluster.provide(disk)
    return directory.provide(disk)


def own_identity(plan: Plan, host: Host) -> Identity:
    kvm = host.accelerator(plan.machine) is Accelerator.kvm
    gid = host.kvm_gid if kvm else None
    return identity(plan.machine.vm, uid_map_end=uid_map_end(), kvm_gid=gid)


def about_kvm(host: Host, plan: Plan) -> list[str]:
    """One warning, where the VM takes the slow way because the fast one is closed."""
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
