"""What an owner remembers of its own claims, however often its VM is started again in place."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.ownership.fencing import Fencing
from holdfast.ownership.taking import Taken
from holdfast.storage.ceph.cluster import Clients
from holdfast.storage.identity import UNCLAIMED
from holdfast.storage.image_claim import ImageClaim

IMAGE = "rbd/f51d/vms/7-root"


class Played:
    """Ceph, with one image."""

    stands = ""

    def swap_claims(self, old: Mapping[str, str], new: str) -> dict[str, str]:
        if old.get(IMAGE, "") == self.stands:
            self.stands = new
        return {IMAGE: self.stands}


def claim(clients: frozenset[str]) -> ImageClaim:
    return ImageClaim(
        tree="t",
        prefix="/kvm",
        vm="7",
        lock="/kvm/7/lock",
        epoch=1,
        host="a",
        clients=tuple(clients),
    )


def test_of_its_own_claims_the_one_that_stands_is_remembered() -> None:
    plan: Any = SimpleNamespace(
        images=(), cluster=None, claims={}, identities=UNCLAIMED, copies={}
    )
    hold: Any = SimpleNamespace(taken=Taken(epoch=1, tree="t"), image_claim=claim)
    keepalive: Any = SimpleNamespace()
    fencing = Fencing(plan, hold, keepalive, hold_on=True)
    ceph: Any = Played()
    for number in range(100):
        fencing._put_claim(ceph, frozenset({f"10.0.0.1:0/{number}"}))
    assert fencing._claimed == {ceph.stands}


SUSPECT, HEARD, OTHER = "10.0.0.1:0/1", "10.0.0.2:0/2", "10.0.0.3:0/3"


class Asked:
    """Ceph, with whom it has shut out."""

    def __init__(self, watchers: set[str], lockers: set[str]) -> None:
        self.there = Clients(watchers=frozenset(watchers), lockers=frozenset(lockers))
        self.shut: set[str] = set()

    def clients(self) -> Clients:
        return self.there

    def blocklist(self, addresses: frozenset[str], *_: object) -> bool:
        self.shut |= addresses
        return True


@pytest.mark.parametrize(
    ("watchers", "lockers", "copies", "shut"),
    [
        (set(), set(), {}, {SUSPECT}),
        (set(), set(), {4: (OTHER,)}, {SUSPECT}),
        ({HEARD}, set(), {}, {SUSPECT, HEARD}),
        ({HEARD, OTHER}, {HEARD, OTHER}, {}, {SUSPECT, HEARD}),
        (set(), {HEARD}, {}, {SUSPECT, HEARD}),
        (set(), set(), {4: (HEARD,)}, {SUSPECT, HEARD}),
    ],
)
def test_who_was_only_heard_of_is_shut_out_where_an_image_knows_him(
    watchers: set[str], lockers: set[str], copies: dict[int, tuple[str, ...]], shut: set[str]
) -> None:
    """A tenant may write any address where older launchers kept their record."""
    plan: Any = SimpleNamespace(
        images=(), cluster=None, claims={}, identities=UNCLAIMED, copies=copies
    )
    taken = Taken(epoch=1, tree="t", suspects=frozenset({SUSPECT}), heard=frozenset({HEARD}))
    hold: Any = SimpleNamespace(taken=taken)
    keepalive: Any = SimpleNamespace(confirm=lambda: None)
    ceph: Any = Asked(watchers, lockers)
    fencing = Fencing(plan, hold, keepalive, hold_on=True)
    assert fencing._round(ceph) == watchers - shut
    assert ceph.shut == shut
