"""Records of launchers of other versions: those before this one are read, those after it are not guessed at.

tests/records holds what real launchers have written into etcd, one file for each version of the
format. A file stays as it is for as long as VMs may be running that such a launcher has started.
"""

import json
from pathlib import Path

import pytest

from holdfast.description import pinned
from holdfast.errors import ConfigError
from holdfast.etcd.record import VERSION, Damaged, Newer, Unreadable, decode_copies
from holdfast.etcd.txn import Item
from holdfast.grammar import Refused
from holdfast.host import Host
from holdfast.ownership.last_run import crash
from holdfast.ownership.records import (
    Claim,
    FencingRecord,
    Image,
    ImageKind,
    claimed_by,
    clients_of,
    decode_claim,
    decode_fence,
    decode_lock,
    encode,
    number,
)
from holdfast.ownership.verdict import barred

HERE = Host(name="a", machine_id="m1", boot_id="b")
RECORDS = sorted((Path(__file__).parents[2] / "records").glob("version-*.json"))
OWNERS = [
    pytest.param(owner, id=f"{path.stem}-{kind}")
    for path in RECORDS
    for kind, owner in json.loads(path.read_text(encoding="utf-8")).items()
]


def left(value: str | bytes) -> Item:
    data = value.encode() if isinstance(value, str) else value
    return Item(key="/kvm/7/fence", value=data, mod_revision=1)


@pytest.mark.parametrize("owner", OWNERS)
def test_what_an_older_launcher_wrote_is_read(owner: dict[str, str]) -> None:
    record = json.loads(owner["fence"])
    fence = decode_fence(owner["fence"].encode())
    assert (fence.epoch, fence.host) == (int(owner["epoch"]), record["host"])
    assert sorted(clients_of(left(owner["fence"]))) == record["clients"]
    assert claimed_by(left(owner["fence"])) == [image["id"] for image in record["images"]]
    assert decode_lock(owner["lock"].encode()) == record["host"]


@pytest.mark.parametrize("owner", OWNERS)
def test_an_older_launchers_claims_are_read(owner: dict[str, dict[str, str]]) -> None:
    (claim,) = owner["claims"].values()
    assert decode_claim(claim.encode()).epoch == int(str(owner["epoch"]))


def test_each_version_of_the_format_has_a_recording() -> None:
    assert [path.stem for path in RECORDS] == [f"version-{n}" for n in range(1, VERSION + 1)]


FENCE = FencingRecord(
    epoch=3,
    host="a",
    boot_id="b",
    machine_id="m1",
    images=(Image(disk="root", kind=ImageKind.rbd, id="rbd/f/p/i"),),
    clients=("10.0.0.1:0/7",),
)
CLAIM = Claim(vm="7", lock="/kvm/7/lock", epoch=3, machine_id="m1")


def changed(record: FencingRecord | Claim, **fields: object) -> bytes:
    return json.dumps({**json.loads(encode(record)), **fields}).encode()


def test_fields_that_came_later_are_passed_over() -> None:
    assert decode_fence(changed(FENCE, colour="red")) == FENCE
    assert decode_claim(changed(CLAIM, colour="red")) == CLAIM
    images = [{"disk": "root", "kind": "rbd", "id": "rbd/f/p/i", "colour": "red"}]
    assert decode_fence(changed(FENCE, images=images)) == FENCE


NEWER = {
    "a later version": {"version": VERSION + 1},
    "a disk of a kind that came later": {"images": [{"disk": "d", "kind": "moon", "id": "x"}]},
}


@pytest.mark.parametrize("fields", NEWER.values(), ids=NEWER.keys())
def test_what_a_newer_launcher_wrote_bars_everybody(fields: dict[str, object]) -> None:
    with pytest.raises(Newer, match="upgrade"):
        decode_fence(changed(FENCE, **fields))
    fault = barred(left(changed(FENCE, **fields)), HERE, "f")
    assert fault is not None
    assert "newer Holdfast" in fault.rule


def test_a_newer_launchers_claim_is_not_read() -> None:
    with pytest.raises(Newer):
        decode_claim(changed(CLAIM, version=VERSION + 1))


DAMAGED = [
    b"", b"[]", b"{}", b"null", b'"x"', b"\xff", b'{"version":1}', b'{"version":"1"}', b'{"version":true}',
    b'{"version":0}', changed(FENCE, images=None), changed(FENCE, images=["x"]), changed(FENCE, clients="x"),
    changed(FENCE, clients=[1]), changed(FENCE, addresses="x"), changed(FENCE, host=7), changed(FENCE, epoch="3"), changed(FENCE, epoch=-1),
    changed(FENCE, epoch=10**30), changed(FENCE, host="a\n\x1b[31m"), changed(FENCE, clients=["a\nb"]),
    changed(FENCE, clients=["10.0.0.11:0/0", "10.0.0.12:0/0"]),  # whole hosts
    changed(FENCE, clients=["10.0.0.11:0/4294967296"]),  # the same in 32 bits
    changed(FENCE, clients=["10.0.0.11:0/08"]),  # or to who reads octal
    changed(FENCE, clients=["10.0.0.11:0/\u0667"]),  # an Arabic digit, which Ceph does not read
    changed(FENCE, clients=["a"] * 5000), changed(FENCE, host="a" * 5000), b"[" * 200_000,
    b'{"version":1,"x":' + b"[" * 200_000, changed(FENCE, boot_id="b" * 300_000),
    changed(FENCE, images=[{"disk": "d", "kind": "rbd", "id": "x"}]),
    changed(FENCE, images=[{"disk": "d", "kind": "rbd", "id": "rbd/"}]),
    changed(FENCE, images=[{"disk": "d", "kind": "rbd", "id": "file/x"}]),
    changed(FENCE, images=[{"disk": "d", "kind": "rbd", "id": 7}]),
    changed(FENCE, images=[{"disk": ["d"], "kind": "rbd", "id": "rbd/x"}]),
    changed(FENCE, images=[{"disk": "d", "kind": "rbd", "id": "rbd/x"}] * 300),
]  # fmt: skip


@pytest.mark.parametrize("value", DAMAGED)
def test_a_damaged_record_bars_everybody(value: bytes) -> None:
    with pytest.raises(Damaged):
        decode_fence(value)
    assert barred(left(value), HERE, "f")


def test_copies_in_images() -> None:
    assert decode_copies({"7": ['["10.0.0.1:0/1"]', '["10.0.0.2:0/2"]'], "8": ["[]"]}) == {
        7: ("10.0.0.1:0/1", "10.0.0.2:0/2"),
        8: (),
    }


@pytest.mark.parametrize(
    "copies",
    [{"7": ['{"clients":["a"]}']}, {"7": ["x"]}, {"7": ["[1]"]}, {"7.2": ['["a"]']}],
    ids=str,
)
def test_a_copy_that_cannot_be_read_is_not_an_empty_one(copies: dict[str, list[str]]) -> None:
    with pytest.raises(Unreadable, match="newer"):
        decode_copies(copies)


DEEP = b"[" * 200_000


def test_deep_copies_are_not_read_either() -> None:
    with pytest.raises(Unreadable):
        decode_copies({"7": [DEEP.decode()]})
    with pytest.raises(Unreadable):
        decode_copies({"9" * 30: ['["a"]']})


@pytest.mark.parametrize("value", [DEEP, b"{}", b"\xff", b"", b'{"host":["a"]}'], ids=len)
def test_any_lock_has_a_holder(value: bytes) -> None:
    assert decode_lock(value)


def test_a_holder_moves_no_terminal() -> None:
    forged = "h2\n\x1b]0;pwned\x07\x1b[31mholdfast 9.9s ERROR: FORGED" + "a" * 500
    for value in (json.dumps({"host": forged}).encode(), forged.encode()):
        assert decode_lock(value).isprintable()
        assert len(decode_lock(value)) <= 64


@pytest.mark.parametrize("value", [b"x", b"", b"-1", b"1_0", b"9" * 30, b"\xb2", b"1.0"])
def test_an_epoch_is_a_number(value: bytes) -> None:
    with pytest.raises(ConfigError, match="must be a number"):
        number(Item(key="/kvm/7/epoch", value=value, mod_revision=1))


def test_what_the_last_owner_left_moves_no_terminal() -> None:
    record = {"state": "crashed", "keys": "k", "host": "\x1b[2J", "when": "\n", "why": "w" * 9999}
    told = crash(Item(key="/kvm/7/last", value=json.dumps(record).encode(), mod_revision=1), "k")
    assert told.isprintable()
    assert len(told) < 1000
    for value in (DEEP, b"[]", b"7", b'{"state":1}'):
        assert crash(Item(key="/kvm/7/last", value=value, mod_revision=1), "k") == ""


@pytest.mark.parametrize("value", [DEEP, b"[]", b'{"machine":7,"cpu":8}', b"{" * 2000])
def test_what_was_pinned_is_refused_where_it_is_damaged(value: bytes) -> None:
    with pytest.raises(Refused):
        pinned.decode(value)
