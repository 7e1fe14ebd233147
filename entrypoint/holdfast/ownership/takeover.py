"""A disk that another VM has claimed: refused while that VM is there, taken from it when it is not."""

import contextlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from holdfast.dataclass import dataclass
from holdfast.errors import ConfigError, Fault
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Item, Put, Range, Reply, Unchanged
from holdfast.host import Host
from holdfast.machine import Disk, Machine
from holdfast.machine.disk import key_of
from holdfast.ownership import legacy
from holdfast.ownership.names import Names
from holdfast.ownership.records import (
    Claim,
    Image,
    ImageKind,
    clients_of,
    decode_claim,
    kind_of,
    left_to_time,
    trees_of,
)
from holdfast.ownership.verdict import Obstacle, barred
from holdfast.storage import image_claim
from holdfast.storage.image_claim import ImageClaim

if TYPE_CHECKING:
    from holdfast.storage.ceph.cluster import Cluster
    from holdfast.storage.ceph.keyring import Keyring
    from holdfast.storage.identity import Identities

SOON = 10.0  # seconds: nobody tells when a claim in Ceph goes


class Disks(Protocol):
    """Of a plan, what the protocol reads: a VM's disks, and what stands in them."""

    @property
    def machine(self) -> Machine: ...
    @property
    def disks(self) -> tuple[Disk, ...]: ...
    @property
    def images(self) -> tuple[Image, ...]: ...
    @property
    def identities(self) -> "Identities": ...
    @property
    def claims(self) -> Mapping[str, str]: ...
    @property
    def copies(self) -> Mapping[int, tuple[str, ...]]: ...
    @property
    def ceph(self) -> "Keyring | None": ...
    @property
    def cluster(self) -> "Cluster | None": ...


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """What the transaction that takes a claim must compare and put besides."""

    compare: list[Unchanged]
    puts: list[Put]
    suspects: frozenset[str]  # storage clients that the other VM has left,
    heard: frozenset[str]  # those of whom that is not certain,
    outlast: bool  # and writers whom only time has stopped


def take_over(
    store: Store, names: Names, host: Host, image: Image, owner: Claim | ImageClaim
) -> Takeover:
    """The other VM's epoch is raised in the same transaction, where it stands: whoever held it, of whatever
    version, may go on no more.
    """
    key = key_of(image.disk)
    theirs = Names.of(names.prefix, owner.vm, owner.lock)
    # A claim that stands in an image or beside a file may be forged, and with it where its lock is: those in etcd,
    # on its other disks, know one that `LOCK` has put elsewhere.
    elsewhere = _locks_of(store, names, owner.vm) if isinstance(owner, ImageClaim) else ()
    living = (theirs.lock, f"{theirs.keys}lock", *elsewhere)
    records = (theirs.epoch, theirs.fence, theirs.legacy.epoch, theirs.legacy.fence)
    judged = tuple(dict.fromkeys((*living, *records)))
    reply = store.read(*(Range(key=one) for one in judged))
    if any(key in reply.items for key in living):
        rule = f"is in use by VM {owner.vm}: stop that one first, or name another disk"
        raise ConfigError([Fault(key=key, value=image.id, rule=rule)])
    fences = legacy.fences(reply, theirs)
    if fault := next(filter(None, (barred(fence, host, image.fsid) for fence in fences)), None):
        raise ConfigError([_left_barred(key, owner.vm, fault)])
    epoch = str(legacy.epoch(reply, theirs) + 1).encode()
    places = [theirs.legacy.epoch] if legacy.older(reply, theirs) else []
    if theirs.epoch in reply.items or not places:
        places.append(theirs.epoch)
    return Takeover(
        compare=[Unchanged(key=one, revision=reply.revision_of(one)) for one in judged],
        puts=[Put(key=place, value=epoch) for place in places],
        suspects=clients_of(reply.items.get(theirs.fence)),
        heard=legacy.heard(reply, theirs),
        outlast=any(map(left_to_time, fences)),
    )


def _locks_of(store: Store, names: Names, vm: str) -> list[str]:
    found = set()
    for item in store.read(Range(key=names.claims, prefix=True)).items.values():
        with contextlib.suppress(Unreadable):  # nobody's, as far as can be told
            claim = decode_claim(item.value)
            found |= {claim.lock} if claim.vm == vm else set()
    return sorted(found)


def _left_barred(key: str, owner: str, fault: Fault) -> Fault:
    from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

    way = command(f"holdfast fence forget {owner} --yes")
    return Fault(
        key=key, rule=f"VM {owner} left it: {fault.rule}. If that owner is dead for certain: {way}"
    )


def judge_images(store: Store, names: Names, host: Host, made: Disks, seen: Reply) -> None:
    """What stands in the images themselves, before etcd's word is believed. Raises Obstacle, or ConfigError
    for an image of another VM of this tree that is running.
    """
    if not (made.claims or made.copies):
        return
    vm, claims = names.vm, claims_of(made)
    if found := image_claim.foreign(claims, trees_of(seen, names)):
        theirs, why = found
        raise Obstacle(f"{why}. If no host runs that VM: {_way_on(made, theirs)}", SOON)
    for image in made.images:
        if (claim := claims.get(image.id)) and claim.vm != vm:
            take_over(store, names, host, image, claim)
    epoch, newest = legacy.epoch(seen, names), image_claim.newest(claims, vm)
    if newest > epoch:
        raise Obstacle(
            f"the images know of epoch {newest}, etcd of {epoch}: etcd's data is older than the VM. "
            f"If no host runs it: etcdctl put {names.epoch} {newest}",
            SOON,
        )
    known = clients_of(seen.items.get(names.fence)) | legacy.heard(seen, names)
    _judge_copies(made, known)


def _way_on(made: Disks, image: str) -> str:
    """The claim in an image has a command; the one beside a file is a folder."""
    from shlex import quote  # noqa: PLC0415 - only for this advice

    if kind_of(image) is ImageKind.rbd:
        from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

        return command(f"holdfast claim release {quote(image)} --yes")
    disk = next(one.disk for one in made.images if one.id == image)
    path = PurePosixPath(next(str(one.backend) for one in made.disks if one.name == disk))
    return f"rm -r {quote(str(path.with_name(f'.{path.name}.holdfast-claim')))}"


def _judge_copies(made: Disks, known: frozenset[str]) -> None:
    """An older launcher's copy of its record does not say of which image it is, and a clone has it from its
    parent. So it counts only for what etcd knows, too. It names one more than etcd's record: the process that
    wrote it, and has closed since.
    """
    strange = sorted(
        epoch for epoch, clients in made.copies.items() if clients and known.isdisjoint(clients)
    )
    if not strange:
        return
    copies = ", ".join(f"holdfast.fence.{epoch}" for epoch in strange)
    image = next(image.place for image in made.images if image.kind is ImageKind.rbd)
    raise Obstacle(
        f"the metadata of this VM's images holds {copies}, by an older Holdfast, with clients of whom etcd's record "
        "of this VM names none: it came along with a clone or a copy of another VM's disk, or etcd's "
        "data is older than the VM. If no host runs this VM, remove it from each of its images: "
        f"rbd image-meta remove {image} holdfast.fence.{strange[0]}"
    )


def claims_of(made: Disks) -> dict[str, ImageClaim]:
    """The claims that stand in the VM's images, by the image's id."""
    try:
        return image_claim.decoded({image: text for image, text in made.claims.items() if text})
    except Unreadable as error:
        raise Obstacle(str(error)) from error


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
