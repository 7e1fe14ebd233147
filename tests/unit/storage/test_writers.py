"""Who writes to an image that a VM would read."""

import pytest

from holdfast.storage.image_claim import ImageClaim, encode
from holdfast.storage.writers import Writers, Written

A, B = "10.0.0.1:0/1", "10.0.0.2:0/2"
CLAIM = encode(
    ImageClaim(
        tree="t1", prefix="/kvm", vm="7", lock="/kvm/7/lock", epoch=3, host="h", clients=(A,)
    )
)


@pytest.mark.parametrize(
    ("addresses", "claim", "said"),
    [
        ((A,), CLAIM, f"VM 7 of the tree /kvm with the id t1 (epoch 3, on h), from {A}"),
        ((A, B), CLAIM, f"VM 7 of the tree /kvm with the id t1 (epoch 3, on h), from {A}, {B}"),
        ((B,), CLAIM, f"{B}, which no record names"),  # it is a dead VM's
        ((B,), "", f"{B}, which no record names"),
        ((), CLAIM, "VM 7 of the tree /kvm with the id t1 (epoch 3, on h)"),
        ((B,), '{"version":9}', f'{B}, by the claim {{"version":9}}'),
    ],
)
def test_they_are_named(addresses: tuple[str, ...], claim: str, said: str) -> None:
    assert str(Writers(addresses=addresses, claim=claim)) == said


@pytest.mark.parametrize(
    ("addresses", "claim", "vm", "tree", "so"),
    [
        ((A,), CLAIM, "7", "t1", True),
        ((A,), CLAIM, "8", "t1", False),
        ((A,), CLAIM, "7", "t2", False),
        ((A, B), CLAIM, "7", "t1", False),
        ((B,), CLAIM, "7", "t1", False),
        ((A,), "", "7", "t1", False),
        ((A,), '{"version":9}', "7", "t1", False),
    ],
)
def test_what_a_vm_itself_has_left(
    addresses: tuple[str, ...], claim: str, vm: str, tree: str, so: bool
) -> None:
    assert Writers(addresses=addresses, claim=claim).are_of(vm, {tree, "t0"}) is so


def test_a_reader_is_told_where_and_what_to_do() -> None:
    found = Written(key="disks/iso", image="rbd/x", writers=Writers(addresses=(B,)))
    assert str(found).startswith(f"disks/iso: rbd/x is in use by {B}, which no record names. ")
    assert "stop that one first" in str(found)
