"""`holdfast run`: a VM under its lock, without etcd, or as a mere QEMU (EXEC)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import log, qemu
from holdfast.config import settings as environment
from holdfast.config.settings import Settings
from holdfast.dataclass import replace
from holdfast.description import describe
from holdfast.errors import ConfigError, Fault, HostLacks, LockHeld, UsageError
from holdfast.host import CONTAINERS_NAME, Host, is_container_id
from holdfast.instance.outcome import OFF, Ending, How
from holdfast.instance.plan import Plan
from holdfast.launcher import preflight
from holdfast.machine import Firmware, Machine, NicMode, Power, Tpm
from holdfast.policy.pool import DirectoryPool
from holdfast.runtime import outlet, stdin
from holdfast.runtime.events import Events, Stopped
from holdfast.system import probe
from holdfast.system.config_file import host_toml, vm_file

if TYPE_CHECKING:
    from holdfast.launcher.standby import Standby

SERVED = "Unset EXEC, or leave that out: Holdfast makes it, and serves it while QEMU runs."
NAME_IT = (
    "With its keys in etcd: `docker run -e VM=<name> -e ETCD_ENDPOINTS=http://<etcd>:2379 ...`; "
    "without etcd: `-e VM_FILE=<vm.yaml>`. `holdfast help` tells more."
)


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a VM: settings first, then the host, then under the lock or without one. Returns the exit status."""
    settings = read_settings(*named(arguments, environ))
    log.configure(level=settings.log_level, as_json=settings.log_format == "json")
    typed = stdin.is_connected()  # before a closed one's number is given to something else
    if not settings.exec_:  # QEMU would inherit the `cat` that may stand behind it
        log.through(outlet.outlet(2))
    with Events() as events:
        host = probe.probe(settings.host)
        settings = replace(settings, arch=host.arch)
        raw = vm_file(settings.vm_file) if settings.vm_file else {}
        if events.stop_asked():
            log.info("stopped before anything was begun")
            return 0
        if settings.exec_:
            return exec_qemu(settings, host, raw)
        if typed:
            log.info(stdin.advice(settings.vm))
        if settings.endpoints:
            return run_locked(settings, host, events)
        return run_unlocked(settings, host, events, raw)


def read_settings(options: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises UsageError where the environment is wrong, or names no VM."""
    settings = environment.parse(environ, host_toml=host_toml(environ), options=options)
    if not settings.vm and not settings.options:
        raise UsageError("no VM is named", hint=NAME_IT)
    return settings


def named(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Tell QEMU's options from the VM's name as the one argument. Raises UsageError for more."""
    if not arguments or arguments[0].startswith("-"):
        return arguments, environ
    if len(arguments) > 1:
        given = " ".join(arguments)
        raise UsageError(f"run takes one VM, not {given}", hint="usage: holdfast run [VM]")
    return (), {**environ, "VM": arguments[0]}


def exec_qemu(settings: Settings, host: Host, raw: Mapping[str, bytes]) -> int:
    """Let QEMU take this process over (EXEC=yes): no lock, no confinement, no graceful stop."""
    machine = describe(settings, raw, {}).machine
    refuse_to_wait(machine, host)
    refuse_served(machine)
    argv = [host.qemu, *settings.options] if settings.options else qemu.command_line(machine, host)
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        raise HostLacks(f"{argv[0]}: {error.strerror}") from error


def refuse_served(machine: Machine) -> None:
    """Refuse what a process beside QEMU would have to make or to serve. Raises UsageError."""
    served = {
        "tpm": machine.tpm is not Tpm.off,
        "firmware": machine.firmware is not Firmware.bios,
        "shares": bool(machine.shares),
        "mode=macvtap": any(nic.mode is NicMode.macvtap for nic in machine.nics),
    }
    if wanted := [name for name, needed in served.items() if needed]:
        raise UsageError(f"EXEC=yes leaves nobody who serves {', '.join(wanted)}", hint=SERVED)


def refuse_to_wait(machine: Machine, host: Host) -> None:
    """Refuse a VM that is waited for under a lock; without etcd no key would ever change. Raises
    ConfigError or HostLacks.
    """
    if machine.power is Power.off:
        rule = "without etcd nobody would see it change: start the VM when it is to run"
        raise ConfigError([Fault(key="power", value="off", rule=rule)])
    if machine.hosts and host.name not in machine.hosts:
        wanted = " or ".join(machine.hosts)
        raise HostLacks(
            f"host: the VM is for {wanted}, and this is {host.name or 'a host without a name'}",
            hint="The host's name is HOSTNAME: -e HOSTNAME=$(hostname)",
        )


def run_unlocked(settings: Settings, host: Host, events: Events, raw: Mapping[str, bytes]) -> int:
    """Run the VM without etcd: nobody else is to know of it, so nothing is locked."""
    from holdfast.devices.tpm import Shelf  # noqa: PLC0415 - for those without etcd
    from holdfast.launcher.start import start  # noqa: PLC0415 - python-etcd3 stays out of `exec`

    described = describe(settings, raw, {})
    refuse_to_wait(described.machine, host)
    if described.machine.has_volumes:
        from holdfast.storage import pools  # noqa: PLC0415 - for those who have volumes

        pools.refuse_lost(described.machine.storage)
    made = preflight.make(settings, host, described, load_the_rest)
    log.info("no etcd: the VM runs without a lock, and its machine type is not pinned")
    try:
        refuse_claimed(made)
        if made.machine.tpm is Tpm.off:
            return report(start(made, host, events))
        with Shelf(shelf(settings), settings.host_config.state_key) as kept:
            return report(start(made, host, events, vault=kept.vault))
    finally:
        made.close()


def refuse_claimed(made: Plan) -> None:
    """Refuse to write to what another VM has claimed, or has open: raises LockHeld. Without etcd a
    VM claims nothing.
    """
    for image, claim in made.claims.items():
        if claim:
            raise LockHeld(
                f"{image} belongs to a VM that is described in etcd: {claim}",
                hint="Stop that VM; or give this one a copy of the disk.",
            )
    if made.written:
        raise LockHeld("; ".join(map(str, made.written)))
    if made.cluster is not None and len(made.claims) == len(made.images):
        there = frozenset().union(*made.cluster.watchers())
        if there:
            raise LockHeld(f"{', '.join(sorted(there))} has an image of this VM open for writing")


def shelf(settings: Settings) -> Path:
    """Return where the TPM's state is without etcd. Raises ConfigError where it has no place."""
    config = settings.host_config
    pool = config.pools.get(config.default_pool)
    if not isinstance(pool, DirectoryPool):
        rule = "without etcd its state is a file in default_pool of host.toml, which must be a directory"
        raise ConfigError([Fault(key="tpm", rule=rule)])
    from holdfast.storage import pools  # noqa: PLC0415 - for those who have a TPM

    pools.refuse_containers_own([pool.path])
    state = Path(pool.path) / f"{settings.vm}-tpm"
    if rule := pools.lost(state):
        raise ConfigError([Fault(key="tpm", rule=rule)])
    return state


def run_locked(settings: Settings, host: Host, events: Events) -> int:
    """Run the VM under the lock, again and again while STAY asks for it."""
    from holdfast.etcd.store import connect  # noqa: PLC0415 - for those who have an etcd
    from holdfast.launcher.standby import Standby  # noqa: PLC0415 - likewise
    from holdfast.ownership.lease import LeaseTimes  # noqa: PLC0415 - likewise

    if is_container_id(host.name):
        log.warning(f"HOSTNAME, {host.name}, is {CONTAINERS_NAME}. The next container has another")
    if line := trusting(settings):
        log.warning(line)
    times = LeaseTimes.of(settings.ttl, len(settings.endpoints))
    with connect(settings, timeout=times.request) as store:
        standby = Standby(store, settings, host, events, load_the_rest)
        while True:
            try:
                ending = one_turn(standby, settings, host, events)
            except Stopped:
                log.info("stopped while waiting; nothing was held")
                return 0
            off = ending is not None and (ending.how in OFF or ending.how is How.switched_off)
            if ending and (ending.asked or not (settings.stay and off)):
                return report(ending)


def load_the_rest() -> None:
    """Load what is needed once the VM is ours, while Ceph answers: it takes its time."""
    from holdfast.instance import supervisor  # noqa: F401, PLC0415 - for those who have a Ceph
    from holdfast.launcher import owned  # noqa: F401, PLC0415 - for those who have a Ceph


def trusting(settings: Settings) -> str:
    """Warn where etcd cannot know us by a password or a certificate: it knows nobody."""
    if settings.etcd_username or settings.etcd_cert:
        return ""
    return (
        "etcd asks nobody who he is: whoever reaches it, a guest too, may write every VM's keys. Give it users or "
        "client certificates (docs/security.md), and ETCD_USERNAME or ETCD_CERT to the launchers"
    )


def one_turn(standby: "Standby", settings: Settings, host: Host, events: Events) -> Ending | None:
    """Wait for the VM and run it. None: it could not be started, and is put off."""
    ours = standby.wait()
    from holdfast.launcher.owned import Failed, serve  # noqa: PLC0415 - in Ceph's shadow, where there is one

    try:
        ending = serve(ours, settings, host, events)
    except Failed as failed:
        if ours.hold.has_run:
            standby.has_run()
        standby.put_off(ours, failed.error)
        return None
    standby.has_run()
    return ending


def report(ending: Ending) -> int:
    if ending.crashed:
        log.error(str(ending))
    return ending.status
