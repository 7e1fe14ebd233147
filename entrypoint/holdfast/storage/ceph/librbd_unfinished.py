"""An image that is on its way: under a name of its own until it is whole, marked and claimed."""

import contextlib
import os
from typing import Any

import rbd

from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.ceph.librbd_claim import claim_in, swap_claim
from holdfast.storage.image_claim import decode_claim

UNFINISHED = ".importing"
MARK = "holdfast.volume"  # the metadata key of a volume's id; its value names the image, too


class Claimed(Exception):
    """The image is there by somebody else's hand; the claim in it, "" for none."""


def blank(pool: Any, stem: str, image: ImageRef) -> str:
    """Free the name, and return it: what a start that was killed has left there goes.

    Each tree of keys has a name of its own for it. Within one the VM's lock lets one launcher at a time make a
    volume, with those before it shut out; but a maker of another tree may be half way, and would give
    the volume's name to what we had begun.
    """
    claim = image.claim
    maker = decode_claim(claim).tree[:8] if claim else os.urandom(4).hex()
    name = f"{stem}.{maker}{UNFINISHED}"
    with contextlib.suppress(rbd.ImageNotFound):
        remove(pool, name)
    return name


def name_it(pool: Any, new: str, image: ImageRef) -> None:
    """Give the name last of all: what has it is whole, bears its id, and is ours by its own word,
    for who finds it next may be another tree's launcher. A rename never replaces anything.
    """
    with rbd.Image(pool, new) as opened:
        bear(opened, image)
        if image.claim:
            swap_claim(pool, opened.id(), "", image.claim)
    try:
        rbd.RBD().rename(pool, new, image.image)
    except rbd.ImageExists as error:
        remove(pool, new)
        with rbd.Image(pool, image.image, read_only=True) as opened:
            raise Claimed(claim_in(pool, opened.id())) from error


def bear(opened: Any, image: ImageRef) -> None:
    if image.mark:
        opened.metadata_set(MARK, f"{image.mark} {opened.id()}")


def mark_of(opened: Any) -> str:
    """Read the mark. Clones and copies take it along: one may name another image."""
    mark, _, own = dict(opened.metadata_list()).get(MARK, "").partition(" ")
    return str(mark) if own == opened.id() else ""


def remove(pool: Any, name: str) -> None:
    with rbd.Image(pool, name) as opened:
        for snapshot in [one["name"] for one in opened.list_snaps()]:
            drop_snapshot(opened, snapshot)
    rbd.RBD().remove(pool, name)


def drop_snapshot(opened: Any, name: str) -> None:
    if name in [one["name"] for one in opened.list_snaps()]:
        if opened.is_protected_snap(name):
            opened.unprotect_snap(name)
        opened.remove_snap(name)
