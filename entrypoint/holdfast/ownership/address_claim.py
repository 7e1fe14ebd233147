"""What must be one VM's alone in a LAN: a card's MAC, and the address that its keys give it.

Each is claimed as a disk is. But nobody can be shut out of a LAN: such a claim is never taken from
another VM, dead or alive. Whoever wants it waits, and says for whom.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from holdfast.dataclass import dataclass
from holdfast.etcd.record import Unreadable
from holdfast.etcd.txn import Item
from holdfast.machine import Nic
from holdfast.ownership.records import Claim, decode_claim


@dataclass(frozen=True, kw_only=True)
class Address:
    """`key` is where a person finds it, `id` the name under which it is claimed."""

    key: str
    id: str


def is_address(claimed: str) -> bool:
    """Tell the id of a claim on an address from that of a disk."""
    return claimed.startswith(("mac/", "address/"))


def addresses(nics: Iterable[Nic]) -> Iterator[Address]:
    """A MAC is unique in the tree, since VMs move; an address in its LAN: others may use it again."""
    for nic in nics:
        if not nic.parent:
            continue  # QEMU's own network, or none
        yield Address(key=f"nics/{nic.name}/mac", id=f"mac/{nic.mac}")
        lan = f"{nic.parent}.{nic.vlan}" if nic.vlan else nic.parent
        for one in nic.address:
            yield Address(key=f"nics/{nic.name}/address", id=f"address/{lan}/{one.ip}")


def taken(
    wanted: Iterable[Address], claims: Mapping[str, Item], prefix: str, ours: Collection[str]
) -> dict[Address, str]:
    """Those that another VM has, with what is to be said. `ours` are the VMs whose claims are ours to take."""
    found = {}
    for one in wanted:
        item = claims.get(prefix + one.id)
        if item is not None and (why := _why(one, item, ours)):
            found[one] = f"{one.key}: {why}"
    return found


def _why(one: Address, item: Item, ours: Collection[str]) -> str:
    try:
        owner = decode_claim(item.value)
    except Unreadable as error:
        return f"the claim {item.key} {error}"
    return "" if owner.vm in ours else _of(owner, one)


def _of(owner: Claim, one: Address) -> str:
    from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

    return (
        f"{one.id.rpartition('/')[2]} is VM {owner.vm}'s, and two in one LAN would take each other's answers. "
        f"If that VM is gone for good: {command(f'holdfast claim release {one.id} --yes')}"
    )


def owners(claims: Iterable[Item]) -> frozenset[str]:
    """The VMs that have claimed these; one that cannot be read is judged where it is taken."""
    return frozenset(_owner(item) for item in claims)


def _owner(item: Item) -> str:
    try:
        return decode_claim(item.value).vm
    except Unreadable:
        return ""
