"""The volume in Ceph that another one is made from: its snapshot, taken while nobody writes to it."""

import time
from typing import Any

import rbd

from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.ceph.librbd_claim import claim_in, claimants, writers
from holdfast.storage.ceph.librbd_unfinished import drop_snapshot

# Seconds for others who make a volume from this one: a snapshot is a write, and takes the image's lock for a moment.
MOMENT = 10.0
LOOK = 0.2  # seconds between two looks at them


def snapshot_of(
    pool: Any, name: str, snapshot: str, image: ImageRef, *, in_use: bool
) -> dict[str, Any]:
    """Make a protected snapshot; `in_use`: also while somebody writes to it. Returns what speaks
    against it, a `rule` or `writers`, or nothing.
    """
    claim, found = ("", {}) if in_use else _still(pool, name, image.claim)
    if found:
        return {"writers": found}
    with rbd.Image(pool, name) as opened:
        if image.size and opened.size() > image.size:
            return {"rule": f"has {opened.size()} bytes, more than size says"}
        drop_snapshot(opened, snapshot)
        opened.create_snap(snapshot)
        # A VM puts its claim before it writes: of one that came after our look, the snapshot may have half a write.
        if not in_use and (now := claim_in(pool, opened.id())) not in ("", claim):
            drop_snapshot(opened, snapshot)
            return {"writers": {"addresses": [], "claim": now}}
        opened.protect_snap(snapshot)
    return {}


def _still(pool: Any, name: str, ours: str) -> tuple[str, dict[str, Any]]:
    """The claim, and who writes. Our own VM's disks are open nowhere: it is not up yet."""
    until = time.monotonic() + MOMENT
    while True:
        with rbd.Image(pool, name, read_only=True) as opened:
            claim = claim_in(pool, opened.id())
            found = {} if ours and claim == ours else writers(pool, opened)
        if not found or _is_a_vm(found) or time.monotonic() > until:
            return claim, found
        time.sleep(LOOK)


def _is_a_vm(found: dict[str, Any]) -> bool:
    """It will not be gone in a moment."""
    clients = claimants(found["claim"])
    return clients is None or not clients.isdisjoint(found["addresses"])
