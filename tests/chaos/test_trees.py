"""Faults 36 to 38, 43: others who name the same image, past the border of one tree of one etcd."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ceph import Ceph
from chaos import members
from chaos.arena import Arena, Vm
from chaos.disk import silent, stamped
from chaos.gate import Gate
from chaos.host import Launcher
from chaos.members import Members
from chaos.network import Network
from chaos.rbd_disk import RbdDisk
from deadline import eventually

SHORT = (("tree", 0.0), ("etcd", 0.0), ("etcd", 0.2))
WATCH = 36  # seconds after which Ceph has forgotten a client that stands still


@dataclass
class Turns:
    """The boots of all who may have the image, in the order in which they had it."""

    known: dict[str, int] = field(default_factory=dict)

    def ran(self, launchers: list[Launcher]) -> list[Launcher]:
        return [one for one in launchers if one.writers()]

    def note(self, launcher: Launcher) -> None:
        turn = len(set(self.known.values()))
        self.known |= {one.uuid: turn for one in launcher.writers()}

    def epochs(self) -> dict[str, int]:
        return self.known


@pytest.fixture
def others(rbd_vm: Vm, own_rbd_vm: Vm, host_toml: Path) -> dict[str, Vm]:
    """The same VM with the same image, in another tree, and in another etcd."""
    tree = Vm(rbd_vm.name, rbd_vm.etcd, host_toml, rbd_vm.keys, rbd_vm.environ, prefix="/kvm2")
    return {"tree": tree, "etcd": own_rbd_vm}


def test_36_two_trees_at_once(
    arena: Arena, rbd_vm: Vm, others: dict[str, Vm], image: RbdDisk, minutes: float, seed: int
) -> None:
    """One runs, whoever it is; the other waits, and says for whom."""
    chance = random.Random(seed)  # noqa: S311 - it is to be repeatable
    many = [(chance.choice(("tree", "etcd")), chance.uniform(0, 1)) for _ in range(20)]
    turns = Turns()
    for where, apart in many if minutes else SHORT:
        pair = [rbd_vm.start(arena.hosts[0])]
        time.sleep(apart)
        pair.append(others[where].start(arena.hosts[2]))
        eventually(lambda: turns.ran(pair), what="a guest that writes")  # noqa: B023
        (owner,) = turns.ran(pair)
        turns.note(owner)
        stamped(image, owner.writes(), 10)
        assert turns.ran(pair) == [owner], "both guests write"
        (other,) = (one for one in pair if one is not owner)
        other.says("waiting:|in use|trying again")
        for one in (other, owner):
            one.signal()
        assert [other.ends(), owner.ends()] == [0, 0]
        arena.figures.rounds += 1
    arena.verify(turns, image)


@pytest.fixture
def third_etcd(network: Network, tmp_path: Path) -> Iterator[Members]:
    with members.serving(network, tmp_path / "third") as cluster:
        yield cluster


@pytest.mark.long
def test_37_three_etcds(
    arena: Arena,
    rbd_vm: Vm,
    others: dict[str, Vm],
    third_etcd: Members,
    host_toml: Path,
    image: RbdDisk,
) -> None:
    """Three hosts, each with an etcd of its own by mistake, and the power comes back."""
    third = Vm(rbd_vm.name, third_etcd, host_toml, rbd_vm.keys, rbd_vm.environ)
    vms = (rbd_vm, others["etcd"], third)
    all_three = [vm.start(host) for vm, host in zip(vms, arena.hosts, strict=True)]
    turns = Turns()
    eventually(lambda: turns.ran(all_three), what="a guest that writes")
    (owner,) = turns.ran(all_three)
    turns.note(owner)
    stamped(image, owner.writes(), 50, timeout=60)
    assert turns.ran(all_three) == [owner], "more than one guest writes"
    arena.verify(turns, image)


@pytest.mark.parametrize("seconds", [12, pytest.param(WATCH, marks=pytest.mark.long)])
def test_38_frozen_owner_and_another_tree(
    seconds: int, arena: Arena, rbd_vm: Vm, others: dict[str, Vm], image: RbdDisk, ceph_node: Ceph
) -> None:
    """Ceph has forgotten its watch, it has not written yet, and the other's epoch is far higher."""
    if seconds < WATCH:
        ceph_node.ceph("config", "set", "osd", "osd_client_watch_timeout", str(seconds))
    try:
        a = rbd_vm.start(arena.hosts[0])
        a.says("the guest runs")  # and boots: it writes some seconds later
        a.freeze()
        eventually(lambda: not ceph_node.watchers(image.name), what="the watch's end")
        others["tree"].etcd.ctl("put", others["tree"].key("epoch"), "8")
        b = others["tree"].start(arena.hosts[2])
        b.says("waiting:|in use")
        silent(image, 3)
        a.thaw()
        stamped(image, a.writes(), 10)
        assert not b.writers()
    finally:
        ceph_node.ceph("config", "rm", "osd", "osd_client_watch_timeout")
    arena.verify(rbd_vm, image)


def test_43_stranger_before_cont(
    arena: Arena, rbd_vm: Vm, image: RbdDisk, network: Network, ceph_node: Ceph
) -> None:
    """Somebody opens the image, as `rbd map` does, after the last look before QEMU: the guest does not run."""
    with Gate(network.address, rbd_vm.etcd.ports) as gate:
        gate.hold_answer_to(b'"clients":')
        a = rbd_vm.start(arena.hosts[0], ETCD_ENDPOINTS=gate.url)
        assert gate.reached.wait(90)
        with ceph_node.opened(image.name) as address:
            gate.release()
            a.says(address.replace(".", r"\."))
            assert "GUEST" not in a.console
        stamped(image, a.writes(timeout=120))
    arena.verify(rbd_vm, image)
