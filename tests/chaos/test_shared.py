"""Disks that only time guards: the old QEMU is dead before its lease ends, and the next one comes after.

The hosts are two machines with one folder, each with a mount of its own: no lock is seen from the other.
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import foreign
import pytest
from chaos.arena import Arena, Vm
from chaos.disk import FileDisk, stamped
from chaos.host import Launcher
from chaos.members import Members
from launcher import gone

TTL = 10  # the least, where only time guards
WAITS = rf"guarded by time only: waiting {TTL} s more"


@dataclass(frozen=True, kw_only=True)
class Server:
    """`disk` as the file system's server sees it. Each host has it under the path `seen`."""

    disk: FileDisk
    mounts: tuple[Path, Path]
    seen: Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder, seen = tmp_path / "server", tmp_path / "seen"
    folder.mkdir()
    seen.mkdir()
    with (folder / "disk.raw").open("wb") as file:
        file.truncate(16 * 1024**2)
    with (
        foreign.mounted(folder, tmp_path / "mount-0") as first,
        foreign.mounted(folder, tmp_path / "mount-2") as second,
    ):
        yield Server(disk=FileDisk(folder / "disk.raw"), mounts=(first, second), seen=seen)


@pytest.fixture
def vm(etcd: Members, name: str, host_toml: Path, keys: dict[str, str], server: Server) -> Vm:
    host_toml.write_text('storage_fence = "time"\n' + host_toml.read_text())
    disk = {"disks__data__path": str(server.seen / "disk.raw")}
    return Vm(name, etcd, host_toml, {**keys, **disk}, environ={"TTL": str(TTL)})


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The VM runs at `owner` and writes; another machine waits for it."""

    owner: Launcher
    qemu: int
    guard: int
    standby: Launcher


@pytest.fixture
def pair(arena: Arena, vm: Vm, server: Server) -> Pair:
    mounts = [f"mount --bind {mount} {server.seen}" for mount in server.mounts]
    a = vm.start(arena.hosts[0], inside=mounts[0])
    writer = a.writes()
    b = vm.start(arena.hosts[2], inside=mounts[1])
    b.says("waiting: the VM runs on host-0")
    stamped(server.disk, writer)
    (guard,) = [pid for pid in a.everything() if is_guard(pid)]
    return Pair(owner=a, qemu=a.qemu(), guard=guard, standby=b)


def is_guard(pid: int) -> bool:
    return b"guard_process" in Path(f"/proc/{pid}/cmdline").read_bytes()


def taken_over(arena: Arena, vm: Vm, server: Server, pair: Pair, since: float, what: str) -> None:
    """The next owner has waited for its turn, and one TTL more."""
    assert "the VM is ours" not in pair.standby.log, "the lease outlives the old QEMU"
    pair.standby.ours()
    pair.standby.says(WAITS)
    arena.takeover(vm, since, what, by=pair.standby)
    stamped(server.disk, pair.standby.writes())


def test_shared_launcher_paused(arena: Arena, vm: Vm, server: Server, pair: Pair) -> None:
    """The guard ends QEMU, though its launcher cannot."""
    since = time.monotonic()
    os.kill(pair.owner.pid, signal.SIGSTOP)
    assert gone(pair.qemu, TTL)
    assert "killing QEMU" not in pair.owner.log
    taken_over(
        arena, vm, server, pair, since, f"takeover of a paused launcher, TTL {TTL}, time only"
    )
    os.kill(pair.owner.pid, signal.SIGCONT)
    assert pair.owner.ends() == 76, pair.owner.story()
    assert gone(pair.guard, 0)
    stamped(server.disk, pair.standby.writes())
    arena.verify(vm, server.disk)


def test_shared_cut_off(arena: Arena, vm: Vm, server: Server, pair: Pair) -> None:
    """The launcher itself, before the guard."""
    ports = ",".join(map(str, vm.etcd.ports))
    rule = ("OUTPUT", "-p", "tcp", "-m", "multiport", "--dports", ports, "-j", "DROP")
    with arena.hosts[0].namespace.rule(*rule):
        assert pair.owner.ends() == 76, pair.owner.story()
        assert "the lease could not be renewed in time: killing QEMU" in pair.owner.log
        since = time.monotonic()
        taken_over(arena, vm, server, pair, since, f"takeover after K, TTL {TTL}, time only")
    arena.verify(vm, server.disk)


@pytest.mark.long
def test_shared_host_crashes(arena: Arena, vm: Vm, server: Server, pair: Pair) -> None:
    since = arena.hosts[0].crash()
    what = f"takeover after kill -9, TTL {TTL}, time only"
    taken_over(arena, vm, server, pair, since, what)
    arena.verify(vm, server.disk)


@pytest.mark.long
def test_shared_qemu_killed(arena: Arena, vm: Vm, server: Server, pair: Pair) -> None:
    """It is started again in place, after what it may have had under way, with a guard of its own."""
    mark = len(pair.owner.console)
    os.kill(pair.qemu, signal.SIGKILL)
    pair.owner.says(WAITS)
    assert gone(pair.guard)
    stamped(server.disk, pair.owner.writes(after=mark))
    assert vm.get("epoch") == "1"
    (guard,) = [pid for pid in pair.owner.everything() if is_guard(pid)]
    assert guard != pair.guard
    assert "the VM is ours" not in pair.standby.log
    arena.verify(vm, server.disk)


@pytest.mark.long
def test_shared_guard_killed(arena: Arena, vm: Vm, server: Server, pair: Pair) -> None:
    """Without its last resort a VM does not go on; tests/integration has the shorter case."""
    since = time.monotonic()
    os.kill(pair.guard, signal.SIGKILL)
    assert pair.owner.ends() == 76, pair.owner.story()
    assert gone(pair.qemu, 0)
    taken_over(arena, vm, server, pair, since, f"takeover of a killed guard, TTL {TTL}, time only")
    arena.verify(vm, server.disk)
