"""The records that say who may run a VM. No etcd in here, only values.

`lock` is bound to the lease, `epoch` is only ever raised, `fence` and the claims outlive their
writer: they are the last word on who may still write to a disk (docs/ownership.md). Where older
launchers kept them: `legacy`.
"""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum

from holdfast.dataclass import asdict, dataclass
from holdfast.errors import ConfigError, Fault, legible
from holdfast.etcd.record import (
    LONGEST,
    VERSION,
    Damaged,
    Newer,
    clients,
    decode,
    known,
    strings,
)
from holdfast.etcd.txn import Item, Reply
from holdfast.machine import Disk
from holdfast.ownership.names import Names

MOST_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Lock:
    """`id` is new for every attempt: it tells our own late request from somebody else's lock."""

    id: str
    host: str
    boot_id: str
    since: str


class ImageKind(StrEnum):
    """What keeps other hosts off a disk. A kind that is not here cannot be judged."""

    rbd = "rbd"  # Ceph's blocklist
    file = "file"  # the kernel of one machine
    shared = "shared"  # time


@dataclass(frozen=True, kw_only=True)
class Image:
    """A disk that may be written, with the id under which it is claimed: KIND/WHOSE/PLACE.

    >>> image = Image(disk="root", kind=ImageKind.rbd, id="rbd/2c61/vms/7")
    >>> image.fsid, image.place
    ('2c61', 'vms/7')
    """

    disk: str
    kind: ImageKind
    id: str

    @property
    def fsid(self) -> str:
        """The cluster of Ceph that has it, "" for a file."""
        return self.id.split("/")[1] if self.kind is ImageKind.rbd else ""

    @property
    def place(self) -> str:
        """Where it is in its cluster or on its machine: of an image in Ceph, as `rbd` names it."""
        return self.id.split("/", 2)[2]


def kind_of(claimed: str) -> ImageKind | None:
    """Tell the kind of disk that an id of a claim names; None for an address, or for what came later."""
    kind = claimed.partition("/")[0]
    return ImageKind(kind) if kind in ImageKind.__members__ else None


def of_kind(kind: ImageKind, claims: Mapping[str, str]) -> dict[str, str]:
    """Pick the claims on disks of one kind; they go by the disk's id."""
    return {claimed: text for claimed, text in claims.items() if kind_of(claimed) is kind}


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
    found = known(Image, data)
    disk, kind = found["disk"], found["kind"]
    if kind not in ImageKind.__members__:
        raise Newer(f"{disk} is a disk of kind {kind}")
    named, _, place = found["id"].partition("/")
    if named != kind or not place:
        raise Damaged(f"{disk} has no id of kind {kind}")
    return Image(disk=disk, kind=ImageKind(kind), id=found["id"])


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
        name: Image(disk=name, kind=ImageKind.file, id=f"file/{machine_id}/{files[name]}")
        for name in files
    }
    own |= {
        name: Image(disk=name, kind=ImageKind.shared, id=f"shared/{shared[name]}")
        for name in shared
    }
    return tuple(own.get(disk.name) or _in_ceph(disk, fsid) for disk in disks if disk.writable)


def _in_ceph(disk: Disk, fsid: str) -> Image:
    return Image(disk=disk.name, kind=ImageKind.rbd, id=f"rbd/{fsid}/{disk.backend}")


def clients_of(item: Item | None) -> frozenset[str]:
    """The storage clients that a fence record names."""
    return frozenset(decode_fence(item.value).clients) if item else frozenset()


def left_to_time(item: Item) -> bool:
    """Whether only time has stopped the owner that left this fence record."""
    return any(image.kind is ImageKind.shared for image in decode_fence(item.value).images)


def claimed_by(item: Item) -> list[str]:
    """The ids of what a fence record names: disks, and addresses of the LAN."""
    fence = decode_fence(item.value)
    return [*(image.id for image in fence.images), *fence.addresses]


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
