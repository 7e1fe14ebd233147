"""The claim on an image in Ceph, which stands in the image itself.

A claim in etcd ends where its tree of keys does: another KEY_PREFIX, another etcd, or an etcd that has
lost its data knows nothing of it. This one is in the header object of the image, so whoever opens the
image can see it. It is changed by compare-and-set only (storage/ceph/librbd_claim.py), it goes with the
image, follows its renaming, and no copy, clone or export carries it along.
"""

import json
from collections.abc import Iterable, Mapping

from holdfast.dataclass import asdict, dataclass
from holdfast.errors import legible
from holdfast.etcd.record import VERSION, Damaged, Unreadable, clients, decode


@dataclass(frozen=True, kw_only=True)
class ImageClaim:
    """`tree` is the tree of keys (`_id` in etcd), `prefix` where it stands, for people; `clients` are
    those who may be writing to the image.
    """

    tree: str
    prefix: str
    vm: str
    lock: str
    epoch: int
    host: str
    clients: tuple[str, ...] = ()
    version: int = VERSION

    def __str__(self) -> str:
        where = f"the tree {self.prefix} with the id {self.tree}"
        return f"VM {self.vm} of {where} (epoch {self.epoch}, on {self.host})"


def encode(claim: ImageClaim) -> str:
    return json.dumps(asdict(claim), separators=(",", ":"))


def decode_claim(text: str) -> ImageClaim:
    """Read a claim; raises Unreadable."""
    data = decode(ImageClaim, text.encode())
    claim = ImageClaim(**{**data, "clients": clients(data.pop("clients", []))})
    texts = (claim.tree, claim.prefix, claim.vm, claim.lock, claim.host)
    if not all(type(one) is str for one in texts) or "/" in claim.vm or not claim.vm:
        raise Damaged("no claim of a VM")
    if type(claim.epoch) is not int:
        raise Damaged("no epoch")
    return claim


def claimant(text: str) -> str:
    """Say whose a claim is, for people."""
    try:
        return str(decode_claim(text))
    except Unreadable:
        return legible(text) or "somebody who has not claimed it"


def decoded(texts: Mapping[str, str]) -> dict[str, ImageClaim]:
    """Read claims by image; raises Unreadable, which names the image."""
    found = {}
    for image, text in texts.items():
        try:
            found[image] = decode_claim(text)
        except Unreadable as error:
            raise Unreadable(f"the claim in image {image} {error}") from error
    return found


def foreign(claims: Mapping[str, ImageClaim], trees: Iterable[str]) -> tuple[str, str] | None:
    """Find the image from which another tree's VM bars us, and why.

    `trees` are the ids by which our own VMs go: that of the tree, and that which the last owner knew it by.
    """
    known = frozenset(trees)
    for image, claim in claims.items():
        if claim.tree not in known:
            return image, (
                f"{image} belongs to {claim}, which has not let go of it. That tree is in another etcd "
                "or under another KEY_PREFIX, or this etcd has lost its data"
            )
    return None


def newest(claims: Mapping[str, ImageClaim], vm: str) -> int:
    """Find the highest epoch that the images know of this VM."""
    return max((claim.epoch for claim in claims.values() if claim.vm == vm), default=0)


def clients_of(claims: Mapping[str, ImageClaim]) -> frozenset[str]:
    return frozenset(client for claim in claims.values() for client in claim.clients)
