"""Faults of a VM whose disk is in Ceph, between two machines: who is shut out, and who is not."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ceph import Ceph
from chaos import journal
from chaos.arena import TTL, Arena, Vm
from chaos.cgroup import Cgroup
from chaos.disk import silent, stamped
from chaos.gate import Gate
from chaos.host import Launcher
from chaos.network import Network
from chaos.outage import outlived
from chaos.rbd_disk import Clients, RbdDisk
from deadline import eventually

MACHINE_A, MACHINE_B = 0, 2


def pair(arena: Arena, vm: Vm, image: RbdDisk, **environ: str) -> tuple[Launcher, Launcher, str]:
    a = vm.start(arena.hosts[MACHINE_A], **environ)
    writer = a.writes()
    b = vm.start(arena.hosts[MACHINE_B], **environ)
    b.says("waiting: the VM runs on host-0")
    stamped(image, writer)
    return a, b, writer


@pytest.mark.long
@pytest.mark.parametrize("ttl", [5, 10])
def test_02_host_crashes(ttl: int, arena: Arena, rbd_vm: Vm, image: RbdDisk) -> None:
    _, b, _ = pair(arena, rbd_vm, image, TTL=str(ttl))
    since = arena.hosts[MACHINE_A].crash()
    what = f"takeover after kill -9 of a host, TTL {ttl}, RBD"
    arena.takeover(rbd_vm, since, what, by=b)
    stamped(image, b.writes())
    arena.verify(rbd_vm, image)


def test_03_launcher_paused(arena: Arena, rbd_vm: Vm, image: RbdDisk) -> None:
    """Its QEMU runs on, until the taker shuts it out."""
    a, b, _ = pair(arena, rbd_vm, image)
    os.kill(a.pid, signal.SIGSTOP)
    writer = b.writes()
    os.kill(a.pid, signal.SIGCONT)
    assert a.ends() == 76
    stamped(image, writer)
    arena.verify(rbd_vm, image)


def test_04_all_paused(arena: Arena, rbd_vm: Vm, image: RbdDisk) -> None:
    """QEMU wakes before its launcher, and has all the time that it needs to write."""
    a, b, _ = pair(arena, rbd_vm, image)
    qemu = a.qemu()
    a.freeze()
    writer = b.writes()
    os.kill(qemu, signal.SIGCONT)
    stamped(image, writer, 20)
    a.thaw()
    assert a.ends() == 76
    assert "transport endpoint shutdown" in a.log or "shut this host out" in a.log
    arena.verify(rbd_vm, image)


def test_05_an_entry_that_expires_is_seen_by_the_checker(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, rbd_clients: Clients
) -> None:
    """Fault 5: the frozen owner outlives its entry and writes. The checker must see it."""
    a, b, _ = pair(arena, rbd_vm, image)
    qemu = a.qemu()
    a.freeze()
    stamped(image, b.writes())
    address = arena.hosts[MACHINE_A].namespace.address
    for entry in rbd_clients.cluster.blocklist():
        if entry.startswith(f"{address}:"):
            rbd_clients.cluster.expire(entry, 5.0)
    eventually(
        lambda: not [e for e in rbd_clients.cluster.blocklist() if e.startswith(f"{address}:")],
        what="the end of the entries",
    )
    os.kill(qemu, signal.SIGCONT)
    eventually(lambda: journal.check(image.read(), rbd_vm.epochs()).violations, what="a violation")
    arena.figures.notes["case 5, an entry that expires"] = "seen by the checker, as it must be"


def test_06_cut_off_from_etcd(arena: Arena, rbd_vm: Vm, image: RbdDisk) -> None:
    """It holds on, until it is shut out of Ceph."""
    a, b, _ = pair(arena, rbd_vm, image)
    ports = ",".join(map(str, rbd_vm.etcd.ports))
    with arena.hosts[MACHINE_A].namespace.rule(
        "OUTPUT", "-p", "tcp", "-m", "multiport", "--dports", ports, "-j", "DROP"
    ):
        assert a.ends() == 76
        assert "shut this host out" in a.log
        stamped(image, b.writes())
    arena.verify(rbd_vm, image)


def test_10_cut_off_from_ceph(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, network: Network, ceph_node: Ceph
) -> None:
    """The guest waits for its disk; the lease is held, and nobody else starts it."""
    a, b, writer = pair(arena, rbd_vm, image)
    before = rbd_vm.get("lock")
    first = ceph_node.conf.read_text().split("v2:")[1].split(",")[0].split(":")[1]
    ports = f"{first}:{int(first) + 22}"
    with arena.hosts[MACHINE_A].namespace.rule(
        "OUTPUT", "-p", "tcp", "-d", network.address, "--dport", ports, "-j", "DROP"
    ):
        time.sleep(1)
        silent(image, TTL + 1)
        a.says("the storage of disk data does not answer")
        assert "disk data" in (rbd_vm.get("status") or "")
        assert rbd_vm.get("lock") == before
    stamped(image, writer, timeout=60)
    a.says("over after .*the storage of disk data")
    assert "the VM is ours" not in b.log
    arena.verify(rbd_vm, image)


def test_12_all_etcd_gone(arena: Arena, rbd_vm: Vm, image: RbdDisk, minutes: float) -> None:
    _, b, writer = pair(arena, rbd_vm, image)
    outage = outlived(rbd_vm, image, writer, 180 if minutes else 3 * TTL)
    assert "the VM is ours" not in b.log
    arena.figures.notes["etcd gone, a VM in Ceph kept running and its epoch"] = outage.told(
        arena.verify(rbd_vm, image)
    )


@pytest.mark.long
def test_18_container_frozen(arena: Arena, rbd_vm: Vm, image: RbdDisk) -> None:
    a, b, _ = pair(arena, rbd_vm, image)
    with Cgroup("freezer") as cgroup:
        cgroup.take(a.everything())
        cgroup.freeze()
        writer = b.writes()
        cgroup.thaw()
        assert a.ends() == 76
    stamped(image, writer)
    arena.verify(rbd_vm, image)


def test_19_pause_between_record_and_cont(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, network: Network
) -> None:
    """QEMU is there, paused, with its clients in the record: the taker shuts them out."""
    with Gate(network.address, rbd_vm.etcd.ports) as gate:
        a = rbd_vm.start(arena.hosts[MACHINE_A], ETCD_ENDPOINTS=gate.url)
        a.says("QEMU is up, paused")
        gate.hold_answer_to(b'"images":')
        assert gate.reached.wait(90)
        os.kill(a.pid, signal.SIGSTOP)
        b = rbd_vm.start(arena.hosts[MACHINE_B])
        writer = b.writes()
        gate.release()
        os.kill(a.pid, signal.SIGCONT)
        a.gives_up()
    assert "GUEST" not in a.console
    stamped(image, writer)
    arena.verify(rbd_vm, image)


def test_20_pause_between_lock_and_qemu(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, network: Network
) -> None:
    with Gate(network.address, rbd_vm.etcd.ports) as gate:
        gate.hold_answer_to(b'"since":')
        a = rbd_vm.start(arena.hosts[MACHINE_A], ETCD_ENDPOINTS=gate.url)
        assert gate.reached.wait(90)
        os.kill(a.pid, signal.SIGSTOP)
        b = rbd_vm.start(arena.hosts[MACHINE_B])
        writer = b.writes()
        gate.release()
        os.kill(a.pid, signal.SIGCONT)
        stamped(image, writer)
        a.says("another owner has taken the VM|waiting: the VM runs on host-2")
    assert "QEMU is up" not in a.log
    arena.verify(rbd_vm, image)


@contextmanager
def stopped_monitor(node: Ceph) -> Iterator[None]:
    with node.frozen("mon.a"):
        yield


LONG_MOMENTS = [pytest.param(moment, marks=pytest.mark.long) for moment in ("before", "after")]


@pytest.mark.parametrize("moment", ["within", *LONG_MOMENTS])
def test_21_taker_killed_while_fencing(
    moment: str, arena: Arena, rbd_vm: Vm, image: RbdDisk, ceph_node: Ceph
) -> None:
    """The next one does it again, and the frozen owner is shut out all the same."""
    a, b, _ = pair(arena, rbd_vm, image)
    a.freeze()
    if moment == "before":
        b.ours()
    elif moment == "within":
        b.ours()
        with stopped_monitor(ceph_node):
            time.sleep(0.5)
    else:
        b.says("shut out of Ceph")
    b.signal(signal.SIGKILL)
    c = rbd_vm.start(arena.hosts[1])
    writer = c.writes()
    a.thaw()
    assert a.ends() == 76
    stamped(image, writer)
    arena.verify(rbd_vm, image)


def test_22_no_right_to_blocklist(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, ceph_node: Ceph, tmp_path: Path
) -> None:
    """Found at the first start, not at the first disaster."""
    user = ceph_node.user("powerless", "mon", "allow r", "osd", "allow rwx pool=rbd")
    conf = ceph_node.etc(tmp_path / "powerless", user)
    text = conf.read_text()
    keyring = tmp_path / "powerless" / "ceph.client.powerless.keyring"
    holdfast = keyring.read_text().replace("powerless", "holdfast")
    (tmp_path / "powerless" / "ceph.client.holdfast.keyring").write_text(holdfast)
    conf.write_text(text)
    a = rbd_vm.start(arena.hosts[MACHINE_A], CEPH_CONF=str(conf))
    assert a.ends() != 0
    assert "QEMU is up" not in a.log


def test_22_monitor_stopped_while_fencing(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, ceph_node: Ceph
) -> None:
    """No start while nobody can be shut out; it goes on when it can."""
    _, b, _ = pair(arena, rbd_vm, image)
    arena.hosts[MACHINE_A].crash()
    with ceph_node.frozen("mon.a"):
        b.says("Ceph does not answer")
        assert "QEMU is up" not in b.log
    stamped(image, b.writes(timeout=90))
    arena.verify(rbd_vm, image)
