"""Fault 40: an etcd that knows less than an owner, restored from a snapshot or started empty by mistake."""

from pathlib import Path

import pytest
from chaos.arena import LOCAL, Arena, Vm
from chaos.disk import Disk, FileDisk, stamped
from chaos.rbd_disk import RbdDisk
from deadline import eventually


def forget(vm: Vm, how: str, snapshot: Path) -> None:
    """etcd as it was before the VM's first start, or with nothing but the VM's keys, put there again."""
    if how == "restored":
        vm.etcd.restore(snapshot)
    else:
        vm.etcd.wipe()
        vm.describe()


def outlived(
    arena: Arena, vm: Vm, disk: Disk, how: str, machines: tuple[int, int], path: Path
) -> None:
    """The owner runs on, its records come back, and when it dies, the standby takes over at once."""
    vm.etcd.snapshot(path)
    a = vm.start(arena.hosts[machines[0]])
    writer = a.writes()
    b = vm.start(arena.hosts[machines[1]])
    b.says("waiting: the VM runs on")
    fence = vm.get("fence")
    stamped(disk, writer)
    for number in range(20):  # later revisions than the restored etcd will have for long
        vm.etcd.ctl("put", vm.key("x/note"), str(number))
    forget(vm, how, path)
    eventually(lambda: vm.get("lock") and vm.get("epoch") == "1", what="what it wrote")
    assert vm.get("fence")
    assert fence
    stamped(disk, writer, 20)
    assert not b.writers()
    since = arena.hosts[machines[0]].crash()
    arena.takeover(vm, since, f"takeover after etcd was {how}, owner's host killed, TTL 5", by=b)
    stamped(disk, b.writes())
    assert vm.get("epoch") == "2"
    arena.verify(vm, disk)


@pytest.mark.parametrize("how", ["restored", "wiped"])
def test_40_etcd_knows_less_of_an_image(
    how: str, arena: Arena, own_rbd_vm: Vm, image: RbdDisk, tmp_path: Path
) -> None:
    outlived(arena, own_rbd_vm, image, how, (0, 2), tmp_path / "snapshot")


@pytest.mark.long
@pytest.mark.parametrize("how", ["restored", "wiped"])
def test_40_etcd_knows_less_of_a_file(
    how: str, arena: Arena, own_vm: Vm, disk: FileDisk, tmp_path: Path
) -> None:
    assert LOCAL.items() <= own_vm.keys.items()
    outlived(arena, own_vm, disk, how, (0, 0), tmp_path / "snapshot")
