"""What two VMs in one LAN must not both have."""

from ipaddress import ip_interface

import pytest

from holdfast.etcd.txn import Item
from holdfast.machine import Nic, NicMode
from holdfast.ownership import address_claim
from holdfast.ownership.address_claim import Address, addresses, taken
from holdfast.ownership.records import Claim, encode

MAC = "52:54:00:aa:bb:cc"
CLAIMED = Address(key="nics/nic0/mac", id=f"mac/{MAC}")
PREFIX = "/kvm/_claims/"


def nic(**given: object) -> Nic:
    fields: dict[str, object] = {"name": "nic0", "mode": NicMode.bridge, "mac": MAC, **given}
    return Nic(**fields)  # type: ignore[arg-type]


ADDRESSES = (ip_interface("10.77.0.5/24"), ip_interface("fd00:77::5/64"))


@pytest.mark.parametrize(
    ("card", "ids"),
    [
        pytest.param(nic(bridge="br0"), [f"mac/{MAC}"], id="on a bridge"),
        pytest.param(
            nic(bridge="br0", address=ADDRESSES),
            [f"mac/{MAC}", "address/br0/10.77.0.5", "address/br0/fd00:77::5"],
            id="with addresses of its own",
        ),
        pytest.param(
            nic(bridge="br0", vlan=10, address=ADDRESSES[:1]),
            [f"mac/{MAC}", "address/br0.10/10.77.0.5"],
            id="a VLAN is a LAN of its own",
        ),
        pytest.param(nic(mode=NicMode.macvtap, device="eth0"), [f"mac/{MAC}"], id="macvtap"),
        pytest.param(nic(mode=NicMode.user, address=ADDRESSES), [], id="QEMU's own network"),
        pytest.param(nic(mode=NicMode.none), [], id="no cable"),
    ],
)
def test_what_a_card_claims(card: Nic, ids: list[str]) -> None:
    assert [one.id for one in addresses([card])] == ids


def item(vm: str, one: Address = CLAIMED) -> Item:
    claim = Claim(vm=vm, lock=f"/kvm/{vm}/lock", epoch=1, machine_id="m")
    return Item(key=PREFIX + one.id, value=encode(claim), mod_revision=1)


def test_what_another_vm_has_is_named_with_it() -> None:
    found = taken([CLAIMED], {PREFIX + CLAIMED.id: item("cp1")}, PREFIX, {"cp2"})
    assert "nics/nic0/mac: 52:54:00:aa:bb:cc is VM cp1's" in found[CLAIMED]
    assert f"holdfast claim release {CLAIMED.id} --yes" in found[CLAIMED]


@pytest.mark.parametrize("ours", [{"cp1"}, {"cp2", "cp1"}])
def test_what_is_ours_or_comes_with_a_disk_is_not(ours: set[str]) -> None:
    assert not taken([CLAIMED], {PREFIX + CLAIMED.id: item("cp1")}, PREFIX, ours)
    assert not taken([CLAIMED], {}, PREFIX, ours)


def test_a_claim_that_cannot_be_read_is_nobodys_to_take() -> None:
    damaged = Item(key=PREFIX + CLAIMED.id, value=b"{", mod_revision=1)
    assert "damaged" in taken([CLAIMED], {damaged.key: damaged}, PREFIX, {"cp2"})[CLAIMED]


def test_the_owners_of_claims() -> None:
    damaged = Item(key="x", value=b"{", mod_revision=1)
    assert address_claim.owners([item("cp1"), item("cp2"), damaged]) == {"cp1", "cp2", ""}
