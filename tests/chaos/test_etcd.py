"""Faults 6 to 9, 11 to 17, 32: etcd cut off, slow, paused, gone, full, wrong, or of yesterday."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import members
from chaos.arena import LOCAL, TTL, Arena, Vm
from chaos.disk import FileDisk, stamped
from chaos.gate import Gate
from chaos.host import Launcher
from chaos.members import Members
from chaos.network import Network
from chaos.outage import outlived
from deadline import eventually
from launcher import SOURCE, alive

STOP_TTL = 10  # the least that ETCD_LOSS=stop takes


def policy(loss: str) -> dict[str, str]:
    return {"TTL": str(STOP_TTL if loss == "stop" else TTL), "ETCD_LOSS": loss}


def pair(arena: Arena, vm: Vm, disk: FileDisk, **environ: str) -> tuple[Launcher, Launcher, str]:
    """An owner on host 0, a standby on host 1 of the same machine, and the owner's guest."""
    a = vm.start(arena.hosts[0], **environ)
    writer = a.writes()
    b = vm.start(arena.hosts[1], **environ)
    b.says("waiting: the VM runs on host-0")
    stamped(disk, writer)
    return a, b, writer


def ports(etcd: Members) -> tuple[str, ...]:
    return ("-m", "multiport", "--ports", ",".join(map(str, etcd.ports)))


DROP = ("-j", "DROP")
RESET = ("-j", "REJECT", "--reject-with", "tcp-reset")
CUTS = {
    "07-refused-stop": ("OUTPUT", RESET, "stop"),
    "09-answers-lost-stop": ("INPUT", DROP, "stop"),
}
LONG_HOLD = pytest.param("hold", marks=pytest.mark.long)
LONG_CUTS = {
    "06-dropped-stop": ("OUTPUT", DROP, "stop"),
    "06-dropped-hold": ("OUTPUT", DROP, "hold"),
    "07-refused-hold": ("OUTPUT", RESET, "hold"),
    "09-answers-lost-hold": ("INPUT", DROP, "hold"),
}


@pytest.mark.parametrize(
    ("chain", "target", "loss"),
    [
        *(pytest.param(*cut, id=name) for name, cut in CUTS.items()),
        *(pytest.param(*cut, id=name, marks=pytest.mark.long) for name, cut in LONG_CUTS.items()),
    ],
)
def test_cut_off(
    chain: str, target: tuple[str, ...], loss: str, arena: Arena, vm: Vm, disk: FileDisk
) -> None:
    a, b, writer = pair(arena, vm, disk, **policy(loss))
    with arena.hosts[0].namespace.rule(chain, "-p", "tcp", *ports(vm.etcd), *target):
        if loss == "hold":
            a.says("the VM goes on")
            b.says("another QEMU holds its lock")
            stamped(disk, writer)
        else:
            assert a.ends() == 76
            assert "the VM is ours" not in b.log, "the lease outlives its holder's deadline"
            b.ours()
    if loss == "hold":
        a.says("it is ours again")
        stamped(disk, writer)
        assert "the VM is ours" not in b.log
    else:
        stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.mark.parametrize("loss", [LONG_HOLD, "stop"])
def test_08_slow_and_lossy(
    loss: str, arena: Arena, vm: Vm, disk: FileDisk, network: Network
) -> None:
    """A slow etcd is no loss; one that is too slow for the lease ends a VM that stops."""
    with Gate(network.address, vm.etcd.ports) as gate:
        slow = {**policy(loss), "ETCD_ENDPOINTS": gate.url}
        a = vm.start(arena.hosts[0], **slow)
        writer = a.writes()
        lossy = ("-m", "statistic", "--mode", "random", "--probability", "0.2", "-j", "DROP")
        with arena.hosts[0].namespace.rule("OUTPUT", "-p", "tcp", *lossy):
            gate.delay = 0.2
            before = vm.get("lock")
            time.sleep(STOP_TTL + 2)
            stamped(disk, writer)
            assert vm.get("lock") == before
            gate.delay = 3
            if loss == "stop":
                assert a.ends() == 76
            else:
                a.says("the VM goes on")
                stamped(disk, writer)
    arena.verify(vm, disk)


def test_11_leader_paused(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """Once more after it has woken: it may revoke leases that were renewed meanwhile (etcd's issue 15247)."""
    a, b, writer = pair(arena, vm, disk, **policy("stop"))
    leader = vm.etcd.leader()
    leader.pause()
    try:
        time.sleep(STOP_TTL + 2)
        stamped(disk, writer)
        assert alive(a.qemu())
    finally:
        leader.resume()
    vm.etcd.serves()
    stamped(disk, writer)
    assert vm.get("epoch") == "1"
    assert "the VM is ours" not in b.log
    arena.verify(vm, disk)


def test_11_members_killed_in_turn(arena: Arena, vm: Vm, disk: FileDisk, minutes: float) -> None:
    _, b, writer = pair(arena, vm, disk, **policy("stop"))
    before, until = vm.get("lock"), time.monotonic() + (600 if minutes else 10)
    killed = 0
    while time.monotonic() < until:
        member = vm.etcd.members[killed % 3]
        member.stop()
        killed += 1
        time.sleep(3)
        member.start()  # and wait for it: the next one's turn comes when it is back
        stamped(disk, writer, 1)
    assert vm.get("lock") == before
    assert "the VM is ours" not in b.log
    gap = arena.verify(vm, disk).gap()
    arena.figures.notes["etcd members killed in turn, no VM disturbed"] = (
        f"{killed} kills, longest gap on the guest's clock {gap:.2f} s"
    )


@pytest.mark.long
def test_12_all_etcd_gone(arena: Arena, vm: Vm, disk: FileDisk, minutes: float) -> None:
    _, b, writer = pair(arena, vm, disk)
    outage = outlived(vm, disk, writer, 180 if minutes else 4 * TTL)
    assert "the VM is ours" not in b.log
    arena.figures.notes["etcd gone, a VM on a file kept running and its epoch"] = outage.told(
        arena.verify(vm, disk)
    )


@pytest.mark.long
def test_12_all_etcd_gone_and_the_vm_stops(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    a, b, _ = pair(arena, vm, disk, **policy("stop"))
    vm.etcd.stop()
    try:
        assert a.ends() == 76
    finally:
        vm.etcd.start()
    stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.fixture
def small_etcd(network: Network, tmp_path: Path) -> Iterator[Members]:
    with members.serving(network, tmp_path / "small", "--quota-backend-bytes=16777216") as etcd:
        yield etcd


@pytest.fixture
def small_vm(small_etcd: Members, name: str, host_toml: Path, keys: dict[str, str]) -> Vm:
    return Vm(name, small_etcd, host_toml, {**keys, **LOCAL, "stop_timeout": "5"})


def test_13_etcd_full(arena: Arena, small_vm: Vm, disk: FileDisk) -> None:
    """Leases are renewed all the same. A stop cannot give the VM away, says so, and ends."""
    a = small_vm.start(arena.hosts[0])
    writer = a.writes()
    before = small_vm.get("lock")
    fill(small_vm.etcd)
    time.sleep(TTL + 1)
    stamped(disk, writer)
    assert small_vm.get("lock") == before
    a.signal()
    assert a.ends() == 0
    assert "space exceeded" in a.log
    arena.verify(small_vm, disk)


def fill(etcd: Members) -> None:
    for number in range(64):
        done = subprocess.run(
            ["etcdctl", f"--endpoints={etcd.url}", "put", f"/filler/{number}"],
            input="x" * (1 << 20),
            text=True,
            capture_output=True,
            check=False,
        )
        if "exceeded" in done.stderr:
            return
    raise AssertionError("etcd does not fill up")


@pytest.mark.parametrize("loss", ["hold", "stop"])
def test_14_lease_revoked(loss: str, arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """Nobody else has started it: the lock is taken again."""
    a, b, writer = pair(arena, vm, disk, **policy(loss))
    vm.etcd.ctl("lease", "revoke", vm.etcd.lease_of(vm.key("lock")))
    a.says("it is ours again")
    stamped(disk, writer)
    assert vm.get("epoch") == "1"
    assert "the VM is ours" not in b.log
    arena.verify(vm, disk)


def test_15_lock_overwritten_hold(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """Somebody has the lock and has not raised the epoch: the VM runs on, and gets it back."""
    a = vm.start(arena.hosts[0])
    writer = a.writes()
    vm.etcd.put(vm.name, lock="foreign")
    time.sleep(TTL + 1)
    stamped(disk, writer)
    vm.etcd.ctl("del", vm.key("lock"))
    a.says("it is ours again")
    stamped(disk, writer)
    assert vm.get("epoch") == "1"
    arena.verify(vm, disk)


@pytest.mark.long
@pytest.mark.parametrize("what", ["lock", "epoch"])
def test_15_overwritten_stop(what: str, arena: Arena, vm: Vm, disk: FileDisk) -> None:
    a, b, _ = pair(arena, vm, disk, **policy("stop"))
    vm.etcd.put(vm.name, **{what: "77"})
    assert a.ends() == 76
    vm.etcd.ctl("del", vm.key("lock"))
    stamped(disk, b.writes())
    arena.verify(vm, disk)


def test_16_compaction(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """While nobody's watch is up, the history that they would need goes."""
    a, b, writer = pair(arena, vm, disk)
    cut = ("OUTPUT", "-p", "tcp", *ports(vm.etcd), *RESET)
    with arena.hosts[0].namespace.rule(*cut), arena.hosts[1].namespace.rule(*cut):
        a.says("the VM goes on")
        for number in range(20):
            vm.etcd.put(vm.name, x__note=str(number))
        vm.etcd.ctl("compact", str(vm.etcd.revision()))
    a.says("etcd answers again")
    stamped(disk, writer)
    vm.etcd.put(vm.name, power="off")
    assert a.ends() == 0
    b.says("switched off")
    vm.etcd.put(vm.name, power="on")
    stamped(disk, b.writes())
    arena.verify(vm, disk)


def test_17_wall_clock_jump(arena: Arena, vm: Vm, disk: FileDisk, tmp_path: Path) -> None:
    """The wall clock that the launcher sees: the machine's own is everybody's, and no namespace has one."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = (
        "export LD_PRELOAD=$(find /usr/lib -name libfaketimeMT.so.1) FAKETIME_NO_CACHE=1"
        f" FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_TIMESTAMP_FILE={clock};"
        ' [ -e "$LD_PRELOAD" ]'
    )
    a = vm.start(arena.hosts[0], inside=faked)
    writer = a.writes()
    before = vm.get("lock")
    for jump in ("+1d", "-1d", "+0"):
        clock.write_text(jump)
        time.sleep(TTL + 1)
        stamped(disk, writer)
        assert vm.get("lock") == before, a.story()
    assert "Traceback" not in a.log
    arena.verify(vm, disk)


def test_17_no_time_is_measured_on_the_wall_clock() -> None:
    """It is read for what people see only: log lines and the times in records."""
    found = {
        path.name
        for path in (SOURCE / "holdfast").rglob("*.py")
        if re.search(r"time\.time(_ns)?\(|CLOCK_REALTIME", path.read_text())
    }
    assert found == {"log.py", "ls.py", "show.py"}


@pytest.mark.long
def test_19_pause_between_record_and_cont(
    arena: Arena, vm: Vm, disk: FileDisk, network: Network
) -> None:
    with Gate(network.address, vm.etcd.ports) as gate:
        gate.hold_answer_to(b'"images":')
        a = vm.start(arena.hosts[0], ETCD_ENDPOINTS=gate.url)
        assert gate.reached.wait(90)
        b = paused(a, vm, arena)
        b.says("another QEMU holds its lock")  # also a QEMU that has not run yet
        gate.release()
        os.kill(a.pid, signal.SIGCONT)
        a.gives_up()
    assert "GUEST" not in a.console
    stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.mark.long
def test_20_pause_between_lock_and_qemu(
    arena: Arena, vm: Vm, disk: FileDisk, network: Network
) -> None:
    with Gate(network.address, vm.etcd.ports) as gate:
        gate.hold_answer_to(b'"since":')
        a = vm.start(arena.hosts[0], ETCD_ENDPOINTS=gate.url)
        assert gate.reached.wait(90)
        b = paused(a, vm, arena)
        b.ours()
        writer = b.writes()
        gate.release()
        os.kill(a.pid, signal.SIGCONT)
        stamped(disk, writer)
        a.says("another owner has taken the VM|waiting: the VM runs on host-1")
    assert "QEMU is up" not in a.log
    arena.verify(vm, disk)


def paused(a: Launcher, vm: Vm, arena: Arena) -> Launcher:
    """Stop `a` where it is, and have somebody wait for the VM."""
    os.kill(a.pid, signal.SIGSTOP)
    return vm.start(arena.hosts[1])


def test_32_etcd_restored_from_a_snapshot(
    arena: Arena, own_vm: Vm, own_etcd: Members, disk: FileDisk, tmp_path: Path
) -> None:
    """etcd's epoch is a lower one: no newer owner. Who runs goes on, and writes back what etcd has lost."""
    a = own_vm.start(arena.hosts[0])
    a.writes()
    own_etcd.snapshot(tmp_path / "snapshot")
    arena.hosts[0].crash()
    b = own_vm.start(arena.hosts[1])
    stamped(disk, b.writes())
    own_etcd.restore(tmp_path / "snapshot")
    eventually(lambda: own_vm.get("lock") and own_vm.get("epoch") == "2")
    stamped(disk, b.writes())
    assert "killing QEMU" not in b.log
    arena.verify(own_vm, disk)
