"""Faults 41 and 42: starts that fail again and again, and a takeover while Ceph is away."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ceph import PORTS, Ceph
from chaos.arena import Arena, Vm
from chaos.disk import stamped
from chaos.network import Namespace, Network
from chaos.rbd_disk import Clients, RbdDisk

PORT = 8099
LISTENS = "import socket; s = socket.create_server(('0.0.0.0', {port})); print('listens', flush=True); input()"


def entries(arena: Arena, clients: Clients, host: int) -> set[str]:
    address = arena.hosts[host].namespace.address
    return {one for one in clients.cluster.blocklist() if one.startswith(f"{address}:")}


@contextmanager
def taken(port: int, where: Namespace) -> Iterator[None]:
    """Somebody else on the host listens there."""
    code = LISTENS.format(port=port)
    command = ["ip", "netns", "exec", where.name, sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
        assert listener.stdout
        assert listener.stdout.readline()
        yield
        listener.communicate(b"\n")


def test_41_port_that_is_taken(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, rbd_clients: Clients, minutes: float
) -> None:
    """It tries again, for as long as it takes; epochs and the blocklist do not grow by it."""
    rbd_vm.etcd.put(rbd_vm.name, nics__nic0__mode="user", nics__nic0__ports=f"{PORT}:80")
    before = entries(arena, rbd_clients, 0)
    with taken(PORT, arena.hosts[0].namespace):
        a = rbd_vm.start(arena.hosts[0])
        a.says(str(PORT))
        time.sleep(120 if minutes else 12)  # two tries and more
        assert a.process.poll() is None, a.story()
        assert entries(arena, rbd_clients, 0) == before
        assert int(rbd_vm.get("epoch") or 0) <= 1
        assert rbd_vm.get("fence") is None
    stamped(image, a.writes(timeout=180 if minutes else 90))
    assert entries(arena, rbd_clients, 0) == before
    arena.verify(rbd_vm, image)


def test_41_start_that_fails_again_and_again(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, rbd_clients: Clients, minutes: float
) -> None:
    """/run is too small for what a VM needs there. Nobody is shut out, and nothing stays."""
    before = entries(arena, rbd_clients, 0)
    for _ in range(10 if minutes else 2):
        a = rbd_vm.start(arena.hosts[0], run_options="size=64k")
        assert a.ends() != 0
        assert "QEMU is up" not in a.log
    assert entries(arena, rbd_clients, 0) == before
    assert rbd_vm.get("lock") is None
    assert rbd_vm.get("fence") is None
    stamped(image, rbd_vm.start(arena.hosts[0]).writes())
    assert entries(arena, rbd_clients, 0) == before
    arena.verify(rbd_vm, image)


@pytest.mark.parametrize("seconds", [60, pytest.param(120, marks=pytest.mark.long)])
def test_42_ceph_away_at_the_takeover(
    seconds: int, arena: Arena, rbd_vm: Vm, image: RbdDisk, ceph_node: Ceph, network: Network
) -> None:
    """Longer than a first start would wait. Who has stood by waits, and starts when Ceph is back."""
    a = rbd_vm.start(arena.hosts[0])
    a.writes()
    b = rbd_vm.start(arena.hosts[2])
    b.says("waiting: the VM runs on host-0")
    first = int(ceph_node.conf.read_text().split("v2:")[1].split(",")[0].split(":")[1])
    ceph = ("-d", network.address, "--dport", f"{first}:{first + PORTS}", "-j", "DROP")
    # Not a frozen OSD: a single one that was frozen for a minute may hang for good.
    with arena.hosts[2].namespace.rule("OUTPUT", "-p", "tcp", *ceph):
        arena.hosts[0].crash()
        time.sleep(seconds)
        assert b.process.poll() is None, b.story()
    stamped(image, b.writes(timeout=180), timeout=60)
    arena.verify(rbd_vm, image)


def test_44_blocklist_entries(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, rbd_clients: Clients, minutes: float
) -> None:
    """None of a clean stop, and one or two of a takeover: the list goes with each map of Ceph's."""
    stops, takeovers = [], []
    for _ in range(5 if minutes else 1):
        before = entries(arena, rbd_clients, 0)
        a = rbd_vm.start(arena.hosts[0])
        stamped(image, a.writes())
        a.signal()
        assert a.ends() == 0
        stops.append(len(entries(arena, rbd_clients, 0) - before))
        stamped(image, rbd_vm.start(arena.hosts[0]).writes())
        arena.hosts[0].crash()
        b = rbd_vm.start(arena.hosts[2])
        stamped(image, b.writes())
        takeovers.append(len(entries(arena, rbd_clients, 0) - before))
        b.signal()
        assert b.ends() == 0
    arena.figures.notes["entries of Ceph's blocklist, each clean stop"] = str(stops)
    arena.figures.notes["entries of Ceph's blocklist, each takeover"] = str(takeovers)
    assert set(stops) == {0}
    assert set(takeovers) <= {1, 2}
    arena.verify(rbd_vm, image)
