"""What an older launcher has left of a VM, and what becomes of it when it is taken: without an etcd."""

import json
from dataclasses import asdict

import pytest

from holdfast.errors import ConfigError
from holdfast.etcd.txn import Item, Put, Reply
from holdfast.ownership import legacy
from holdfast.ownership.names import Names
from holdfast.ownership.records import FencingRecord, decode_fence, encode
from holdfast.ownership.verdict import Standing, Verdict, judge

NAMES = Names.of("/kvm", "7", "/kvm/7/lock")
OLD = NAMES.legacy
CLIENT, OTHER = "10.0.0.1:0/7", "10.0.0.2:0/8"


def fence(**more: object) -> bytes:
    record = FencingRecord(epoch=4, host="z", boot_id="b", machine_id="m1")
    return json.dumps({**json.loads(encode(record)), **more}).encode()


def seen(**values: bytes) -> Reply:
    """`old_` is what stands in the older place. Each key is written at a revision of its own, in this order."""
    items = {}
    for at, (name, value) in enumerate(values.items(), 1):
        key = getattr(OLD, name.removeprefix("old_")) if "old_" in name else getattr(NAMES, name)
        items[key] = Item(key=key, value=value, mod_revision=at)
    return Reply(succeeded=True, revision=99, items=items)


TOMBSTONES = {"old_epoch": legacy.EPOCH, "old_fence": legacy.FENCE}


def moved(found: Reply) -> dict[str, bytes]:
    return {put.key: put.value for put in legacy.move(found, NAMES).puts}


@pytest.mark.parametrize(
    ("values", "epoch"),
    [
        ({}, 0),
        ({"old_epoch": b"4"}, 4),
        ({"epoch": b"5", "old_epoch": b"4"}, 5),
        ({"epoch": b"5", "old_epoch": b"12"}, 12),  # an older launcher has taken it since
        ({"epoch": b"5", **TOMBSTONES}, 5),
        ({"epoch": b"5", "old_epoch": b"a tenant's"}, 5),
        (TOMBSTONES, 0),
    ],
)
def test_the_epoch_is_the_higher_one(values: dict[str, bytes], epoch: int) -> None:
    assert legacy.epoch(seen(**values), NAMES) == epoch


@pytest.mark.parametrize("value", [b"nobody's", b"9" * 19, b"1" + b"0" * 15, b"-1", b"1_0", b""])
def test_an_epoch_that_cannot_be_is_not_taken_for_none(value: bytes) -> None:
    """Nineteen nines and one more would be read by nobody any more."""
    with pytest.raises(ConfigError):
        legacy.epoch(seen(old_epoch=value), NAMES)


def test_a_vm_that_never_ran_gets_tombstones() -> None:
    assert moved(seen()) == {OLD.epoch: legacy.EPOCH, OLD.fence: legacy.FENCE}


def test_where_they_stand_nothing_is_written() -> None:
    assert moved(seen(epoch=b"5", pinned=b"{}", tpm=b"t", **TOMBSTONES)) == {}


def test_a_vm_of_an_older_launcher_is_moved_whole() -> None:
    found = seen(
        old_epoch=b"4",
        old_fence=fence(clients=[CLIENT], tree="theirs"),
        old_pinned=b"p",
        old_tpm=b"t",
    )
    puts = moved(found)
    record = decode_fence(puts.pop(NAMES.fence))
    assert puts == {
        OLD.epoch: legacy.EPOCH,
        OLD.fence: legacy.FENCE,
        NAMES.pinned: b"p",
        NAMES.tpm: b"t",
    }
    assert (record.clients, record.heard, record.tree) == ((), (CLIENT,), "")
    assert legacy.heard(found, NAMES) == {CLIENT}
    absent = {one.key for one in legacy.move(found, NAMES).compare if not one.revision}
    assert absent == {NAMES.pinned, NAMES.tpm}


def test_what_was_heard_stays_hearsay() -> None:
    """Its taker died before it had shut out anybody."""
    first = seen(old_epoch=b"4", old_fence=fence(clients=[CLIENT]))
    second = seen(epoch=b"5", fence=moved(first)[NAMES.fence], **TOMBSTONES)
    assert legacy.heard(second, NAMES) == {CLIENT}
    assert NAMES.fence not in moved(second)


@pytest.mark.parametrize("machine", ["m1", "m2"])
def test_two_records_become_one(machine: str) -> None:
    """The older one came after the tombstone had been taken away."""
    disk = {"disk": "root", "kind": "file", "id": f"file/{machine}/x"}
    image = {"disk": "data", "kind": "rbd", "id": "rbd/f/p/i"}
    found = seen(
        epoch=b"5",
        fence=fence(images=[disk], clients=[CLIENT], tree="ours", machine_id=machine),
        old_fence=fence(images=[image], clients=[OTHER], tree="theirs", machine_id="m9", epoch=9),
    )
    record = decode_fence(moved(found)[NAMES.fence])
    assert record.machine_id == machine, "whose the file is decides who may go on"
    assert [asdict(one) for one in record.images] == [disk, image]
    assert (record.clients, record.heard) == ((CLIENT,), (OTHER,))
    assert (record.epoch, record.tree) == (9, "ours")
    assert len(legacy.fences(found, NAMES)) == 2


def test_records_that_do_not_fit_into_one_are_left() -> None:
    disks = [{"disk": "x", "kind": "rbd", "id": f"rbd/f/p/{number}"} for number in range(200)]
    others = [{**disk, "id": f"{disk['id']}-2"} for disk in disks]
    with pytest.raises(ConfigError, match="have left is damaged"):
        moved(seen(fence=fence(images=disks), old_fence=fence(images=others)))


def test_a_tenant_s_key_does_not_take_the_place_of_what_was_moved() -> None:
    after = seen(
        epoch=b"5", pinned=b"ours", tpm=b"ours", old_epoch=b"9", old_pinned=b"x", old_tpm=b"x"
    )
    assert set(moved(after)) == {OLD.epoch, OLD.fence}
    assert legacy.keys({"ram": b"1", "pinned": b"x"}, after, NAMES) == {
        "ram": b"1",
        "pinned": b"ours",
    }


@pytest.mark.parametrize("name", ["pinned", "tpm"])
def test_what_was_deleted_after_the_move_does_not_come_back(name: str) -> None:
    after = seen(epoch=b"5", **TOMBSTONES, **{f"old_{name}": b"x"})
    assert legacy.kept(after, NAMES, name) is None
    assert not moved(after)
    assert legacy.keys({"pinned": b"x"}, after, NAMES) == {}


@pytest.mark.parametrize(
    ("values", "spent"),
    [
        ({"old_epoch": b"4", "old_tpm": b"t"}, True),
        ({"old_tpm": b"t", "epoch": b"5", "tpm": b"newer", **TOMBSTONES}, True),
        ({"epoch": b"5", "tpm": b"t", **TOMBSTONES, "old_tpm": b"put there since"}, False),
        ({"old_tpm": b"t", "epoch": b"5", **TOMBSTONES}, False),
    ],
)
def test_only_a_secret_that_was_moved_is_deleted(values: dict[str, bytes], spent: bool) -> None:
    assert legacy.move(seen(**values), NAMES).spent == ([OLD.tpm] if spent else [])


def test_a_tombstone_that_was_changed_is_put_back() -> None:
    found = seen(epoch=b"5", old_epoch=b"a tenant's", old_fence=legacy.FENCE)
    assert legacy.tombstones(found, NAMES) == [Put(key=OLD.epoch, value=legacy.EPOCH)]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (TOMBSTONES, Verdict.vacant),
        ({}, Verdict.vacant),
        ({"old_epoch": b"9"}, Verdict.contested),  # such a one has taken the VM, and is gone again
    ],
)
def test_a_holder_sees_that_an_older_launcher_has_been_there(
    values: dict[str, bytes], verdict: Verdict
) -> None:
    found = seen(epoch=b"5", **values)
    assert judge(found, NAMES, Standing(lock=0, epoch=1, number=5)) is verdict


@pytest.mark.parametrize(("older", "verdict"), [(b"4", Verdict.outdated), (b"6", Verdict.lost)])
def test_an_etcd_of_before_the_move(older: bytes, verdict: Verdict) -> None:
    assert judge(seen(old_epoch=older), NAMES, Standing(lock=0, epoch=1, number=5)) is verdict
