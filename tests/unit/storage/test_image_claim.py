"""The claim that stands in an image, without a Ceph."""

import json

import pytest

from holdfast.etcd.record import Unreadable
from holdfast.storage.image_claim import (
    ImageClaim,
    clients_of,
    decode_claim,
    decoded,
    encode,
    foreign,
    newest,
)


def claim(*, tree: str = "t1", vm: str = "7", epoch: int = 3, client: str = "") -> ImageClaim:
    clients = (client,) if client else ()
    return ImageClaim(
        tree=tree, prefix="/kvm", vm=vm, lock="/kvm/7/lock", epoch=epoch, host="a", clients=clients
    )


def test_a_claim_comes_back_as_it_was() -> None:
    ours = claim(client="10.0.0.1:0/123")
    assert decode_claim(encode(ours)) == ours


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"version": "1"},
        {"vm": "a/b"},
        {"vm": ""},
        {"vm": 7},
        {"tree": None},
        {"epoch": "3"},
        {"epoch": True},
        {"clients": "10.0.0.1:0/1"},
        {"clients": ["10.0.0.1:0/0"]},  # the whole host
        {"clients": ["10.0.0.1"]},
        {"clients": ["10.0.0.0/8"]},
    ],
    ids=str,
)
def test_a_claim_that_cannot_be_read_is_not_none(changed: dict[str, object]) -> None:
    text = json.dumps(json.loads(encode(claim())) | changed)
    with pytest.raises(Unreadable, match=r"image rbd/f/p/i .*(damaged|newer)"):
        decoded({"rbd/f/p/i": text})


@pytest.mark.parametrize("text", ["", "x", "[]", "[" * 100_000, "{}", '{"version":1}'])
def test_what_is_no_claim_is_not_none(text: str) -> None:
    with pytest.raises(Unreadable):
        decode_claim(text)


def test_another_trees_claim_bars_us_whatever_its_epoch() -> None:
    for epoch in (1, 3, 99):
        found = foreign({"rbd/f/p/i": claim(tree="t2", epoch=epoch)}, {"t1"})
        assert found is not None
        assert found[0] == "rbd/f/p/i"
        assert "rbd/f/p/i belongs to VM 7 of the tree /kvm" in found[1]
    assert foreign({"rbd/f/p/i": claim(tree="t2")}, ()), "an etcd that was wiped"


def test_a_claim_of_our_tree_or_of_the_last_owners_does_not() -> None:
    claims = {"i": claim(tree="t1"), "j": claim(tree="t0", vm="8")}
    assert not foreign(claims, {"t1", "t0"})


def test_only_our_own_epochs_count() -> None:
    assert newest({"i": claim(epoch=3), "j": claim(vm="8", epoch=9)}, "7") == 3
    assert newest({}, "7") == 0


def test_all_clients_are_found() -> None:
    claims = {"i": claim(client="10.0.0.1:0/1"), "j": claim(client="10.0.0.2:0/2")}
    assert clients_of(claims) == {"10.0.0.1:0/1", "10.0.0.2:0/2"}
