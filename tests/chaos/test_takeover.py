"""Faults 23 and 24, and mixed ones: many launchers, many kills, in a random order."""

import random
import time

import pytest
from chaos.arena import Arena, Vm
from chaos.disk import FileDisk, stamped
from chaos.rbd_disk import RbdDisk

LAUNCHERS = 20


def test_23_stampede(arena: Arena, vm: Vm, disk: FileDisk, minutes: float) -> None:
    """All at once for one VM: exactly one runs it, and the others wait.

    On a machine that is too busy to renew a lease in time, the first to win may lose before it runs.
    """
    rounds = 100 if minutes else 2
    for _ in range(rounds):
        since = time.monotonic()
        crowd = [vm.start(arena.hosts[n % 2]) for n in range(LAUNCHERS)]
        for one in crowd:
            one.says("the VM is ours|waiting: the VM runs on")
        arena.watcher.runs(vm.name, since)
        assert len(arena.watcher.running(vm.name)) == 1
        arena.close()
        vm.etcd.ctl("del", vm.key("lock"))
        arena.figures.rounds += 1
    arena.figures.notes[f"{LAUNCHERS} launchers at once, exactly one ran"] = (
        f"{rounds} rounds, in which the VM was taken {vm.get('epoch')} times"
    )


@pytest.mark.parametrize("ttl", [5, pytest.param(10, marks=pytest.mark.long)])
def test_24_repeated_kills(
    ttl: int, arena: Arena, rbd_vm: Vm, image: RbdDisk, minutes: float, seed: int
) -> None:
    """The owner's host dies at a random moment, again and again."""
    chance = random.Random(seed)  # noqa: S311 - it is to be repeatable
    hosts = [arena.hosts[0], arena.hosts[2]]
    owner, standby = (rbd_vm.start(host, TTL=str(ttl)) for host in hosts)
    for one in (owner, standby):
        one.says("the VM is ours|waiting: the VM runs on")
    if "the VM is ours" in standby.log:
        hosts.reverse()
        owner, standby = standby, owner
    for _ in range((100 if ttl == 5 else 20) if minutes else 2):
        if chance.random() < 0.7:
            stamped(image, owner.writes(), 2)
        time.sleep(chance.uniform(0, 2))
        since = hosts[0].crash()
        what = f"takeover after kill -9 of a host, TTL {ttl}, RBD"
        arena.takeover(rbd_vm, since, what, by=standby)
        hosts.reverse()
        owner, standby = standby, rbd_vm.start(hosts[1], TTL=str(ttl))
        standby.says("waiting: the VM runs on")
        arena.figures.rounds += 1
    stamped(image, owner.writes())
    arena.verify(rbd_vm, image)
