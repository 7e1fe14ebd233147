"""The claim in an image's header object: read, and changed by compare-and-set.

The header is an object that no other image has: a copy or a clone gets one of its own, and only what
librbd knows goes over. An absent key compares as an empty value (Ceph: PrimaryLogPG, OMAP_CMP), and a
compare on an object that is not there fails, so nothing is ever made by it.
"""

from typing import Any

import rados

KEY = "holdfast.claim"


def claim_in(pool: Any, image_id: str) -> str:
    """The claim as it stands there; "" for none."""
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
