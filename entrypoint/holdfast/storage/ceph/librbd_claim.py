"""The claim in an image's header object: read, and changed by compare-and-set.

The header is an object that no other image has: a copy or a clone gets one of its own, and only what
librbd knows goes over. An absent key compares as an empty value (Ceph: PrimaryLogPG, OMAP_CMP), and a
compare on an object that is not there fails, so nothing is ever made by it.
"""

from typing import Any

import rados

from holdfast.etcd.record import Unreadable
from holdfast.storage.image_claim import decode_claim

KEY = "holdfast.claim"


def writers(pool: Any, opened: Any) -> dict[str, Any]:
    """Find who writes to an image: the addresses, and the claim that stands there; {} for nobody.

    To watch an image says nothing: QEMU opens what it only reads as it opens what it writes to. A writer is a
    client of the VM that has claimed it, or holds the exclusive lock, which the first write takes.
    """
    watching = {one["addr"] for one in opened.watchers_list()}
    if not watching:
        return {}
    claim = claim_in(pool, opened.id())
    locking = {address for _, _, address in lockers(opened)}
    found = watching if (clients := claimants(claim)) is None else watching & (clients | locking)
    return {"addresses": sorted(found), "claim": claim} if found else {}


def lockers(opened: Any) -> list[tuple[str, str, str]]:
    """List client, cookie, address. librbd gives an empty list, or a dictionary."""
    found = opened.list_lockers()
    return list(found["lockers"]) if found else []


def claimants(claim: str) -> frozenset[str] | None:
    """Name the clients of a claim. None: it is a newer launcher's, and does not say so to us."""
    try:
        return frozenset(decode_claim(claim).clients if claim else ())
    except Unreadable:
        return None


def claim_in(pool: Any, image_id: str) -> str:
    """Read the claim as it stands there; "" for none."""
    with rados.ReadOpCtx() as operation:
        found, _ = pool.get_omap_vals_by_keys(operation, (KEY,))
        pool.operate_read_op(operation, _header(image_id))
        return str(dict(found).get(KEY, b"").decode(errors="replace"))


def swap_claim(pool: Any, image_id: str, old: str, new: str) -> str:
    """Put `new` in the place of `old` ("" is none, for both). Returns what stands there then."""
    with rados.WriteOpCtx() as operation:
        operation.omap_cmp(KEY, old, rados.LIBRADOS_CMPXATTR_OP_EQ)
        if new:
            pool.set_omap(operation, (KEY,), (new.encode(),))
        else:
            pool.remove_omap_keys(operation, (KEY,))
        try:
            pool.operate_write_op(operation, _header(image_id))
        except rados.ObjectNotFound:
            raise
        except (rados.Error, OSError):
            # ECANCELED, which python-rados has no class for; or a failure, which the read shows.
            return claim_in(pool, image_id)
        return new


def _header(image_id: str) -> str:
    return f"rbd_header.{image_id}"
