"""Whose an image is, past the border of one tree of keys: two trees, a wiped etcd, copies of a disk."""

import itertools
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from ceph import Ceph
from chaos.gate import Gate
from etcd import Etcd, where
from launcher import Launcher, gone

from holdfast.errors import LockHeld
from holdfast.machine import Disk as MachineDisk
from holdfast.machine import RbdVolume
from holdfast.storage import image_claim
from holdfast.storage.ceph import keyring
from holdfast.storage.ceph.cluster import Cluster
from holdfast.storage.image_claim import ImageClaim

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
NUMBERS = itertools.count(1)
RESTART = 90


class Disk:
    """An image, and launchers of VMs that have it in one tree of keys or another."""

    def __init__(self, ceph: Ceph, conf: Path, etcd: Etcd, guest: Path) -> None:
        self.ceph = ceph
        self.etcd = etcd
        self.image = f"rbd/claimed-{next(NUMBERS)}"
        self._conf = conf
        ceph.put(self.image, guest / "disk.raw")

    def host(self, vm: str, prefix: str = "/kvm", **keys: str) -> dict[str, str]:
        """The VM with this disk, and the environment of a launcher of it."""
        for key, value in {"ram": "192", "rbd": self.image, **keys}.items():
            self.etcd.ctl("put", "--", where(vm, key, prefix), value)
        return {
            "VM": vm,
            "KEY_PREFIX": prefix,
            "ETCD_ENDPOINTS": self.etcd.url,
            "CEPH_CONF": str(self._conf),
            "TTL": "5",
        }

    def blocklist(self) -> set[str]:
        lines = self.ceph.ceph("osd", "blocklist", "ls").splitlines()
        return {line.split()[0] for line in lines if ":" in line}


@pytest.fixture
def disk(ceph: Ceph, own_etcd: Etcd, guest: Path, tmp_path: Path) -> Disk:
    return Disk(ceph, ceph.etc(tmp_path / "etc-ceph", "holdfast"), own_etcd, guest)


def test_of_two_trees_one_has_the_image(launch: Launch, disk: Disk) -> None:
    """Started at once, the other one waits, names who has it, and harms nobody; then it is its turn."""
    shut_out = disk.blocklist()
    both = [launch(disk.host("7", prefix)) for prefix in ("/kvm", "/kvm2")]
    story = "QEMU is up|belongs to VM 7 of|was claimed meanwhile by VM 7 of"
    for one in both:
        one.says(story)
    (up,) = [one for one in both if "QEMU is up" in one.log]
    (waiting,) = [one for one in both if one is not up]
    up.ready()
    waiting.says("waiting: .*belongs to VM 7 of the tree /kvm2? .*holdfast claim release rbd/")
    assert len(disk.ceph.watchers(disk.image)) == 1
    assert disk.blocklist() - shut_out == set() or all(one.process.poll() is None for one in both)
    up.signal()
    assert up.ends() == 0
    assert waiting.ready(RESTART)["boot"] == "2"
    assert "shut out" not in up.log + waiting.log


def test_a_tree_with_another_epoch_does_not_take_the_image(launch: Launch, disk: Disk) -> None:
    """Whatever its epoch; and its operator cannot set free what is in use."""
    owner = launch(disk.host("7"))
    owner.ready()
    refuse(launch, disk, "/kvm3", "8")
    host, identifier = refuse(launch, disk, "/kvm2", "1")
    refused = launch(host, "claim", "release", identifier, "--yes")
    assert refused.ends() == 75
    assert "has it open" in refused.log
    assert disk.ceph.claim(disk.image)["vm"] == "7"
    assert owner.process.poll() is None


def refuse(launch: Launch, disk: Disk, prefix: str, epoch: str) -> tuple[dict[str, str], str]:
    host = disk.host("7", prefix, epoch=epoch)
    other = launch(host)
    told = other.says(
        r"waiting: .*belongs to VM 7 of the tree /kvm .*holdfast claim release (rbd/\S+) --yes"
    )
    assert not disk.etcd.get(f"{prefix}/7/lock")
    assert disk.etcd.get(f"{prefix}/_own/7/epoch") == epoch
    assert "shut out" not in other.log
    other.signal()
    assert other.ends() == 0
    return host, told[1]


def test_a_dead_owners_image_is_set_free_by_hand_only(launch: Launch, disk: Disk) -> None:
    host = disk.host("7")
    owner = launch(host)
    owner.ready()
    (address,) = disk.ceph.watchers(disk.image)
    other = launch(disk.host("7", "/kvm2"))
    owner.signal(signal.SIGKILL)
    assert gone(owner.qemu())
    told = other.says(r"holdfast claim release (rbd/\S+) --yes")
    release = ("claim", "release", told[1])
    refused = launch({**host, "KEY_PREFIX": "/kvm2"}, *release)
    assert refused.ends() == 64
    assert "VM 7 of the tree /kvm " in refused.log
    freed = launch({**host, "KEY_PREFIX": "/kvm2"}, *release, "--yes")
    assert freed.ends(60) == 0, freed.log
    assert address in disk.blocklist()
    assert other.ready(RESTART)["boot"] == "2"


def test_an_etcd_that_was_wiped_harms_nobody(launch: Launch, disk: Disk) -> None:
    """The VM runs on, its records come back, and a standby takes it over as ever."""
    host = disk.host("7")
    owner = launch(host)
    owner.ready()
    (address,) = disk.ceph.watchers(disk.image)
    disk.etcd.ctl("del", "--prefix", "/kvm/")
    owner.says("etcd's data was older than this VM: its records are written back")
    assert disk.etcd.get("/kvm/_own/7/epoch") == "1"
    disk.host("7")  # its keys, from a backup
    standby = launch({**host, "HOSTNAME": "host-b"})
    standby.says("standing by")
    assert owner.process.poll() is None
    owner.signal(signal.SIGKILL)
    standby.says(f"shut out of Ceph.*{re.escape(address)}")
    assert standby.ready(RESTART)["boot"] == "2"


def test_a_copy_or_a_clone_is_a_disk_of_its_own(launch: Launch, disk: Disk) -> None:
    """At its first start and at the next one; and with what an older Holdfast has left in the metadata."""
    owner = launch(disk.host("7"))
    owner.ready()
    disk.ceph.rbd("cp", "--no-progress", disk.image, f"{disk.image}-copy")
    disk.ceph.rbd("snap", "create", f"{disk.image}@s")
    format_2 = ("--rbd-default-clone-format", "2")
    disk.ceph.rbd("clone", *format_2, f"{disk.image}@s", f"{disk.image}-clone")
    for kind in ("copy", "clone"):
        host = disk.host(kind, rbd=f"{disk.image}-{kind}")
        for _ in range(2):
            child = launch(host)
            child.ready()
            child.signal()
            assert child.ends() == 0
            assert "shut out" not in child.log
    assert owner.process.poll() is None
    assert owner.qemu()


def test_what_a_clone_carries_of_an_older_holdfast_is_not_believed(
    launch: Launch, disk: Disk
) -> None:
    address = "10.9.9.9:0/4711"
    disk.ceph.rbd("image-meta", "set", disk.image, "holdfast.fence.1", f'["{address}"]')
    launcher = launch(disk.host("7"))
    launcher.says(rf"holdfast\.fence\.1.*rbd image-meta remove {disk.image} holdfast\.fence\.1")
    assert not disk.etcd.get("/kvm/7/lock")
    assert address not in disk.blocklist()


def test_another_vm_of_the_tree_is_named(launch: Launch, disk: Disk) -> None:
    launch(disk.host("7")).ready()
    second = launch(disk.host("8"))
    assert second.ends() == 78
    assert "is in use by VM 7: stop that one first" in second.log
    assert not disk.etcd.get("/kvm/_own/8/epoch")


def test_a_renamed_vm_takes_what_it_left_behind(launch: Launch, disk: Disk) -> None:
    """After a crash the disk belongs to the old name; the new one shuts its QEMU out and goes on."""
    old = launch(disk.host("7"))
    old.ready()
    (address,) = disk.ceph.watchers(disk.image)
    old.signal(signal.SIGKILL)
    assert gone(old.qemu())
    disk.etcd.ctl("del", "/kvm/7/lock")
    new = launch(disk.host("8"))
    new.says(f"shut out of Ceph.*{re.escape(address)}")
    assert new.ready(RESTART)["boot"] == "2"
    assert disk.ceph.claim(disk.image)["vm"] == "8"


def test_whoever_opens_the_image_beside_qemu_is_named(launch: Launch, disk: Disk) -> None:
    """He comes after the launcher has looked, and before the guest is to run."""
    shut_out = disk.blocklist()
    with Gate("127.0.0.1", [disk.etcd.port]) as gate:
        gate.hold_answer_to(b'"images":')  # the record of the storage process
        host = {**disk.host("7"), "ETCD_ENDPOINTS": gate.url, "TTL": "60"}
        launcher = launch(host)
        assert gate.reached.wait(90)
        with disk.ceph.opened(disk.image) as address:
            gate.release()
            launcher.says(f"{re.escape(address)} has an image of this VM open")
            assert "the guest runs" not in launcher.log
            assert disk.ceph.watchers(disk.image) == [address]
            assert not disk.etcd.get("/kvm/_own/7/fence")
            assert disk.ceph.claim(disk.image) == {}
        launcher.ready(RESTART)
    assert disk.blocklist() <= shut_out, "nobody but who was there before"


def test_a_start_that_was_overtaken_waits_for_its_turn(launch: Launch, disk: Disk) -> None:
    """Nothing of it has run: it is no owner that lost its VM."""
    with Gate("127.0.0.1", [disk.etcd.port]) as gate:
        gate.hold_answer_to(b'"images":')  # the record of the storage process
        launcher = launch({**disk.host("7"), "ETCD_ENDPOINTS": gate.url, "TTL": "60"})
        assert gate.reached.wait(90)
        disk.etcd.ctl("put", "/kvm/_own/7/epoch", "7")
        gate.release()
        launcher.says("another owner has taken the VM; trying again in")
        launcher.ready(RESTART)
    assert disk.etcd.get("/kvm/_own/7/epoch") == "8"


# -- volumes: of two trees that make one at once, one has it, and the other touches nothing of it

MIB = 1024**2


class Volume:
    """One that is not there yet, and storage processes that are about to make it: each has looked and claimed."""

    def __init__(self, ceph: Ceph, conf: Path) -> None:
        self.ceph = ceph
        self.name = f"made-{next(NUMBERS)}"
        self.image = f"rbd/{self.name}"
        self._keyring = keyring.find(conf, "holdfast")

    def disk(self, size: int) -> MachineDisk:
        backend = RbdVolume(pool="rbd", image=self.name)
        return MachineDisk(name="root", backend=backend, size=size, mark=f"id-of-{size}")

    @contextmanager
    def maker(self, tree: str, size: int) -> Iterator[Cluster]:
        with closing(Cluster([self.disk(size)], self._keyring)) as cluster:
            assert cluster.inspect().claims == {}
            cluster.swap_claims({}, claim(tree))
            yield cluster

    @property
    def size(self) -> int:
        return int(json.loads(self.ceph.rbd("info", "--format=json", self.image))["size"])

    def unfinished(self) -> list[str]:
        names = self.ceph.rbd("ls", "rbd").split()
        return [one for one in names if one.startswith(f"{self.name}.")]


def claim(tree: str) -> str:
    return image_claim.encode(
        ImageClaim(tree=tree, prefix="/kvm", vm="7", lock="/kvm/7/lock", epoch=1, host="h")
    )


@pytest.fixture
def volume(ceph: Ceph, tmp_path: Path) -> Volume:
    return Volume(ceph, ceph.etc(tmp_path / "etc-volume", "holdfast"))


def test_a_volume_that_another_tree_has_made_is_not_grown(volume: Volume) -> None:
    """It is the other tree's from the moment at which it has its name."""
    with volume.maker("a" * 36, 16 * MIB) as first, volume.maker("b" * 36, 32 * MIB) as second:
        assert first.provide(volume.disk(16 * MIB)) == "created"
        assert volume.ceph.claim(volume.image)["tree"] == "a" * 36
        with pytest.raises(LockHeld, match=r"made meanwhile by VM 7 of the tree /kvm .*aaa"):
            second.provide(volume.disk(32 * MIB))
        assert volume.size == 16 * MIB
        assert first.provide(volume.disk(16 * MIB)) == ""


def test_a_volume_that_nobody_has_claimed_is_not_grown_either(volume: Volume) -> None:
    """An older launcher's, or one without etcd: it came into being since it was looked for."""
    with volume.maker("b" * 36, 32 * MIB) as late:
        volume.ceph.rbd("create", "--size", "16M", volume.image)
        with pytest.raises(LockHeld, match="somebody who has not claimed it"):
            late.provide(volume.disk(32 * MIB))
        assert volume.size == 16 * MIB


def test_two_trees_that_make_a_volume_at_once_do_not_mix(volume: Volume, tmp_path: Path) -> None:
    """Whoever is half way gives the name to nothing but his own, and what he had begun goes again."""
    file = tmp_path / "source.raw"
    file.write_bytes(b"b" * 16 * MIB)
    with ExitStack() as stack:
        first = stack.enter_context(volume.maker("a" * 36, 16 * MIB))
        second = stack.enter_context(volume.maker("b" * 36, 16 * MIB))
        half_way: list[str] = []

        def meanwhile() -> None:
            if not half_way:
                half_way.extend(stopped_half_way(second, volume))
                assert first.provide(volume.disk(16 * MIB)) == "created"
                os.kill(second._pipe._process.pid, signal.SIGCONT)

        with pytest.raises(LockHeld, match="made meanwhile by VM 7"):
            second.import_file(volume.disk(16 * MIB), str(file), meanwhile)
    assert half_way == [f"{volume.name}.bbbbbbbb.importing"]
    assert volume.size == 16 * MIB
    assert volume.ceph.claim(volume.image)["tree"] == "a" * 36
    assert volume.unfinished() == []


def stopped_half_way(maker: Cluster, volume: Volume) -> list[str]:
    """It has begun, and has not named what it makes: that takes it many turns to Ceph."""
    while True:
        os.kill(maker._pipe._process.pid, signal.SIGSTOP)
        if found := volume.unfinished():
            return found
        os.kill(maker._pipe._process.pid, signal.SIGCONT)
        time.sleep(0.001)


def test_what_a_killed_start_has_begun_goes_and_another_trees_stays(volume: Volume) -> None:
    for tree in "ab":
        volume.ceph.rbd("create", "--size", "1M", f"{volume.image}.{tree * 8}.importing")
    with volume.maker("a" * 36, 16 * MIB) as maker:
        assert maker.provide(volume.disk(16 * MIB)) == "created"
    assert volume.unfinished() == [f"{volume.name}.bbbbbbbb.importing"]
