"""What is remembered of a change: never a secret, never without end."""

import json

import pytest

from holdfast.cli import change_record
from holdfast.cli.change_record import KEPT, LARGEST, ChangeRecord
from holdfast.dataclass import replace
from holdfast.etcd.txn import Item
from holdfast.keys import KEYS

RECORD = ChangeRecord(when="2026-11-28T10:00:00+00:00", who="anna", place="laptop", what="set")


def test_before_and_after() -> None:
    found = change_record.changes(
        "7", {"ram": b"1G", "cpus": b"2"}, {"ram": b"2G", "cpus": None, "title": b"a"}
    )
    assert found == {"cpus": ("2", None), "ram": ("1G", "2G"), "title": (None, "a")}


@pytest.mark.parametrize(
    "name", [name.replace("<name>", "a") for name, row in KEYS.items() if row.secret]
)
def test_a_secret_is_never_told(name: str) -> None:
    found = change_record.changes("7", {name: b"before-it"}, {name: b"after-it"})
    assert "-it" not in json.dumps(found)
    assert found[name][0] != found[name][1]
    again = change_record.changes("7", {name: b"after-it"}, {name: None})
    assert again[name][0] == found[name][1], "the same value is known again"
    assert change_record.changes("8", {name: b"after-it"}, {name: None}) != again, (
        "of this VM alone"
    )


@pytest.mark.parametrize("value", [b"x" * 5000, b"\xff\xfe"])
def test_what_is_long_or_no_text_is_told_by_its_hash(value: bytes) -> None:
    found = change_record.shown("7", "user_data", value)
    assert isinstance(found, dict)
    assert found["bytes"] == len(value)


def test_a_record_has_an_end() -> None:
    many = {f"x/{number}": (None, "y" * 4000) for number in range(200)}
    encoded = replace(RECORD, changes=many).encode()
    assert len(encoded) <= LARGEST
    assert json.loads(encoded)["left_out"] == 200


def test_the_oldest_by_etcds_order_go() -> None:
    items = [
        Item(key=f"/kvm/_log/7/{200 - number:03}", value=b"", mod_revision=number)
        for number in range(KEPT + 5)
    ]
    gone = {one.key for one in change_record.outdated(items)}
    assert gone == {item.key for item in items[:6]}, "one more comes"
    assert change_record.outdated(items[: KEPT - 1]) == []


@pytest.mark.parametrize(
    "value", [b"", b"7", b"{}", b'{"changes": [], "who": {}}', b'{"changes": {"a": 1, "b": [1]}}']
)
def test_what_is_no_record_is_told_as_empty(value: bytes) -> None:
    found = change_record.decoded(value)
    assert found["changes"] == {}
    assert change_record.told(found)


def test_it_is_read_back() -> None:
    changed = replace(RECORD, why="new team", changes={"ram": ("1G", "2G")})
    found = change_record.decoded(changed.encode())
    assert change_record.told(found) == 'anna@laptop set: ram 1G -> 2G "new team"'


def test_what_others_wrote_moves_no_terminal() -> None:
    hostile = ChangeRecord(
        when="a\nb", who="\x1b[2J", place="x", what="y", changes={"a\tb": ("c\rd", None)}
    )
    assert change_record.told(change_record.decoded(hostile.encode())).isprintable()
