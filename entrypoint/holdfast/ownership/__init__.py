"""The records that say who may run a VM, and what they mean. No etcd in here, only values.

`lock` is bound to the lease, `epoch` is only ever raised, `fence` and the claims outlive their
writer: they are the last word on who may still write to a disk. The protocol is in
docs/ownership.md; its compares are all needed. Where older launchers kept them: `legacy`.
"""

import json
from collections.abc import Iterable, Mapping
from enum import Enum, auto

from holdfast.dataclass import asdict, dataclass, field
from holdfast.errors import ConfigError, Fault, legible
from holdfast.etcd.record import (
    LONGEST,
    VERSION,
    Damaged,
    Newer,
    Unreadable,
    clients,
    decode,
    known,
    strings,
)
from holdfast.etcd.txn import Item, Reply
from holdfast.host import Host
from holdfast.machine import Disk
from holdfast.machine.disk import key_of

KINDS = frozenset({"rbd", "file", "shared"})  # of disks: a kind that is not here cannot be judged
MOST_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class LegacyNames:
    """Where launchers up to November's kept what they wrote: among the VM's own keys, which are its tenant's."""

    epoch: str
    fence: str
    pinned: str
    tpm: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Names:
    """The keys of one VM's ownership. Of those below `vm`, the definition, launchers write lock and power."""

    vm: str  # prefix
    own: str  # prefix
    lock: str
    epoch: str
    fence: str
    pinned: str
    status: str
    last: str
    tpm: str
    power: str
    host: str
    claims: str  # prefix
    tree: str
    legacy: LegacyNames

    @classmethod
    def of(cls, prefix: str, vm: str, lock: str) -> "Names":
        keys, own = f"{prefix}/{vm}/", f"{prefix}/_own/{vm}/"
        return cls(
            vm=keys,
            own=own,
            lock=lock,
            epoch=f"{own}epoch",
            fence=f"{own}fence",
            pinned=f"{own}pinned",
            status=f"{prefix}/_run/{vm}",
            last=f"{prefix}/_last/{vm}",
            tpm=f"{prefix}/_secret/{vm}/tpm",
            power=f"{keys}power",
            host=f"{keys}host",
            claims=f"{prefix}/_claims/",
            tree=f"{prefix}/_id",
            legacy=LegacyNames(
                epoch=f"{keys}epoch",
                fence=f"{keys}fence",
                pinned=f"{keys}pinned",
                tpm=f"{keys}secret/tpm",
                last=f"{keys}last",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Lock:
    """`id` is new for every attempt: it tells our own late request from somebody else's lock."""

    id: str
    host: str
    boot_id: str
    since: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """A disk that may be written: `kind` is `rbd`, `file`, or `shared` where only time guards it."""

    disk: str
    kind: str
    id: str


@dataclass(frozen=True, kw_only=True)
class FencingRecord:
    """Who may be writing. It stays when its writer dies, and goes when it has stopped cleanly.

    `tree` is the id under which its writer claimed its images: an etcd that has lost its data gets
    another one, and the record may be written back there.
    """

    epoch: int
    host: str
    boot_id: str
    machine_id: str
    images: tuple[Image, ...] = ()
    clients: tuple[str, ...] = ()  # addresses of the storage clients, as Ceph lists them
    # Clients that an older launcher's record named, where a tenant may have written it: see Fencing._believed.
    heard: tuple[str, ...] = ()
    # Claimed in the LAN; who passes over them leaves a claim behind.
    addresses: tuple[str, ...] = ()
    tree: str = ""
    version: int = VERSION


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The VM that a disk belongs to while it may be written."""

    vm: str
    lock: str
    epoch: int
    machine_id: str
    version: int = VERSION


def encode(record: Lock | FencingRecord | Claim) -> bytes:
    return json.dumps(asdict(record), separators=(",", ":")).encode()


def decode_fence(value: bytes) -> FencingRecord:
    """The record; raises Unreadable."""
    data = decode(FencingRecord, value)
    found = data.pop("images", [])
    if not isinstance(found, list) or len(found) > MOST_IMAGES:
        raise Damaged("no list of images")
    images = tuple(_decoded_image(image) for image in found)
    found = {
        "clients": clients(data.pop("clients", [])),
        "heard": clients(data.pop("heard", [])),
        "addresses": strings(data.pop("addresses", [])),
    }
    return FencingRecord(**{**data, "images": images, **found})


def _decoded_image(data: object) -> Image:
    image = Image(**known(Image, data))
    if image.kind not in KINDS:
        raise Newer(f"{image.disk} is a disk of kind {image.kind}")
    kind, _, place = image.id.partition("/")
    if kind != image.kind or not place:
        raise Damaged(f"{image.disk} has no id of kind {image.kind}")
    return image


def decode_claim(value: bytes) -> Claim:
    """The claim; raises Unreadable."""
    return Claim(**decode(Claim, value))


def images(
    disks: Iterable[Disk],
    *,
    machine_id: str,
    fsid: str,
    files: Mapping[str, str],
    shared: Mapping[str, str],
) -> tuple[Image, ...]:
    """The disks that this VM may write to, each with the id under which it is claimed.

    An image is known by its name in one cluster, a file (`files`, by the disk's name) by what the
    kernel of one machine knows it by: containers have names of their own for it. What several
    machines reach (`shared`) goes by a name that they all know.
    """
    own = {
        name: Image(disk=name, kind="file", id=f"file/{machine_id}/{files[name]}")
        for name in files
    }
    own |= {name: Image(disk=name, kind="shared", id=f"shared/{shared[name]}") for name in shared}
    return tuple(own.get(disk.name) or _in_ceph(disk, fsid) for disk in disks if disk.writable)


def _in_ceph(disk: Disk, fsid: str) -> Image:
    return Image(disk=disk.name, kind="rbd", id=f"rbd/{fsid}/{disk.backend}")


def barred(item: Item | None, host: Host, fsid: str) -> Fault | None:
    """Why the disks of an owner that did not stop cleanly may not be taken by `host`.

    `item` is the fence record that it left, None where it left none; `fsid` is the cluster of Ceph
    that we speak to, "" for none.
    """
    if item is None:
        return None
    try:
        fence = decode_fence(item.value)
    except Unreadable as error:
        return Fault(key=item.key, rule=str(error))
    faults = (_bar(fence, image, host, fsid) for image in fence.images)
    return next(filter(None, faults), None)


def _bar(fence: FencingRecord, image: Image, host: Host, fsid: str) -> Fault | None:
    if image.kind == "rbd" and image.id.split("/")[1] != fsid:
        rule = (
            f"{fence.host} ran this VM last and did not stop cleanly: its QEMU may still write to "
            f"{image.id}, and the VM's keys name no image of that cluster any more, where it could "
            "be shut out"
        )
    elif image.kind == "file" and not host.wrote(fence.machine_id, fence.boot_id):
        rule = (
            f"{image.id} is a file on {fence.host}, which did not stop cleanly: only that machine "
            "may go on with it"
        )
    else:
        return None
    return Fault(key=key_of(image.disk), rule=rule)


def clients_of(item: Item | None) -> frozenset[str]:
    """The storage clients that a fence record names."""
    return frozenset(decode_fence(item.value).clients) if item else frozenset()


def left_to_time(item: Item) -> bool:
    """Whether only time has stopped the owner that left this fence record."""
    return any(image.kind == "shared" for image in decode_fence(item.value).images)


def claimed_by(item: Item) -> list[str]:
    """The ids of what a fence record names: disks, and addresses of the LAN."""
    fence = decode_fence(item.value)
    return [*(image.id for image in fence.images), *fence.addresses]


class Verdict(Enum):
    """What a look at etcd tells the holder."""

    held = auto()
    vacant = auto()  # our lock is gone, nobody has taken the VM: take the lock again, or stop
    contested = auto()  # somebody has the lock and has not raised the epoch yet: wait, or stop
    outdated = auto()  # etcd knows less than we: restored, or wiped. Nobody newer is known to it
    lost = auto()  # the epoch has moved on: another owner


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What makes us the owner: the revisions at which we wrote lock and epoch, of which every compare is
    made, and what we wrote. The revisions of an etcd that was wiped may come to be the same again.
    """

    lock: int
    epoch: int
    owner: bytes = field(default=b"", repr=False)
    number: int = 0


def judge(reply: Reply, names: Names, ours: Standing) -> Verdict:
    """The epoch decides; the lock only says who may raise it. It is only ever raised: a lower one, or
    none, is older data and no newer owner. A number in an older launcher's place, where we have left none,
    is such a one's that has taken the VM; or its tenant's, who harms nobody else.
    """
    known, legacy = _epoch(reply.items.get(names.epoch)), _older(reply, names)
    if known is None:
        return Verdict.contested  # nobody can say whose it is
    if known > ours.number:
        return Verdict.lost
    if known < ours.number or reply.revision_of(names.epoch) != ours.epoch:
        return Verdict.lost if legacy > ours.number else Verdict.outdated
    lock = reply.items.get(names.lock)
    if lock is None:
        return Verdict.contested if legacy else Verdict.vacant
    ours_still = lock.mod_revision == ours.lock and lock.value == ours.owner
    return Verdict.held if ours_still else Verdict.contested


def _epoch(item: Item | None) -> int | None:
    try:
        return number(item)
    except ConfigError:
        return None


def _older(reply: Reply, names: Names) -> int:
    """The epoch as an older launcher wrote it; 0 for what is no number."""
    item = reply.items.get(names.legacy.epoch)
    text = item.value[:64].strip() if item else b""
    return int(text) if text.isdigit() else 0


def vm_of(names: Names) -> str:
    return names.fence.split("/")[-2]


def tree_of(seen: Reply, names: Names) -> str:
    """The id of this tree of keys; "" where it has none yet."""
    item = seen.items.get(names.tree)
    return item.value[:64].decode(errors="replace") if item else ""


def trees_of(seen: Reply, names: Names) -> frozenset[str]:
    """The ids by which images may be claimed for VMs of this tree: its own, and the one that the last
    owner wrote into its record.
    """
    left = seen.items.get(names.fence)
    return frozenset({tree_of(seen, names), decode_fence(left.value).tree if left else ""} - {""})


def decode_lock(value: bytes) -> str:
    """The host that holds a lock, for people; also of a lock that an older launcher wrote."""
    try:
        return legible(str(json.loads(value[:LONGEST])["host"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return legible(value[:64].decode(errors="replace")) or "another host"


def number(item: Item | None) -> int:
    """An epoch; a VM that never ran has 0."""
    if item is None:
        return 0
    text = item.value[:64].decode("ascii", errors="replace").strip()
    if text.isascii() and text.isdecimal() and len(text) < 20:  # noqa: PLR2004 - 2**63
        return int(text)
    fault = Fault(key=item.key, value=text, rule="must be a number")
    raise ConfigError([fault], hint="Holdfast writes it; nobody else should")
