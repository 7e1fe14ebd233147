"""What a tenure remembers of its own claims, however often its VM is started again in place."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from holdfast.fence import Fence
from holdfast.image_claim import ImageClaim

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
    plan: Any = SimpleNamespace(images=(), cluster=None, claims={})
    hold: Any = SimpleNamespace(suspects=frozenset(), image_claim=claim)
    keeper: Any = SimpleNamespace()
    fence = Fence(plan, hold, keeper, hold_on=True)
    ceph: Any = Played()
    for number in range(100):
        fence._put_claim(ceph, frozenset({f"10.0.0.1:0/{number}"}))
    assert fence._claimed == {ceph.stands}
