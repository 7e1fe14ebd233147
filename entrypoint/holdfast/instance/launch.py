"""From a plan to a QEMU that waits for `cont`: volumes, taps, seed, descriptors, spawn."""

import os
import re
import signal
import socket
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import log, qemu
from holdfast.dataclass import replace
from holdfast.description import pinned
from holdfast.devices.console import Console
from holdfast.errors import HostLacks, InternalError, LockHeld, Unreachable
from holdfast.host import Host
from holdfast.instance.plan import Plan
from holdfast.machine import Accelerator, Machine, RbdImage, Spice, Vnc
from holdfast.network import ports
from holdfast.ownership.fencing import Fencing
from holdfast.qemu import spelling, system
from holdfast.qemu.wiring import Ceph, Tap, Wiring
from holdfast.qmp.client import Disconnected, Mute, Qmp, QmpError
from holdfast.runtime.child import Child
from holdfast.runtime.confinement import Identity, confined
from holdfast.runtime.outlet import outlet
from holdfast.runtime.rundir import RunDirectory
from holdfast.runtime.uid_claim import claim
from holdfast.storage import local
from holdfast.system import capacity, cgroup, rlimit

if TYPE_CHECKING:
    from holdfast.devices.tpm import Vault
    from holdfast.instance.firewall import Firewall

# Which image it is QEMU says on another line, and of a lock that forbids all others not at all (file-posix.c).
LOCKED = re.compile(r'Failed to (?:get (?:shared )?"[^"]*" lock|lock byte)')
OF_IMAGE = re.compile(r"image \[/dev/fdset/(\d+)\]")
NO_MEMORY = re.compile(
    r"cannot set up guest memory|Cannot allocate memory|unable to map backing store"
)
MORE_MEMORY = "Lower ram (with hugepages: ask for fewer), or run the VM on a host with more room (the key `host`)."
GREETING = 60.0  # seconds until QEMU must have opened its disks and speak QMP


class Stillborn(InternalError):
    """QEMU ended before it was ready. Its own words are in the message."""


class Starved(Stillborn):
    """The kernel killed it for want of memory."""


class ImageInUse(LockHeld):
    """Another QEMU has a disk open: not a fault of the keys, but of the moment."""


class Launch:
    """Everything one QEMU is born with. The launcher's copies of the descriptors close at once after
    the spawn: image locks and taps must end with QEMU, not with us.
    """

    def __init__(
        self,
        plan: Plan,
        host: Host,
        who: Identity,
        rundir: RunDirectory,
        firewall: "Firewall",
        vault: "Vault | None" = None,
    ) -> None:
        self._plan = plan
        self._host = replace(host, io_uring=plan.io_uring)
        self._who = who
        self._rundir = rundir
        self._vault = vault
        self._kills = 0  # for want of memory, before QEMU was started
        self.helpers: list[Child] = []  # that serve devices of this QEMU
        self._made_ticket = ""
        self._firewall = firewall
        # Another than QEMU's, whose group may pass through the run directory.
        self._tpm_uid: int | None = None

    def spawn(self, stack: ExitStack, fencing: Fencing | None = None) -> tuple[Child, Qmp]:
        """Start QEMU, paused before its first instruction. It and its helpers end with `stack` at
        the latest. Raises ImageInUse for a disk that another QEMU has, Starved for want of memory.
        """
        self.helpers = []
        stack.callback(self._end_helpers)
        machine = self._plan.machine
        ports.claim(machine.vm, ports.listeners(machine), stack)
        if self._vault is not None:
            self._tpm_uid = claim(f"{machine.vm} tpm", None, stack).uid
        with ExitStack() as descriptors:
            qmp = Qmp()
            stack.callback(qmp.close)
            self.console = Console(self._rundir, outlet(1))
            stack.callback(self.console.close)
            wiring = replace(self._wire(descriptors, qmp), taps=self._taps(descriptors, stack))
            self._fence_off(wiring, stack)
            argv = self._argv(wiring)
            command = confined(argv, self._who, os.getpid())
            if fencing is not None:
                fencing.admit_opening(wiring.disks)
            self._kills = cgroup.oom_kills()
            with capacity.on_cpus(machine.cpu_set):
                child = Child("qemu", command, passed(wiring), timezone=machine.guest.timezone)
            stack.callback(child.close)
        _load_the_rest()
        self._greet(child, qmp, wiring)
        for nic in self._plan.machine.nics:
            if not nic.link:
                qmp.call("set_link", timeout=GREETING, name=f"nic-{nic.name}", up=False)
        return child, qmp

    def starved(self, status: int) -> bool:
        """Tell whether the kernel killed QEMU for want of memory."""
        return status == -signal.SIGKILL and cgroup.oom_kills() > self._kills

    def _argv(self, wiring: Wiring) -> list[str]:
        if self._plan.adapted is not None:
            from holdfast.qemu.argv.adapt import serve  # noqa: PLC0415 - few VMs are described by these

            accelerator = self._host.accelerator(self._plan.machine)
            # The user's own words come later, and win.
            own = spelling.words([system.actions(self._plan.machine)])
            return [self._host.qemu, *own, *serve(self._plan.adapted, wiring, accelerator)]
        return qemu.command_line(self._plan.machine, self._host, wiring)

    def _greet(self, child: Child, qmp: Qmp, wiring: Wiring) -> None:
        try:
            qmp.connect(GREETING)
        except (Disconnected, QmpError) as error:
            starved = self.starved(child.end())
            child.close()
            said = "; ".join(child.said) or error.message
            if LOCKED.search(said):
                raise self._in_use(OF_IMAGE.search(said), wiring) from error
            if pinned.UNKNOWN in said:
                raise pinned.unknown(self._plan.machine) from error
            if starved:
                raise Starved("QEMU was killed while it started") from error
            if NO_MEMORY.search(said):
                raise HostLacks(
                    f"ram: this host has no room for it now: {said}", hint=MORE_MEMORY
                ) from error
            if isinstance(error, Mute) and self._plan.ceph is not None:
                raise Unreachable(
                    f"QEMU has not opened its images within {GREETING:g} s: Ceph does not answer it",
                    hint="`ceph -s` says what is wrong; `ceph health detail` names stuck placement groups",
                ) from error
            hint = rlimit.MORE_TASKS if "qemu_thread_create" in said else ""
            raise Stillborn(f"QEMU did not start: {said}", hint=hint) from error
        log.info("QEMU is up, paused", version=qmp.version, pid=child.pid, uid=self._who.uid)

    def _in_use(self, named: re.Match[str] | None, wiring: Wiring) -> ImageInUse:
        """QEMU knows a disk by its descriptor only."""
        images = {wiring.disks.get(disk.name): disk.backend for disk in self._plan.disks}
        image = images.get(int(named[1])) if named else None
        if image is None:
            return ImageInUse("an image of this VM is in use: another QEMU holds its lock")
        return ImageInUse(
            f"{image} is in use: another QEMU holds its lock",
            hint=f"stop that one first; `lsof {image}` names it",
        )

    # -- what it is handed

    def _wire(self, descriptors: ExitStack, qmp: Qmp) -> Wiring:
        wiring = Wiring(
            qmp=qmp.theirs.fileno(),
            console=self._end(self.console.output, descriptors),
            console_input=self._end(self.console.input, descriptors),
            disks=self._disks(descriptors),
            parents=self._parents(descriptors),
            missing=self._plan.missing,
            ceph=self._ceph(),
            seed=self._seed(descriptors),
            confined=True,
            paused=True,
        )
        wiring = replace(wiring, block_devices=_block_devices(wiring))
        return replace(wiring, **self._booted(), **self._optional(descriptors))

    def _booted(self) -> dict[str, Any]:
        """QEMU reads a kernel by its path only: its uid gets a copy."""
        source = self._plan.adapted or self._plan.machine
        paths = {"kernel": source.kernel, "initrd": source.initrd}
        return {name: self._copied(name, path) for name, path in paths.items() if path}

    def _copied(self, key: str, path: str) -> str:
        with local.reading(key, path, self._plan.bounds) as file:
            return self._rundir.copy(key, file, path)

    def _optional(self, descriptors: ExitStack) -> dict[str, Any]:
        """What only a machine built from keys has a place for."""
        machine = self._plan.machine
        if self._plan.adapted is not None:
            return {}
        return {
            "agent": self._listen("agent", descriptors) if machine.guest_agent else None,
            "spice_password_file": self._password("SPICE", machine.spice),
            "vnc_password_file": self._password("VNC", machine.vnc),
            "screen_tls": self._certificate(machine.spice or machine.vnc),
            "tpm": self._tpm(descriptors),
            "shares": self._shares(machine, descriptors),
            **self._host_devices(machine, descriptors),
        }

    def _end_helpers(self) -> None:
        for helper in self.helpers:
            helper.close()
        if self._vault is not None:
            self._vault.withdraw()

    def _tpm(self, descriptors: ExitStack) -> int | None:
        if self._vault is None:
            return None
        ours, theirs = socket.socketpair()
        descriptors.enter_context(theirs)
        with ours:
            folder = self._rundir.path / "tpm"
            assert self._tpm_uid is not None  # noqa: S101 - spawn() has claimed one
            who = Identity(uid=self._tpm_uid, gid=self._who.gid)
            self.helpers.append(self._vault.serve(folder, who, ours.fileno()))
        return theirs.fileno()

    def _shares(self, machine: Machine, descriptors: ExitStack) -> dict[str, int]:
        if not machine.shares:
            return {}
        from holdfast.devices import virtiofs  # noqa: PLC0415 - for a VM with shares

        sockets = {}
        for share in machine.shares:
            server = virtiofs.serve(share, self._plan.share_bounds, self._who, self._rundir)
            self.helpers.append(server.child)
            sockets[share.name] = descriptors.enter_context(server.socket).fileno()
        return sockets

    def _host_devices(self, machine: Machine, descriptors: ExitStack) -> dict[str, Any]:
        if not (machine.usb or machine.pci):
            return {}
        from holdfast.devices import hostdev  # noqa: PLC0415 - for a VM that has some

        return hostdev.opened(machine, descriptors)

    def _listen(self, name: str, descriptors: ExitStack) -> int:
        listener: socket.socket = descriptors.enter_context(self._rundir.listen(name))
        return listener.fileno()

    def _taps(self, descriptors: ExitStack, life: ExitStack) -> dict[str, Tap]:
        machine, bridges = self._plan.machine, self._plan.bridges
        if not (machine.nics or bridges):
            return {}
        from holdfast.network import cards  # noqa: PLC0415 - for a VM that has some

        vhost = self._host.accelerator(machine) is Accelerator.kvm
        taps = cards.connect(machine.vm, machine.nics, bridges, vhost=vhost, life=life)
        descriptors.callback(cards.close, taps)
        return taps

    def _fence_off(self, wiring: Wiring, life: ExitStack) -> None:
        """Before QEMU is there: its options, too, may be a tenant's."""
        mute = [] if self._tpm_uid is None else [self._tpm_uid]
        self._firewall.around(self._who.uid, mute, dict(wiring.taps), life)

    def _disks(self, descriptors: ExitStack) -> dict[str, int]:
        opened = {}
        for disk in self._plan.disks:
            if not isinstance(disk.backend, RbdImage):
                opened[disk.name] = number = local.open_for_qemu(disk, self._plan.bounds)
                descriptors.callback(os.close, number)
                self._plan.identities.refuse_another(disk, number)
        return opened

    def _parents(self, descriptors: ExitStack) -> dict[str, int]:
        opened = {}
        for disk in self._plan.disks:
            if (parent := local.open_parent(disk)) is not None:
                opened[disk.name] = parent
                descriptors.callback(os.close, parent)
        return opened

    def _ceph(self) -> Ceph:
        keyring = self._plan.ceph
        if keyring is None:
            return Ceph()
        # /etc/ceph is often closed to others, and the keyring always.
        key = self._rundir.secret("ceph.key", keyring.key) if keyring.key else ""
        if not keyring.conf:
            return Ceph(user=keyring.user, key_file=key)
        conf = self._rundir.readable("ceph.conf", Path(keyring.conf).read_bytes())
        return Ceph(user=keyring.user, conf=conf, key_file=key)

    def _seed(self, descriptors: ExitStack) -> int | None:
        if self._plan.seed is None:
            return None
        from holdfast.devices import seed  # noqa: PLC0415 - for a guest that is told something

        path = self._rundir.path / "seed.iso"
        seed.write(seed.image(self._plan.seed), path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        descriptors.callback(os.close, descriptor)
        return descriptor

    def _password(self, kind: str, server: Spice | Vnc | None) -> str:
        """A screen asks for a password unless the operator has said that it need not."""
        if server is None or server.password is None:
            return ""
        from holdfast.system.container import unreached  # noqa: PLC0415 - only for a guest with a screen

        longest = None if kind == "SPICE" else 8  # all that VNC heeds
        path = self._rundir.secret(
            f"{kind.lower()}-password", server.password or self._made()[:longest]
        )
        log.info(
            f"{kind} on {server.addr}:{server.port}; its password is in {path}"
            f"{unreached(server.addr, f'{kind.lower()}_addr')}"
        )
        return path

    def _certificate(self, server: Spice | Vnc | None) -> str:
        """QEMU's uid gets a copy, as of a kernel: the key is root's."""
        if server is None or not server.tls:
            return ""
        from holdfast.devices import screen  # noqa: PLC0415 - for a screen that other hosts reach

        return screen.certificate(self._rundir, server.tls)

    def _made(self) -> str:
        """A restart in place does not change it."""
        import secrets  # noqa: PLC0415 - only for a guest with a screen

        self._made_ticket = self._made_ticket or secrets.token_urlsafe(12)
        return self._made_ticket

    def _end(self, descriptor: int, descriptors: ExitStack) -> int:
        descriptors.callback(os.close, descriptor)
        return descriptor


def _load_the_rest() -> None:
    """What is needed once QEMU is up, while it opens its disks."""
    from holdfast.instance import supervisor  # noqa: F401, PLC0415 - to have them loaded
    from holdfast.network import addresses  # noqa: F401, PLC0415 - to have them loaded


def passed(wiring: Wiring) -> list[int]:
    single = (
        wiring.qmp,
        wiring.agent,
        wiring.console,
        wiring.console_input,
        wiring.seed,
        wiring.tpm,
        wiring.iommu,
    )
    return sorted(
        {
            *(end for made in wiring.taps.values() for end in (*made.queues, *made.vhost)),
            *wiring.disks.values(),
            *wiring.parents.values(),
            *wiring.shares.values(),
            *wiring.usb.values(),
            *wiring.pci.values(),
            *(one for one in single if one is not None),
        }
    )


def _block_devices(wiring: Wiring) -> frozenset[str]:
    return frozenset(
        name for name, number in wiring.disks.items() if stat.S_ISBLK(os.fstat(number).st_mode)
    )
