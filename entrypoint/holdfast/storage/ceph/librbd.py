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
from shlex import quote
from typing import Any

import rados
import rbd

from holdfast.storage.ceph.librbd_claim import claim_in, lockers, swap_claim, writers
from holdfast.storage.ceph.librbd_unfinished import Claimed, Request
from holdfast.storage.ceph.librbd_variables import fault
from holdfast.storage.ceph.librbd_volume import Tell, Volumes

# connect(timeout=) is not honoured by librados; these are (seconds).
TIMEOUTS = {"client_mount_timeout": "5", "rados_mon_op_timeout": "5", "rados_osd_op_timeout": "5"}
PAUSE = 0.5  # seconds between two lines of progress
COPY = "holdfast.fence."  # and an epoch: the metadata key of a copy of a fence record, by older launchers
DENIED = (rados.PermissionError, rados.PermissionDeniedError, rbd.PermissionError)


class Node(Volumes):
    """The other end of `storage.rbd.Cluster`; its methods are the requests."""

    def __init__(self, cluster: Any, user: str, tell: Tell) -> None:
        super().__init__(cluster, tell)
        self._user = user

    # -- before the lock

    def inspect(self, images: list[Request], *, proven: bool) -> dict[str, Any]:
        """`proven`: that this client may shut others out need not be tried again."""
        faults = [fault for image in images for fault in self._faults(image)]
        writable = [image for image in images if image["writable"]]
        return {
            "fsid": self._cluster.get_fsid(),
            "faults": faults,
            "may_fence": proven or bool(faults) or not writable or self._may_fence(),
            "copies": {} if faults else self._copies(writable),
            "marks": {} if faults else self.marks(images),
            "claims": {} if faults else self._claims(writable),
            "written": [] if faults else self._written(images),
        }

    def _may_fence(self) -> bool:
        """Try it on a client of our own address that does not exist, for a second."""
        address = self._own().rpartition("/")[0]
        try:
            self._cluster.blocklist_add(f"{address}/{int.from_bytes(os.urandom(4)) | 1 << 31}", 1)
        except DENIED:
            return False
        return True

    def _claims(self, images: list[Request]) -> dict[str, str]:
        """By the image's name, as it stands there; "" for an image that nobody has claimed."""
        found = {}
        for image in images:
            if self._existing_looked_at(image) is not None:
                found[image["name"]] = claim_in(*self._header(image))
        return found

    def _written(self, images: list[Request]) -> list[dict[str, Any]]:
        """Of those that the VM only reads: to which somebody writes."""
        found = []
        for image in images:
            if image["writable"] or (opened := self._existing_looked_at(image)) is None:
                continue
            if who := writers(self._pools[image["name"]], opened):
                found.append({"key": image["key"], "image": image["name"], **who})
        return found

    def _header(self, image: Request) -> tuple[Any, str]:
        """The image's pool, and its id."""
        opened = self._looked_at(image)
        return self._pools[image["name"]], opened.id()

    def _copies(self, images: list[Request]) -> dict[str, list[str]]:
        """What each epoch of an older launcher has left in the images' metadata, as it stands there."""
        found: dict[str, list[str]] = {}
        for opened in filter(None, map(self._existing_looked_at, images)):
            for key, value in opened.metadata_list():
                if key.startswith(COPY):
                    found.setdefault(key.removeprefix(COPY), []).append(value)
        return found

    def _faults(self, image: Request) -> list[dict[str, str]]:
        name = image["name"]
        try:
            rule = self._judged(image)
        except (rados.TimedOut, rbd.Timeout) as error:
            # The monitor gives a client without any right to OSDs no ticket, and it waits for one.
            reason = f"{name}: no OSD serves its pool, or client.{self._user} has no rights there: it needs {_needed(image)}"
            raise rados.TimedOut(reason) from error
        except rados.ObjectNotFound:
            pool = image["pool"]
            rule = f"there is no pool {pool} in this cluster: ceph osd pool create {pool}"
        except rbd.ImageNotFound:
            rule = self._missing(image)
        except DENIED:
            verb = "write to" if image["writable"] else "read"
            rule = f"client.{self._user} may not {verb} it: it needs {_needed(image)}"
        except rbd.Error as error:
            rule = f"cannot be opened: {error}"
        return [{"key": image["key"], "value": name, "rule": rule}] if rule else []

    def _judged(self, image: Request) -> str:
        opened = self._looked_at(image)
        if not image["writable"]:
            return ""
        self._try_to_write(image, opened.block_name_prefix(), opened.data_pool_id())
        if opened.features() & rbd.RBD_FEATURE_EXCLUSIVE_LOCK:
            return fault(image, opened)
        name = image["name"]
        return f"lacks the feature exclusive-lock: rbd feature enable {quote(name)} exclusive-lock"

    def _try_to_write(self, image: Request, prefix: str, data: int = -1) -> None:
        """The right to write, asked for without writing: there is no such object. An image may keep its
        data in another pool (`data`, by its number), of which a user's rights say nothing by themselves.
        """
        with contextlib.suppress(rados.ObjectNotFound), self._pool(image) as pool:
            pool.remove_object(f"{prefix}.holdfast")
        if data < 0:
            return
        image["data"] = self._cluster.pool_reverse_lookup(data)
        elsewhere = {**image, "pool": image["data"]}
        with contextlib.suppress(rados.ObjectNotFound), self._pool(elsewhere) as pool:
            pool.remove_object(f"{prefix}.holdfast")

    def _missing(self, image: Request) -> str:
        """A volume is made when it is ours; whether that will do is asked now."""
        if rule := self._no_namespace(image) or self._in_trash(image):
            return rule
        if not image["volume"]:
            return f"there is no such image: rbd create --size 20G {quote(image['name'])}"
        if not image["size"] and not image["sourced"]:
            return f"the volume does not exist: give disks/{image['disk']}/size to create it, or a source"
        self._try_to_write(image, "rbd_data")
        return ""

    def _no_namespace(self, image: Request) -> str:
        with self._cluster.open_ioctx(image["pool"]) as pool:
            space = image["namespace"]
            if not space or rbd.RBD().namespace_exists(pool, space):
                return ""
            name = quote(f"{image['pool']}/{space}")
            return f"there is no such namespace: rbd namespace create {name}"

    def _in_trash(self, image: Request) -> str:
        """A disk that somebody has removed, and that is still there: a new one would hide it."""
        with self._pool(image) as pool:
            trash = rbd.RBD().trash_list(pool)
            ids = [entry["id"] for entry in trash if entry["name"] == image["image"]]
        if not ids:
            return ""
        name = quote(f"{image['name'].removesuffix(image['image'])}{ids[-1]}")
        return f"is in the trash: rbd trash restore {name}"

    # -- with the lock

    def own(self) -> str:
        return self._own()

    def clients(self, images: list[Request]) -> dict[str, list[str]]:
        """Who has an image open for writing (`watchers`), and who holds its lock (`lockers`)."""
        watchers: set[str] = set()
        lockers: set[str] = set()
        for image in images:
            if (opened := self._existing_looked_at(image)) is None:
                continue
            there, holding = _watchers(opened), _holding(opened)
            if holding - there:  # as it was when we opened the image: he may have closed it since
                with self._existing(image) as fresh:
                    holding = _holding(fresh) if fresh else set()
                there |= _watchers(opened)
            watchers |= there
            lockers |= holding
        return {"watchers": sorted(watchers), "lockers": sorted(lockers)}

    def watchers(self, images: list[Request]) -> list[list[str]]:
        """For each image those who have it open for writing."""
        return [sorted(_watchers(self._looked_at(image))) for image in images]

    def swap_claims(self, images: list[Request], old: dict[str, str], new: str) -> dict[str, Any]:
        """Put `new` where the claim is as in `old`. Returns what stands in each image that is there."""
        there = [image for image in images if self._existing_looked_at(image) is not None]
        claims = {
            image["name"]: swap_claim(*self._header(image), old.get(image["name"], ""), new)
            for image in there
        }
        return {"fsid": self._cluster.get_fsid(), "claims": claims}

    def drop_claims(self, images: list[Request], claims: list[str]) -> None:
        """Only those that are among `claims`: what anybody else has put there stays."""
        for image in images:
            with contextlib.suppress(rbd.ImageNotFound):  # one that is gone has no claim
                for claim in claims:
                    swap_claim(*self._header(image), claim, "")

    def blocklist(
        self, images: list[Request], addresses: list[str], seconds: int, claim: str
    ) -> bool:
        """With `claim` the images are looked at once more: a taker that slept since it gathered the addresses
        must not hit a newer owner, and an etcd that was restored does not know of him.
        """
        if claim and set(self._claims(images).values()) - {claim}:
            return False
        for address in addresses:
            self._cluster.blocklist_add(address, seconds)
        self._cluster.wait_for_latest_osdmap()
        return True

    def break_locks(self, images: list[Request], addresses: list[str]) -> None:
        """Locks of clients that are shut out. Left alone, the next writer would stumble over them."""
        for image in images:
            with self._existing(image) as opened:
                for client, cookie, address in lockers(opened) if opened else ():
                    if address in addresses:
                        opened.break_lock(client, cookie)

    def drop_copies(self, images: list[Request]) -> None:
        """What older launchers have left, once all whom it names are dealt with."""
        for image in images:
            with self._opened(image, read_only=False) as opened:
                for key in [key for key, _ in opened.metadata_list() if key.startswith(COPY)]:
                    opened.metadata_remove(key)

    # -- handles

    def _own(self) -> str:
        """Our address as Ceph lists it: of the forms that get_addrs gives, the one of watchers."""
        first = str(self._cluster.get_addrs()).strip("[]").split(",")[0]
        return first.partition(":")[2] if first[:3] in ("v1:", "v2:", "any") else first


def _watchers(opened: Any) -> set[str]:
    return {one["addr"] for one in opened.watchers_list()}


def _holding(opened: Any) -> set[str]:
    return {address for _, _, address in lockers(opened)}


def _needed(image: Request) -> str:
    space = f" namespace={image['namespace']}" if image["namespace"] else ""
    data = f", profile rbd pool={image['data']}{space}" if image.get("data") else ""
    return f"mon 'profile rbd', osd 'profile rbd pool={image['pool']}{space}{data}'"


def answer(node: Node, request: Request) -> dict[str, Any]:
    ask: Callable[..., Any] = getattr(node, request.pop("ask"))
    try:
        return {"answer": ask(**request)}
    except Claimed as error:
        return {"claimed": str(error)}
    except DENIED as error:
        return {"denied": str(error)}
    except (rados.Error, rbd.Error) as error:
        return {"unreachable": str(error)}


def serve(pipe: Any) -> None:
    """The first line says how to connect, and is answered like all others."""
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
    node = Node(cluster, first["user"], telling(pipe))
    for line in sys.stdin:
        print(json.dumps(answer(node, json.loads(line))), file=pipe, flush=True)


def telling(pipe: Any) -> Tell:
    """How far a long request is, so that nobody takes it for a cluster that is away."""
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
