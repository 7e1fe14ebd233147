"""All that a case of the suite works with: hosts, etcd, VMs, the watcher, the checker."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from chaos import journal
from chaos.disk import Disk
from chaos.figures import Figures
from chaos.host import Host, Launcher
from chaos.journal import Findings
from chaos.members import Members
from chaos.watcher import Sighting, Watcher
from etcd import where

TTL = 5
LOCAL = {"disks__data__pool": "default", "disks__data__size": "16M"}  # a VM's disk, in a file


class Vm:
    """One VM of a case. `start` runs a launcher for it; `verify` has its disks checked."""

    def __init__(
        self,
        name: str,
        etcd: Members,
        toml: Path,
        keys: Mapping[str, str],
        environ: Mapping[str, str] = MappingProxyType({}),
        prefix: str = "/kvm",
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.environ = environ
        self.etcd = etcd
        self.toml = toml
        self.launchers: list[Launcher] = []
        self.keys = keys
        self.describe()

    def describe(self) -> None:
        """Its keys, into etcd."""
        for key, value in self.keys.items():
            self.etcd.ctl("put", self.key(key.replace("__", "/")), text=value)

    def start(
        self, host: Host, inside: str = "", run_options: str = "size=64m", **environ: str
    ) -> Launcher:
        own = {
            "VM": self.name,
            "ETCD_ENDPOINTS": self.etcd.url,
            "KEY_PREFIX": self.prefix,
            "TTL": str(TTL),
            "HOLDFAST_CONFIG": str(self.toml),
        }
        launcher = host.start(
            {**own, **self.environ, **environ}, inside=inside, run_options=run_options
        )
        self.launchers.append(launcher)
        return launcher

    def key(self, name: str) -> str:
        return where(self.name, name, self.prefix)

    def get(self, name: str) -> str | None:
        return self.etcd.get(self.key(name))

    def epochs(self) -> dict[str, int]:
        """Which epoch each boot of the guest belongs to."""
        return {one.uuid: one.epoch for each in self.launchers for one in each.writers()}


class Booted(Protocol):
    """Whose boots have an order: a VM's by their epoch."""

    def epochs(self) -> Mapping[str, int]: ...


class Arena:
    def __init__(self, hosts: list[Host], watcher: Watcher, figures: Figures) -> None:
        self.hosts = hosts
        self.watcher = watcher
        self.figures = figures

    def takeover(self, vm: Vm, since: float, what: str, by: Launcher) -> Sighting:
        """Wait for the guest's first instruction after `since`, and write down how long it took: until
        etcd's lease had run out and the lock was won, and the launcher's own work from there on.
        """
        seen = self.watcher.runs(vm.name, since)
        won = by.when("the VM is ours")
        self.figures.took(what, seen.running - since)
        self.figures.took(f"{what}: of it from the lock on", seen.running - won)
        return seen

    def end(self) -> None:
        for host in self.hosts:
            host.crash()

    def close(self) -> None:
        """End, and leave nothing of it to the kernel: many rounds would fill it with the dead."""
        self.end()
        for host in self.hosts:
            host.close()

    def verify(self, vm: Booted, disk: Disk) -> Findings:
        """The disk has no stamp that should not be there, and it has stamps at all."""
        self.end()
        found = journal.check(disk.read(), vm.epochs())
        self.figures.stamps += found.stamps
        self.figures.violations += len(found.violations)
        assert not found.violations, "\n".join(found.violations)
        assert found.stamps
        return found

    def no_overlap(self) -> None:
        assert self.watcher.is_alive(), "nobody watches"
        assert not self.watcher.log.overlaps, "\n".join(self.watcher.log.overlaps)
