"""A VM that crashed for good stays down until one of its keys changes."""

import pytest

from holdfast.etcd.txn import Item
from holdfast.ownership.last_run import CRASHED, Last, crash, sight

VM, DEFAULTS = "/kvm/7/", "/kvm/_defaults/"
KEYS = {"/kvm/7/ram": 4, "/kvm/7/x/note": 9, "/kvm/7/epoch": 12, "/kvm/_defaults/cpus": 3}


def seen(**changed: int) -> str:
    """`ram=0` deletes the key."""
    keys = {**KEYS, **{VM + name.replace("__", "/"): at for name, at in changed.items()}}
    items = [Item(key=key, value=b"", mod_revision=at) for key, at in keys.items() if at]
    return sight(items, VM, DEFAULTS)


def record(keys: str, state: str = CRASHED) -> Item:
    last = Last(when="now", host="host-a", why="it did", exit=70, epoch=3, state=state, keys=keys)
    return Item(key="/kvm/7/last", value=last.encode(), mod_revision=20)


@pytest.mark.parametrize(
    "change",
    [{"ram": 30}, {"ram": 0}, {"cpus": 31}, {"power": 31}],
    ids=["edited", "deleted", "added", "switched on"],
)
def test_a_change_lifts_it(change: dict[str, int]) -> None:
    assert crash(record(seen()), seen()) == "it crashed on host-a at now: it did"
    assert crash(record(seen()), seen(**change)) == ""


@pytest.mark.parametrize("ours", ["epoch", "fence", "last", "status", "lock", "x__note"])
def test_what_holdfast_writes_and_notes_lift_nothing(ours: str) -> None:
    assert crash(record(seen()), seen(**{ours: 40}))


def test_a_change_of_the_defaults_lifts_it() -> None:
    items = [Item(key=DEFAULTS + "cpus", value=b"", mod_revision=at) for at in (3, 5)]
    assert sight(items[:1], VM, DEFAULTS) != sight(items[1:], VM, DEFAULTS)


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b'{"state":"crashed"}'])
def test_what_cannot_be_read_bars_nobody(value: bytes) -> None:
    assert crash(Item(key="/kvm/7/last", value=value, mod_revision=1), seen()) == ""
    assert crash(None, seen()) == ""


def test_a_clean_end_bars_nobody() -> None:
    assert crash(record(seen(), state="stopped"), seen()) == ""
