"""Records and judgements of ownership, without an etcd."""

from dataclasses import replace

import pytest

from holdfast.etcd.txn import Item, Reply
from holdfast.host import Host
from holdfast.machine import Disk, DiskKind, LocalPath, RbdImage
from holdfast.ownership.lease import LeaseTimes
from holdfast.ownership.names import Names
from holdfast.ownership.records import (
    Claim,
    FencingRecord,
    Image,
    ImageKind,
    decode_claim,
    decode_fence,
    decode_lock,
    encode,
    images,
    kind_of,
    left_to_time,
    of_kind,
)
from holdfast.ownership.verdict import Standing, Verdict, barred, judge

HERE = Host(name="a", machine_id="m1", boot_id="b")
ELSEWHERE = Host(name="c", machine_id="m2", boot_id="d")
NAMES = Names.of("/kvm", "7", "/kvm/7/lock")


def reply(*, lock: int = 0, epoch: int = 0, number: str = "4", owner: bytes = b"ours") -> Reply:
    items = {NAMES.lock: (lock, owner), NAMES.epoch: (epoch, number.encode())}
    return Reply(
        succeeded=True,
        revision=99,
        items={
            key: Item(key=key, value=value, mod_revision=at)
            for key, (at, value) in items.items()
            if at
        },
    )


@pytest.mark.parametrize(
    ("lock", "epoch", "number", "verdict"),
    [
        pytest.param(5, 6, "4", Verdict.held, id="lock and epoch as we wrote them"),
        pytest.param(0, 6, "4", Verdict.vacant, id="the lease ran out, nobody came"),
        pytest.param(8, 6, "4", Verdict.contested, id="a taker that has not raised the epoch"),
        pytest.param(8, 9, "5", Verdict.lost, id="another owner"),
        pytest.param(0, 9, "5", Verdict.lost, id="another owner, gone again"),
        pytest.param(5, 9, "5", Verdict.lost, id="raised by a VM that took our disk"),
        pytest.param(5, 6, "12", Verdict.lost, id="another history, at the same revision"),
        pytest.param(5, 0, "", Verdict.outdated, id="the epoch was deleted"),
        pytest.param(0, 0, "", Verdict.outdated, id="etcd was wiped"),
        pytest.param(0, 3, "3", Verdict.outdated, id="etcd was restored from before our start"),
        pytest.param(8, 3, "3", Verdict.outdated, id="restored, with an older owner's lock"),
        pytest.param(
            5, 6, "3", Verdict.outdated, id="another history, lower, at the same revision"
        ),
        pytest.param(0, 9, "4", Verdict.outdated, id="another history has come as far as we"),
        pytest.param(0, 9, "x", Verdict.contested, id="an epoch that is no number"),
    ],
)
def test_verdicts(lock: int, epoch: int, number: str, verdict: Verdict) -> None:
    ours = Standing(lock=5, epoch=6, owner=b"ours", number=4)
    assert judge(reply(lock=lock, epoch=epoch, number=number), NAMES, ours) is verdict


def test_another_history_may_write_another_lock_at_our_revision() -> None:
    ours = Standing(lock=5, epoch=6, owner=b"ours", number=4)
    found = reply(lock=5, epoch=6, owner=b"another's")
    assert judge(found, NAMES, ours) is Verdict.contested


def fence(kind: str, machine: str = "m1") -> FencingRecord:
    image = Image(disk="root", kind=ImageKind(kind), id=f"{kind}/x")
    return FencingRecord(epoch=3, host="a", boot_id="b", machine_id=machine, images=(image,))


def test_records_come_back_as_they_were() -> None:
    record = fence("rbd")
    assert decode_fence(encode(record)) == record
    claim = Claim(vm="7", lock="/kvm/7/lock", epoch=3, machine_id="m1")
    assert decode_claim(encode(claim)) == claim


def left(value: bytes) -> Item:
    return Item(key="/kvm/7/fence", value=value, mod_revision=1)


@pytest.mark.parametrize("fsid", ["", "another"])
def test_an_image_in_a_cluster_out_of_reach_bars_everybody(fsid: str) -> None:
    fault = barred(left(encode(fence("rbd"))), HERE, fsid)
    assert fault is not None
    assert "did not stop cleanly" in fault.rule


def test_an_image_in_our_cluster_can_be_fenced_by_any_machine() -> None:
    assert barred(left(encode(fence("rbd"))), ELSEWHERE, "x") is None


def test_a_local_file_goes_on_only_where_it_lies() -> None:
    assert barred(left(encode(fence("file"))), HERE, "f") is None
    assert barred(left(encode(fence("file"))), ELSEWHERE, "f") is not None


def test_the_same_kernel_is_the_same_machine_whatever_it_is_called() -> None:
    """A container without `-e HOSTNAME` is called otherwise each time."""
    record = left(encode(fence("file", "name:120fc9b092e4")))
    renamed = Host(name="5d0cba9e1f22", machine_id="name:5d0cba9e1f22", boot_id="b")
    assert barred(record, renamed, "f") is None
    started_anew = replace(renamed, boot_id="another")
    assert barred(record, started_anew, "f") is not None


def test_a_kernel_that_has_no_name_is_nobody_elses() -> None:
    record = left(encode(replace(fence("file"), boot_id="")))
    assert barred(record, Host(name="c", machine_id="m2", boot_id=""), "f") is not None


def test_what_only_time_guards_bars_nobody_and_is_outlasted() -> None:
    assert barred(left(encode(fence("shared"))), ELSEWHERE, "") is None
    assert left_to_time(left(encode(fence("shared"))))
    assert not left_to_time(left(encode(fence("file"))))


def test_no_record_bars_nobody() -> None:
    assert barred(None, HERE, "f") is None


def test_only_what_may_be_written_is_claimed() -> None:
    disks = [
        Disk(name="root", backend=RbdImage(pool="p", image="i")),
        Disk(name="iso", backend=LocalPath(path="/x.iso"), kind=DiskKind.cdrom),
        Disk(name="seen", backend=LocalPath(path="/y"), read_only=True),
        Disk(name="data", backend=LocalPath(path="/z")),
        Disk(name="far", backend=LocalPath(path="/nfs/z")),
    ]
    files = {"data": "inode-8:1-7", "far": "inode-0:50-7"}
    found = images(disks, machine_id="m1", fsid="f", files=files, shared={"far": "some-folder/z"})
    assert [image.id for image in found] == [
        "rbd/f/p/i",
        "file/m1/inode-8:1-7",
        "shared/some-folder/z",
    ]


def test_the_lock_of_an_older_launcher_can_be_read() -> None:
    assert decode_lock(b"some-host") == "some-host"
    assert decode_lock(b'{"host": "a"}') == "a"


@pytest.mark.parametrize("endpoints", [1, 3, 5])
@pytest.mark.parametrize("ttl", [5, 10, 30, 600])
def test_times_leave_room_for_one_failed_round(ttl: int, endpoints: int) -> None:
    times = LeaseTimes.of(ttl, endpoints)
    assert times.renew + endpoints * times.request < times.deadline < times.last_resort < times.ttl


def test_a_lease_too_short_for_its_endpoints_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoints"):
        LeaseTimes.of(0, 3)


def test_a_vm_with_a_name_like_a_key_of_ours_has_its_own_keys() -> None:
    """What it is called, and where its tree stands, is not read out of its keys again."""
    names = Names.of("/a/_claims", "fence", "/elsewhere")
    assert (names.prefix, names.vm) == ("/a/_claims", "fence")
    assert names.fence == "/a/_claims/_own/fence/fence"


@pytest.mark.parametrize(
    ("claimed", "kind"),
    [
        ("rbd/2c61/vms/7", ImageKind.rbd),
        ("file/m1/srv/rbd/x", ImageKind.file),
        ("shared/rbd", ImageKind.shared),
        ("mac/52:54:00:00:00:01", None),
        ("address/br0/10.0.0.1", None),
        ("rbdx/2c61/vms/7", None),
        ("", None),
    ],
)
def test_an_id_tells_the_kind_of_its_disk(claimed: str, kind: ImageKind | None) -> None:
    assert kind_of(claimed) is kind
    assert of_kind(ImageKind.rbd, {claimed: "text"}) == (
        {claimed: "text"} if kind is ImageKind.rbd else {}
    )


def test_only_an_image_in_ceph_has_a_cluster() -> None:
    assert Image(disk="root", kind=ImageKind.rbd, id="rbd/2c61/vms/ns/7").fsid == "2c61"
    assert Image(disk="root", kind=ImageKind.rbd, id="rbd/2c61/vms/ns/7").place == "vms/ns/7"
    assert not Image(disk="root", kind=ImageKind.file, id="file/2c61/vms/7").fsid
