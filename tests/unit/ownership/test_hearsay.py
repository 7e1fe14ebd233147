"""What a guest causes in etcd is little, and seldom."""

import json

from holdfast.ownership.hearsay import (
    LONGEST_NAME,
    MINUTE,
    MOST_ADDRESSES,
    MOST_BYTES,
    MOST_REMEMBERED,
    Allowance,
    addresses,
    names,
    remember,
)
from holdfast.runtime.status import Status, VmState


def test_invented_addresses_are_cut() -> None:
    invented = {
        f"nic{card}": [f"10.{card}.{n // 256}.{n % 256}" for n in range(35_000)]
        for card in range(20)
    }
    told = addresses(invented)
    assert max(map(len, told.values())) <= MOST_ADDRESSES
    assert len(json.dumps(list(told.values()), separators=(",", ":"))) < MOST_BYTES * 1.1
    assert told["nic0"][0] == "10.0.0.0"
    assert addresses({"a": ["10.0.0.1", "fd00::1"], "b": []}) == {"a": ["10.0.0.1", "fd00::1"]}


def test_a_burst_and_then_one_a_minute() -> None:
    allowance = Allowance(burst=3)
    assert [allowance.allows(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert not allowance.allows(MINUTE / 2)
    assert allowance.allows(MINUTE)
    assert not allowance.allows(MINUTE)
    hour = sum(allowance.allows(MINUTE + second) for second in range(3600))
    assert hour in {59, 60}
    assert [allowance.allows(10**6) for _ in range(5)] == [True, True, True, False, False]


def test_a_day_of_hearsay() -> None:
    """Of a guest that says something else at every look."""
    allowance = Allowance(burst=1)
    assert sum(allowance.allows(second) for second in range(0, 86_400, 3)) <= 86_400 / MINUTE + 1


def test_names_of_keys_are_shown_short_and_plain() -> None:
    shown = names(["a\n\x1b[2J", *(f"{n:03}" + "x" * 900_000 for n in range(40))])
    assert all(map(str.isprintable, shown))
    assert sum(map(len, shown)) < 4096
    assert shown[-1] == "and 9 more"


def test_what_the_guest_says_is_no_news_of_ours() -> None:
    status = Status(state=VmState.running)
    status.hear(addresses={"a": ["10.0.0.1"]})
    assert (status.news, status.hearsay) == (False, True)
    assert json.loads(status.value())["addresses"] == {"a": ["10.0.0.1"]}
    assert (status.news, status.hearsay) == (False, False)
    status.hear(addresses={"a": ["10.0.0.1"]})
    assert not status.hearsay


def test_names_of_keys_are_remembered_as_far_as_there_is_room() -> None:
    known: set[str] = set()
    for number in range(5):
        remember(known, [f"{number}/{n}" + "x" * 5000 for n in range(400)])
    assert len(known) == MOST_REMEMBERED
    assert max(map(len, known)) == LONGEST_NAME
