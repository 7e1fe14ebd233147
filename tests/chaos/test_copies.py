"""Fault 39: a VM on a copy of a running VM's disk. Neither knows of the other, at whatever epochs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ceph import Ceph
from chaos import journal
from chaos.arena import Arena, Vm
from chaos.disk import stamped
from chaos.host import Launcher
from chaos.rbd_disk import Clients, RbdDisk

EPOCHS = {"lower": 0, "equal": 4, "higher": 8}  # the copy's, before it is taken
SOURCE = 4  # the source's, likewise


@dataclass
class Case:
    """A VM that runs and writes, and how many entries of Ceph's blocklist there were then."""

    arena: Arena
    vm: Vm
    image: RbdDisk
    launcher: Launcher
    clients: Clients
    before: set[str]

    def unharmed(self) -> None:
        stamped(self.image, self.launcher.writes(), 5)
        assert self.launcher.process.poll() is None
        address = self.arena.hosts[0].namespace.address
        new = self.clients.cluster.blocklist() - self.before
        assert not [entry for entry in new if entry.startswith(f"{address}:")]
        assert "killing QEMU" not in self.launcher.log


@pytest.fixture
def source(arena: Arena, rbd_vm: Vm, image: RbdDisk, rbd_clients: Clients) -> Iterator[Case]:
    rbd_vm.etcd.ctl("put", rbd_vm.key("epoch"), str(SOURCE))
    before = rbd_clients.cluster.blocklist()
    launcher = rbd_vm.start(arena.hosts[0])
    stamped(image, launcher.writes())
    yield Case(arena, rbd_vm, image, launcher, rbd_clients, before)
    arena.verify(rbd_vm, image)


def started_twice(case: Case, copy: Vm, image: str) -> None:
    """A first start, a clean stop, one more, its host's end, and a start after that."""
    arena = case.arena
    before = case.vm.epochs()
    for stop in (True, False, False):
        b = copy.start(arena.hosts[2])
        b.writes()
        case.unharmed()
        if stop:
            b.signal()
            assert b.ends() == 0
        else:
            arena.hosts[2].crash()
    case.unharmed()
    arena.end()
    known = {**dict.fromkeys(before, 0), **copy.epochs()}
    found = journal.check(RbdDisk(case.clients.cluster, image).read(), known)
    assert not found.violations, "\n".join(found.violations)


LONG_WAYS = [
    pytest.param(way, epoch, marks=pytest.mark.long)
    for way in ("clone", "cp")
    for epoch in EPOCHS
    if (way, epoch) != ("clone", "equal")
]


@pytest.mark.parametrize(("way", "epoch"), [("clone", "equal"), *LONG_WAYS])
def test_39_copy_of_a_running_disk(
    way: str, epoch: str, source: Case, ceph_node: Ceph, host_toml: Path, keys: dict[str, str]
) -> None:
    """Made by `rbd`, behind Holdfast's back."""
    name = f"{source.image.name}-copy"
    ceph_node.rbd("snap", "create", f"{source.image.name}@s")
    if way == "clone":
        ceph_node.rbd("clone", "--rbd-default-clone-format", "2", f"{source.image.name}@s", name)
    else:
        ceph_node.rbd("cp", "--no-progress", f"{source.image.name}@s", name)
    keys = {**keys, "disks__data__rbd": f"rbd/{name}", "epoch": str(EPOCHS[epoch])}
    started_twice(source, Vm(name, source.vm.etcd, host_toml, keys, source.vm.environ), name)


@pytest.mark.long
@pytest.mark.parametrize("epoch", EPOCHS)
def test_39_clone_made_by_holdfast(
    epoch: str, source: Case, host_toml: Path, keys: dict[str, str]
) -> None:
    name = f"{source.image.name}-copy"
    host_toml.write_text(f'{host_toml.read_text()}\n[templates]\nvolumes = ["ceph/*"]\n')
    keys = {
        **keys,
        "disks__data__pool": "ceph",
        "disks__data__source__volume": source.image.name,
        "epoch": str(EPOCHS[epoch]),
    }
    started_twice(
        source, Vm(name, source.vm.etcd, host_toml, keys, source.vm.environ), f"{name}-data"
    )


def test_39_copy_with_an_old_record_in_it(
    source: Case, ceph_node: Ceph, host_toml: Path, keys: dict[str, str]
) -> None:
    """As launchers before the claim left it in metadata, which a clone carries: the source lives on."""
    clients = json.loads(source.vm.get("fence") or "{}")["clients"]
    name = f"{source.image.name}-copy"
    ceph_node.rbd("cp", "--no-progress", source.image.name, name)
    ceph_node.rbd("image-meta", "set", name, "holdfast.fence.1", json.dumps(clients))
    keys = {**keys, "disks__data__rbd": f"rbd/{name}", "epoch": "1"}
    b = Vm(name, source.vm.etcd, host_toml, keys, source.vm.environ).start(source.arena.hosts[2])
    b.says("waiting:|QEMU is up")
    source.unharmed()
