"""Faults 1 to 4, 18, 28 to 30: processes that are killed, paused, frozen, or told to stop."""

import os
import signal
import time

import pytest
from chaos.arena import TTL, Arena, Vm
from chaos.cgroup import Cgroup
from chaos.disk import FileDisk, silent, stamped
from chaos.host import Launcher
from launcher import alive, gone


def owner_and_standby(arena: Arena, vm: Vm, disk: FileDisk) -> tuple[Launcher, Launcher]:
    """The VM runs on host 0 and writes; a launcher of the same machine waits for it."""
    a = vm.start(arena.hosts[0])
    writer = a.writes()
    b = vm.start(arena.hosts[1])
    b.says("waiting: the VM runs on host-0")
    stamped(disk, writer)
    return a, b


def test_01_qemu_killed(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """Restarted in place: the lock stays, and the standby takes nothing."""
    a, b = owner_and_standby(arena, vm, disk)
    mark = len(a.console)
    os.kill(a.qemu(), signal.SIGKILL)
    stamped(disk, a.writes(after=mark))
    assert vm.get("epoch") == "1"
    assert "the VM is ours" not in b.log
    arena.verify(vm, disk)


def test_01_qemu_killed_again_and_again(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """Given away, and started by nobody before a key changes."""
    a, b = owner_and_standby(arena, vm, disk)
    for number in range(1, 5):
        a.says(rf"(QEMU is up(.|\n)*){{{number}}}")
        os.kill(a.qemu(), signal.SIGKILL)
    assert a.ends() == 70
    b.says("waiting: it crashed on host-0")
    assert vm.get("fence") is None
    vm.etcd.put(vm.name, title="mended")
    stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.mark.long
def test_02_launcher_killed(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    a, b = owner_and_standby(arena, vm, disk)
    qemu = a.qemu()
    since = time.monotonic()
    a.signal(signal.SIGKILL)
    assert gone(qemu, 1)
    arena.takeover(vm, since, f"takeover after kill -9, TTL {TTL}, a file", by=b)
    stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.mark.long
def test_03_launcher_paused(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """Its QEMU runs on, and the kernel's lock on the file keeps the taker out."""
    a, b = owner_and_standby(arena, vm, disk)
    (writer,) = a.writers()
    os.kill(a.pid, signal.SIGSTOP)
    b.says("another QEMU holds its lock")
    stamped(disk, writer.uuid)
    os.kill(a.pid, signal.SIGCONT)
    goes_on(a, b, vm, disk)
    arena.verify(vm, disk)


def goes_on(a: Launcher, b: Launcher, vm: Vm, disk: FileDisk) -> None:
    """The owner takes its lock again, and the standby has taken nothing."""
    (writer,) = a.writers()
    a.says("it is ours again")
    stamped(disk, writer.uuid)
    assert vm.get("epoch") == "1"
    assert "the VM is ours" not in b.log


@pytest.mark.long
def test_04_all_paused(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    a, b = owner_and_standby(arena, vm, disk)
    a.freeze()
    b.says("another QEMU holds its lock")
    silent(disk, 1)
    a.thaw()
    goes_on(a, b, vm, disk)
    arena.verify(vm, disk)


def test_18_container_frozen(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    a, b = owner_and_standby(arena, vm, disk)
    with Cgroup("freezer") as cgroup:
        cgroup.take(a.everything())
        cgroup.freeze()
        b.says("another QEMU holds its lock")
        silent(disk, 1)
        cgroup.thaw()
        goes_on(a, b, vm, disk)
        arena.end()
    arena.verify(vm, disk)


@pytest.mark.long
def test_28_qmp_hung_at_shutdown(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """The lock is let go only after QEMU is reaped."""
    vm.etcd.put(vm.name, stop_timeout="1")
    a, b = owner_and_standby(arena, vm, disk)
    qemu = a.qemu()
    os.kill(qemu, signal.SIGSTOP)
    a.signal(signal.SIGTERM)
    a.says("did not power down within 1 s")
    assert alive(qemu)
    assert "the VM is ours" not in b.log
    assert a.ends() == 0
    assert not alive(qemu)
    stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.mark.long
def test_29_signals(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    """SIGPIPE ends nothing; a terminal that closes is one more who asks to stop."""
    vm.etcd.put(
        vm.name,
        cmdline="console=ttyS0 quiet no_timer_check write-journal ignore-acpi",
        stop_timeout="600",
    )
    a, b = owner_and_standby(arena, vm, disk)
    (writer,) = a.writers()
    a.signal(signal.SIGPIPE)
    stamped(disk, writer.uuid)
    assert "powering the guest down" not in a.log
    a.signal(signal.SIGHUP)
    a.says("SIGHUP: powering the guest down")
    a.signal(signal.SIGINT)
    assert a.ends(20) == 0
    stamped(disk, b.writes())
    arena.verify(vm, disk)


@pytest.mark.long
def test_30_guest_ignores_acpi(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    vm.etcd.put(
        vm.name,
        cmdline="console=ttyS0 quiet no_timer_check write-journal ignore-acpi",
        stop_timeout="2",
    )
    a, b = owner_and_standby(arena, vm, disk)
    a.signal()
    a.says("did not power down within 2 s")
    assert a.ends() == 0
    stamped(disk, b.writes())
    arena.verify(vm, disk)


def test_clean_stop(arena: Arena, vm: Vm, disk: FileDisk, minutes: float) -> None:
    """The standby starts at once: no lease has to run out."""
    a, b = owner_and_standby(arena, vm, disk)
    for number in range(20 if minutes else 1):
        qemu = a.qemu()
        a.signal()
        assert gone(qemu, 30)
        what = "takeover after a clean stop, from QEMU's end"
        arena.takeover(vm, time.monotonic(), what, by=b)
        assert a.ends() == 0
        stamped(disk, b.writes())
        a, b = b, vm.start(arena.hosts[number % 2])
        b.says("waiting: the VM runs on")
    arena.verify(vm, disk)
