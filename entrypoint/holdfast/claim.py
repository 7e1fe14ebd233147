"""A disk that another VM has claimed: refused while that VM is there, taken from it when it is not."""

from dataclasses import dataclass

from holdfast.errors import ConfigError, Fault
from holdfast.host import Host
from holdfast.machine.disk import key_of
from holdfast.ownership import (
    Claim,
    Image,
    Names,
    barred,
    clients_of,
    decode_claim,
    left_to_time,
    number,
)
from holdfast.record import Unreadable
from holdfast.store import Store
from holdfast.txn import Item, Put, Range, Unchanged


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """What the transaction that takes a claim must compare and put besides."""

    compare: list[Unchanged]
    puts: list[Put]
    suspects: frozenset[str]  # storage clients that the other VM has left
    outlast: bool  # and writers whom only time has stopped


def take_over(store: Store, names: Names, host: Host, image: Image, owner: Claim) -> Takeover:
    """The other VM's epoch is raised in the same transaction: whoever held it may go on no more."""
    key = key_of(image.disk)
    theirs = Names.of(names.claims.removesuffix("/_claims/"), owner.vm, owner.lock)
    judged = (theirs.lock, theirs.epoch, theirs.fence)
    reply = store.read(*(Range(key=one) for one in judged))
    if theirs.lock in reply.items:
        raise ConfigError([Fault(key=key, value=image.id, rule=f"is in use by VM {owner.vm}")])
    fence = reply.items.get(theirs.fence)
    fsid = image.id.split("/")[1] if image.kind == "rbd" else ""
    if fault := barred(fence, host, fsid):
        raise ConfigError([Fault(key=key, rule=f"VM {owner.vm} left it: {fault.rule}")])
    epoch = number(reply.items.get(theirs.epoch)) + 1
    return Takeover(
        compare=[Unchanged(key=one, revision=reply.revision_of(one)) for one in judged],
        puts=[Put(key=theirs.epoch, value=str(epoch).encode())],
        suspects=clients_of(fence),
        outlast=left_to_time(fence),
    )


def claimant(item: Item, image: Image) -> Claim:
    try:
        return decode_claim(item.value)
    except Unreadable as error:
        rule = f"its claim {item.key} {error}"
        raise ConfigError([Fault(key=key_of(image.disk), rule=rule)]) from error


def belongs_to(item: Item, vm: str) -> bool:
    """Whether a claim is this VM's; one that cannot be read is nobody's to drop."""
    try:
        return decode_claim(item.value).vm == vm
    except Unreadable:
        return False
