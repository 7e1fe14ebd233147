"""The process that speaks to Ceph for the launcher: a JSON request a line in, an answer a line out.

librados starts a dozen threads, takes 40 MiB, and may hang in a dead cluster. So it lives in a
process of its own, `python3 -m holdfast.storage.ceph.librbd`, from the first question until the guest
runs. Images are opened read-only, which leaves no trace on them, until the fence record names this
process: from then on it may make volumes and grow them. The claims alone are changed before, by
compare-and-set: one that arrives late compares a claim that is not there any more.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import rados
import rbd

from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.ceph.librbd_claim import lockers, swap_claim
from holdfast.storage.ceph.librbd_images import Images
from holdfast.storage.ceph.librbd_inspection import COPY, DENIED, Inspector
from holdfast.storage.ceph.librbd_unfinished import Claimed
from holdfast.storage.ceph.librbd_volume import Tell, Volumes

# connect(timeout=) is not honoured by librados; these are (seconds).
TIMEOUTS = {"client_mount_timeout": "5", "rados_mon_op_timeout": "5", "rados_osd_op_timeout": "5"}
PAUSE = 0.5  # seconds between two lines of progress
Request = Callable[..., Any]


class Fencer:
    """The requests by which images are claimed, and others shut out of them."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def own(self) -> str:
        return self._images.address()

    def clients(self, images: list[ImageRef]) -> dict[str, list[str]]:
        """Find who has an image open for writing (`watchers`), and its lock (`lockers`)."""
        watchers: set[str] = set()
        lockers: set[str] = set()
        for image in images:
            if (opened := self._images.existing_looked_at(image)) is None:
                continue
            there, holding = _watchers(opened), _holding(opened)
            if holding - there:  # as it was when we opened the image: he may have closed it since
                with self._images.existing(image) as fresh:
                    holding = _holding(fresh) if fresh else set()
                there |= _watchers(opened)
            watchers |= there
            lockers |= holding
        return {"watchers": sorted(watchers), "lockers": sorted(lockers)}

    def watchers(self, images: list[ImageRef]) -> list[list[str]]:
        """List for each image those who have it open for writing."""
        return [sorted(_watchers(self._images.looked_at(image))) for image in images]

    def swap_claims(self, images: list[ImageRef], old: dict[str, str], new: str) -> dict[str, Any]:
        """Put `new` where the claim is as in `old`. Returns what stands in each image that is there."""
        there = [image for image in images if self._images.existing_looked_at(image) is not None]
        claims = {
            image.name: swap_claim(*self._images.header(image), old.get(image.name, ""), new)
            for image in there
        }
        return {"fsid": self._images.cluster.get_fsid(), "claims": claims}

    def drop_claims(self, images: list[ImageRef], claims: list[str]) -> None:
        """Drop those that are among `claims`: what anybody else has put there stays."""
        for image in images:
            with contextlib.suppress(rbd.ImageNotFound):  # one that is gone has no claim
                for claim in claims:
                    swap_claim(*self._images.header(image), claim, "")

    def blocklist(
        self, images: list[ImageRef], addresses: list[str], seconds: int, claim: str
    ) -> bool:
        """Shut clients out for `seconds`. With `claim`, look at the images once more: a taker that
        slept since it gathered the addresses must not hit a newer owner, and an etcd that was
        restored does not know of him.
        """
        if claim and set(self._images.claims(images).values()) - {claim}:
            return False
        for address in addresses:
            self._images.cluster.blocklist_add(address, seconds)
        self._images.cluster.wait_for_latest_osdmap()
        return True

    def break_locks(self, images: list[ImageRef], addresses: list[str]) -> None:
        """Break locks of clients that are shut out: the next writer would stumble over them."""
        for image in images:
            with self._images.existing(image) as opened:
                for client, cookie, address in lockers(opened) if opened else ():
                    if address in addresses:
                        opened.break_lock(client, cookie)

    def drop_copies(self, images: list[ImageRef]) -> None:
        """Remove what older launchers have left, once all whom it names are dealt with."""
        for image in images:
            with self._images.opened(image, read_only=False) as opened:
                for key in [key for key, _ in opened.metadata_list() if key.startswith(COPY)]:
                    opened.metadata_remove(key)


def _watchers(opened: Any) -> set[str]:
    return {one["addr"] for one in opened.watchers_list()}


def _holding(opened: Any) -> set[str]:
    return {address for _, _, address in lockers(opened)}


def requests(images: Images, user: str, tell: Tell) -> dict[str, Request]:
    """List what `storage.ceph.cluster.Cluster` may ask, by name."""
    inspector, volumes, fencer = Inspector(images, user), Volumes(images, tell), Fencer(images)
    served: list[Request] = [
        inspector.inspect,
        *(fencer.own, fencer.clients, fencer.watchers, fencer.blocklist, fencer.break_locks),
        *(fencer.swap_claims, fencer.drop_claims, fencer.drop_copies),
        *(volumes.is_there, volumes.provide, volumes.bear, volumes.import_file),
        *(volumes.has_golden, volumes.import_golden, volumes.clone_golden, volumes.clone_volume),
        *(volumes.goldens, volumes.remove_golden),
    ]
    return {request.__name__: request for request in served}


def answer(served: dict[str, Request], asked: dict[str, Any]) -> dict[str, Any]:
    request = served[asked.pop("ask")]
    if "image" in asked:
        asked["image"] = ImageRef(**asked["image"])
    if "images" in asked:
        asked["images"] = [ImageRef(**image) for image in asked["images"]]
    try:
        return {"answer": request(**asked)}
    except Claimed as error:
        return {"claimed": str(error)}
    except DENIED as error:
        return {"denied": str(error)}
    except (rados.Error, rbd.Error) as error:
        return {"unreachable": str(error)}


def serve(pipe: Any) -> None:
    """Answer line by line. The first says how to connect, and is answered like all others."""
    first = json.loads(sys.stdin.readline())
    own = {name: first[name] for name in ("key", "mon_host") if first[name]}
    try:
        # None: no file at all, while "" would be this host's /etc/ceph/ceph.conf.
        cluster = rados.Rados(
            conffile=first["conf"] or None, rados_id=first["user"], conf={**TIMEOUTS, **own}
        )
    except rados.Error as error:
        print(json.dumps({"unreadable": str(error)}), file=pipe, flush=True)
        return
    try:
        cluster.connect()
    except DENIED as error:
        print(json.dumps({"denied": str(error)}), file=pipe, flush=True)
        return
    except rados.Error as error:
        print(json.dumps({"unreachable": str(error)}), file=pipe, flush=True)
        return
    print(json.dumps({"answer": None}), file=pipe, flush=True)
    served = requests(Images(cluster), first["user"], telling(pipe))
    for line in sys.stdin:
        print(json.dumps(answer(served, json.loads(line))), file=pipe, flush=True)


def telling(pipe: Any) -> Tell:
    """Say how far a long request is, so that nobody takes it for a cluster that is away."""
    told = [0.0]

    def tell(what: str, done: int, total: int) -> None:
        if (now := time.monotonic()) - told[0] > PAUSE:
            told[0] = now
            print(json.dumps({"progress": [what, done, total]}), file=pipe, flush=True)

    return tell


def main() -> None:
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as pipe:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # librados talks to both
        serve(pipe)
    os._exit(0)  # librados may take seconds to say good-bye to a cluster that does not answer


if __name__ == "__main__":
    main()
