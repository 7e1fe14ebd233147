"""A VM of an older launcher, one that came before its records were moved: taken, given back, and kept from it.

The older launcher is the real one, as it was at commit 7e85ff8, or the last one before the move, 302b4a4, which
claims images in themselves, as today's does (tests/records).
"""

import json
import os
import re
import signal
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from ceph import Ceph
from etcd import Etcd, where
from integration.test_rbd import OTHER_MACHINE
from launcher import Launcher, gone

from holdfast.config.settings import Endpoint, Settings
from holdfast.errors import ConfigError, OwnershipLost, Unreachable
from holdfast.etcd.store import Store, connect
from holdfast.etcd.txn import Delete, Item, Put, Range, Reply
from holdfast.host import Host
from holdfast.ownership import legacy
from holdfast.ownership.lock import Hold
from holdfast.ownership.names import Names
from holdfast.ownership.records import Claim, Image, ImageKind, decode_fence, encode
from holdfast.ownership.session import Session
from holdfast.ownership.takeover import take_over
from holdfast.ownership.taking import Taking
from holdfast.ownership.verdict import Verdict
from holdfast.storage.image_claim import ImageClaim

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
RECORDS = Path(__file__).parents[1] / "records"
NUMBERS = count(1)
LONG = 120.0
CLIENT = "10.0.0.1:0/7"
DISK = Image(disk="root", kind=ImageKind.rbd, id="rbd/fsid/pool/image")
HERE = Host(name="a", machine_id="m1", boot_id="b")


@pytest.fixture(scope="module", params=["7e85ff8"])
def older(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What makes of a launcher one of that commit."""
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(RECORDS / f"holdfast-{request.param}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return {"PYTHONPATH": str(folder / "entrypoint")}


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    name = f"mv{next(NUMBERS)}-" + request.node.name.removeprefix("test_").lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:40].strip("-")


@pytest.fixture
def store(etcd_server: Etcd) -> Iterator[Store]:
    endpoint = Endpoint(host="127.0.0.1", port=etcd_server.port, tls=False)
    with connect(replace(Settings(), endpoints=(endpoint,)), timeout=60) as store:
        yield store


@pytest.fixture
def names(vm: str) -> Names:
    """A tree of its own for each test."""
    return Names.of(f"/{vm}", "7", f"/{vm}/7/lock")


def everything(store: Store, names: Names) -> dict[str, Item]:
    return dict(store.read(Range(key=names.tree.removesuffix("_id"), prefix=True)).items)


def values(store: Store, names: Names) -> dict[str, bytes]:
    return {key: item.value for key, item in everything(store, names).items()}


def seen(store: Store, names: Names) -> Reply:
    return store.read(Range(key=names.tree.removesuffix("_id"), prefix=True))


def left(store: Store, names: Names, **more: object) -> None:
    """As an older launcher leaves a VM that it ran, when its host dies."""
    record = {
        "version": 1,
        "epoch": 4,
        "host": "z",
        "boot_id": "b",
        "machine_id": "m1",
        "images": [{"disk": "root", "kind": "rbd", "id": DISK.id}],
        "clients": [CLIENT],
    }
    old = names.legacy
    found = {
        old.epoch: b"4",
        old.fence: json.dumps({**record, **more}).encode(),
        old.pinned: b'{"machine":"pc-q35-8.2","cpu":"max"}',
        old.tpm: b"what a guest has sealed its disk with",
    }
    store.txn(success=[Put(key=key, value=value) for key, value in found.items()])


def take(store: Store, names: Names) -> Hold:
    session = Session(store, names, HERE, 60)
    taking = Taking(session, seen(store, names), [DISK])
    claims = taking.lock()
    assert claims is not None
    taking.raise_epoch()
    return Hold(session, taking.claim(claims))


TOMBSTONES = {"epoch": legacy.EPOCH, "fence": legacy.FENCE}


def stand(store: Store, names: Names) -> bool:
    found = values(store, names)
    return all(found.get(getattr(names.legacy, key)) == text for key, text in TOMBSTONES.items())


def test_a_vm_is_moved_when_it_is_taken(store: Store, names: Names) -> None:
    left(store, names)
    before = store.requests
    hold = take(store, names)
    assert store.requests - before == 5, "look, lease, lock, epoch, claims: none more"
    found = values(store, names)
    assert (hold.taken.epoch, found[names.epoch]) == (5, b"5")
    record = decode_fence(found[names.fence])
    assert (record.images, record.clients, record.heard) == ((DISK,), (), (CLIENT,))
    assert (hold.taken.suspects, hold.taken.heard) == (frozenset(), frozenset({CLIENT}))
    assert found[names.pinned] == found[names.legacy.pinned]
    assert found[names.tpm] == found[names.legacy.tpm], "moving deletes nothing"
    assert stand(store, names)
    hold.release(b"{}", clean=True)
    assert stand(store, names), "they outlive a clean release"
    gone = {names.fence, names.legacy.tpm, names.lock} & values(store, names).keys()
    assert not gone, "what is secret does not stay where a tenant reads"


def test_a_taker_that_dies_leaves_what_it_found(store: Store, names: Names) -> None:
    left(store, names)
    take(store, names).session.abandon()
    second = take(store, names)
    assert (second.taken.epoch, second.taken.heard, second.taken.suspects) == (
        6,
        frozenset({CLIENT}),
        frozenset(),
    )
    second.release(b"{}", clean=True)
    assert names.legacy.tpm not in values(store, names)


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_a_move_whose_reply_was_lost_was_made_whole_or_not_at_all(
    store: Store, names: Names, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(store, names)
    session = Session(store, names, HERE, 60)
    taking = Taking(session, seen(store, names), [DISK])
    assert taking.lock()
    real = store.txn

    def losing(*request: Any) -> Reply:
        if done:
            real(*request)
        monkeypatch.undo()
        raise Unreachable("lost")

    before = values(store, names)
    monkeypatch.setattr(store, "txn", losing)
    with pytest.raises(Unreachable):
        taking.raise_epoch()
    session.abandon()
    before.pop(names.lock)
    assert (values(store, names) == before) is not done
    after = take(store, names)
    assert (after.taken.epoch, after.taken.heard) == (6 if done else 5, frozenset({CLIENT}))
    assert stand(store, names)


def test_a_move_that_was_sent_twice_was_made_once(store: Store, names: Names) -> None:
    """The second copy finds what the first has written."""
    left(store, names)
    session = Session(store, names, HERE, 60)
    taking = Taking(session, seen(store, names), [DISK])
    claims = taking.lock()
    assert claims is not None
    real = store.txn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "txn", lambda *request: (real(*request), real(*request))[1])
        taking.raise_epoch()
    assert session.look()[0] is Verdict.held
    hold = Hold(session, taking.claim(claims))
    assert hold.taken.epoch == 5
    hold.record([DISK], frozenset())


@pytest.mark.parametrize("key", ["epoch", "fence"])
def test_what_changes_there_under_a_taker_ends_its_try(
    store: Store, names: Names, key: str
) -> None:
    left(store, names)
    session = Session(store, names, HERE, 60)
    taking = Taking(session, seen(store, names), [DISK])
    assert taking.lock()
    store.txn(success=[Put(key=getattr(names.legacy, key), value=b"8")])
    before = values(store, names)
    with pytest.raises(OwnershipLost):
        taking.raise_epoch()
    assert values(store, names) == before


def test_tombstones_come_back_with_the_lock(store: Store, names: Names) -> None:
    """Somebody has deleted one; an older launcher might have come meanwhile."""
    hold = take(store, names)
    hold.record([DISK], frozenset())
    store.revoke(hold.session.lease)
    etcd_gone(store, names.legacy.epoch)
    assert not hold.take_again()
    assert hold.restore()
    assert stand(store, names)
    assert hold.session.look()[0] is Verdict.held


def etcd_gone(store: Store, *keys: str) -> None:
    store.txn(success=[Delete(key=key) for key in keys])


@pytest.mark.parametrize("epoch", [b"1", b"9"])
def test_an_older_launcher_that_was_there_is_not_hidden(
    store: Store, names: Names, epoch: bytes
) -> None:
    """The tombstones were deleted while we had no lock: such a one has taken the VM, and is gone again."""
    hold = take(store, names)
    hold.record([DISK], frozenset())
    store.revoke(hold.session.lease)
    store.txn(success=[Put(key=names.legacy.epoch, value=epoch)])
    assert hold.session.look()[0] is Verdict.contested
    assert not hold.take_again()
    assert not hold.restore()
    assert names.lock not in values(store, names)


def test_an_etcd_of_before_the_move_gets_all_of_it(store: Store, names: Names) -> None:
    left(store, names)
    yesterday = values(store, names)
    hold = take(store, names)
    hold.record([DISK], frozenset({"10.0.0.2:0/8"}))
    etcd_gone(store, *everything(store, names))
    store.txn(success=[Put(key=key, value=value) for key, value in yesterday.items()])
    assert hold.session.look()[0] is Verdict.outdated
    assert hold.restore()
    found = values(store, names)
    assert stand(store, names)
    assert found[names.epoch] == b"5"
    assert decode_fence(found[names.fence]).clients == ("10.0.0.2:0/8",)
    hold.release(b"{}", clean=True)
    assert take(store, names).taken.epoch == 6


def test_an_owner_that_an_etcd_of_before_the_move_has_seen_is_not_hidden(
    store: Store, names: Names
) -> None:
    hold = take(store, names)
    hold.record([DISK], frozenset())
    etcd_gone(store, *everything(store, names))
    store.txn(success=[Put(key=names.legacy.epoch, value=b"2")])
    assert hold.session.look()[0] is Verdict.lost
    assert not hold.restore()


# -- another VM's


@pytest.mark.parametrize("moved", [False, True])
def test_a_disk_is_taken_from_a_dead_vm_wherever_its_records_are(
    store: Store, names: Names, moved: bool
) -> None:
    prefix = names.tree.removesuffix("/_id")
    theirs = Names.of(prefix, "8", f"{prefix}/8/lock")
    left(store, theirs)
    claim = Claim(vm="8", lock=theirs.lock, epoch=4, machine_id="m1")
    store.txn(success=[Put(key=names.claims + DISK.id, value=encode(claim))])
    if moved:
        take(store, theirs).session.abandon()
    before = values(store, names)
    ours = take(store, names)
    after = values(store, names)
    raised = {theirs.epoch: b"6"} if moved else {theirs.legacy.epoch: b"5"}
    changed = {key: after[key] for key in after if "/8/" in key and after[key] != before.get(key)}
    assert changed == raised
    assert (ours.taken.suspects, ours.taken.heard) == (frozenset(), frozenset({CLIENT}))
    assert decode_fence(after[names.fence]).heard == (CLIENT,), "should this one die, too"


def test_a_claim_that_lies_about_the_lock_takes_nothing_from_who_runs(
    store: Store, names: Names
) -> None:
    """What stands beside a file, or in an image, may be written by others than launchers."""
    prefix = names.tree.removesuffix("/_id")
    theirs = Names.of(prefix, "8", f"{prefix}/8/lock")
    store.txn(success=[Put(key=theirs.lock, value=b"{}"), Put(key=theirs.epoch, value=b"4")])
    claim = Claim(vm="8", lock=f"{prefix}/nothing", epoch=4, machine_id="m1")
    store.txn(success=[Put(key=names.claims + DISK.id, value=encode(claim))])
    with pytest.raises(ConfigError, match="is in use by VM 8"):
        take(store, names)
    assert values(store, names)[theirs.epoch] == b"4"


@pytest.mark.parametrize("alive", [True, False])
def test_the_lock_that_a_claim_hides_is_known_from_another_disks(
    store: Store, names: Names, alive: bool
) -> None:
    """`LOCK` has put it elsewhere; a claim in etcd, which launchers alone write, says where."""
    prefix = names.tree.removesuffix("/_id")
    hidden = f"{prefix}-locks/8"
    claim = Claim(vm="8", lock=hidden, epoch=4, machine_id="m1")
    theirs = Names.of(prefix, "8", hidden)
    store.txn(
        success=[
            Put(key=f"{names.claims}file/m1/inode-1", value=encode(claim)),
            Put(key=f"{names.claims}file/m1/inode-2", value=b"of a later version"),
            Put(key=theirs.epoch, value=b"4"),
            *([Put(key=hidden, value=b"{}")] if alive else []),
        ]
    )
    forged = ImageClaim(
        tree="t", prefix=prefix, vm="8", lock=f"{prefix}/nothing", epoch=4, host="h"
    )
    if alive:
        with pytest.raises(ConfigError, match="is in use by VM 8"):
            take_over(store, names, HERE, DISK, forged)
    else:
        assert take_over(store, names, HERE, DISK, forged).puts == [
            Put(key=theirs.epoch, value=b"5")
        ]


# -- with launchers of both versions


def keys(guest: Path) -> dict[str, str]:
    return {
        "ram": "128",
        "kernel": f"{guest}/vmlinuz",
        "nics__nic0__mode": "none",
        "disks__data__pool": "default",
        "disks__data__size": "16M",
        "stop_timeout": "5",
    }


def on(etcd: Etcd, vm: str, **more: str) -> dict[str, str]:
    return {"VM": vm, "ETCD_ENDPOINTS": etcd.url, "TTL": "5", "LOG_LEVEL": "debug", **more}


def stop(launcher: Launcher) -> None:
    """The second signal skips the waiting for a guest that hears no button."""
    launcher.signal()
    launcher.says("powering the guest down", timeout=LONG)
    launcher.signal()
    assert launcher.ends(LONG) == 0, launcher.story()


@pytest.mark.parametrize("older", ["7e85ff8", "302b4a4"], indirect=True)
def test_both_versions_on_one_vm(
    launch: Launch, etcd_server: Etcd, vm: str, guest: Path, older: dict[str, str]
) -> None:
    """Whoever comes next, one of them runs it; and the older one never again before it is given back."""
    etcd_server.put(vm, **keys(guest))

    def started(**more: str) -> Launcher:
        return launch({**on(etcd_server, vm), **more})

    first = started(**older)
    assert epoch_of(first) == "1"
    second = started(HOSTNAME="host-b")
    second.says("the VM runs on host-a; standing by", timeout=LONG)
    first.signal(signal.SIGKILL)
    first.ends(LONG)
    assert epoch_of(second) == "2"
    old = started(HOSTNAME="host-c", **older)
    old.says("the VM runs on host-b; standing by", timeout=LONG)
    assert etcd_server.get(where(vm, "pinned")) == etcd_server.get(f"/kvm/{vm}/pinned")
    stop(second)
    old.says("waiting: .*newer Holdfast.*upgrade the launcher", timeout=LONG)
    forget_by(launch({**on(etcd_server, vm), **older}, "fence", "forget", vm, "--yes"))
    assert not etcd_server.get(f"/kvm/{vm}/fence")
    old.says("epoch.*must be a number", timeout=LONG)
    third = started(HOSTNAME="host-d")
    assert epoch_of(third) == "3"
    etcd_server.put(vm, power="off")
    assert third.ends(LONG) == 0, third.story()
    assert "the VM is ours" not in old.log
    refused_then_given_back(launch, etcd_server, vm)
    etcd_server.put(vm, power="on")
    assert epoch_of(old) == "5"
    stop(old)
    fourth = started(HOSTNAME="host-b")
    assert epoch_of(fourth) == "6"
    stop(fourth)


def epoch_of(launcher: Launcher) -> str:
    found = launcher.says(r"the VM is ours.*epoch=(\d+)", timeout=LONG)[1]
    launcher.says("event RESUME", timeout=LONG)
    return found


def forget_by(asked: Launcher) -> None:
    """What its log advises to do, done by its own command."""
    assert asked.ends(LONG) == 0, asked.story()


def refused_then_given_back(launch: Launch, etcd: Etcd, vm: str) -> None:
    def ask(*words: str) -> tuple[int, str]:
        asked = launch({"ETCD_ENDPOINTS": etcd.url}, *words)
        return asked.ends(LONG), asked.console + asked.log

    assert etcd.get(f"/kvm/{vm}/fence") == legacy.FENCE.decode(), "it is there again"
    pinned = etcd.get(where(vm, "pinned"))
    etcd.put(vm, power="on")
    assert ask("downgrade", vm, "--yes")[0] == 64, "it must be off"
    etcd.put(vm, power="off", lock='{"host":"host-z"}')
    assert ask("downgrade", vm, "--yes")[0] == 75, "and run nowhere"
    etcd.ctl("del", f"/kvm/{vm}/lock")
    etcd.put(vm, fence="{}")
    assert ask("downgrade", vm, "--yes")[0] == 75, "and have stopped cleanly"
    etcd.ctl("del", where(vm, "fence"))
    status, said = ask("downgrade", vm)
    assert status == 64
    assert f"holdfast downgrade {vm} --yes" in said
    assert etcd.get(where(vm, "epoch")) == "3"
    assert ask("downgrade", vm, "--yes")[0] == 0
    assert etcd.get(f"/kvm/{vm}/epoch") == "4"
    assert etcd.get(f"/kvm/{vm}/pinned") == pinned
    left_over = [key for key in ("epoch", "pinned", "fence") if etcd.get(where(vm, key))]
    assert not left_over
    assert not etcd.get(f"/kvm/{vm}/fence")
    assert ask("downgrade", vm, "--yes") == (
        0,
        f"VM {vm} has no record that was moved: an older Holdfast may start it\n",
    )


PLANTED = "10.99.0.9:0/4242"


@pytest.fixture
def in_ceph(etcd_server: Etcd, ceph: Ceph, vm: str, guest: Path, tmp_path: Path) -> dict[str, str]:
    """A VM whose disk is the image that is called like it, and a launcher's environment."""
    ceph.put(f"rbd/{vm}", guest / "disk.raw")
    etcd_server.put(vm, ram="192", rbd=f"rbd/{vm}")
    return on(etcd_server, vm, CEPH_CONF=str(ceph.etc(tmp_path / "etc-ceph", "holdfast")))


def plant(etcd: Etcd, vm: str, known: str) -> None:
    record = json.loads(etcd.get(f"/kvm/{vm}/fence") or "")
    assert known in record["clients"]
    record["clients"].append(PLANTED)
    etcd.ctl("put", f"/kvm/{vm}/fence", json.dumps(record))


def test_an_older_owner_that_is_frozen_is_shut_out_and_nobody_else(
    launch: Launch, etcd_server: Etcd, ceph: Ceph, in_ceph: dict[str, str], older: dict[str, str]
) -> None:
    """It wakes up when another has the VM. A tenant has added to its record whom his image does not know."""
    environ, vm = in_ceph, in_ceph["VM"]
    image = f"rbd/{vm}"
    first = launch({**environ, **older})
    first.ready(LONG)
    (address,) = ceph.watchers(image)
    frozen = [first.qemu(), first.process.pid]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    plant(etcd_server, vm, address)
    second = launch({**environ, "HOSTNAME": "host-b"}, prefix=OTHER_MACHINE)
    second.says(f"shut out of Ceph.*{re.escape(address)}", timeout=LONG)
    second.ready(LONG)
    shut = ceph.ceph("osd", "blocklist", "ls")
    assert address in shut
    assert PLANTED not in shut
    assert PLANTED not in json.dumps(ceph.claim(image))
    assert PLANTED not in (etcd_server.get(where(vm, "fence")) or "")
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    assert first.ends(LONG) == 76, first.story()
    assert gone(frozen[0], LONG)
    second.signal()
    assert second.ends(LONG) == 0, second.story()
