"""A VM's images in Ceph: are they there, who may write to them, and shutting those out.

The work is done by a process of its own (`librbd`), with a limit on every answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from holdfast.dataclass import dataclass, field, replace
from holdfast.errors import ConfigError, Fault, LockHeld
from holdfast.etcd.record import Unreadable, decode_copies
from holdfast.machine import Disk, RbdImage, RbdVolume
from holdfast.runtime.progress import Progress
from holdfast.runtime.worker import Attend
from holdfast.storage.ceph import image_ref
from holdfast.storage.ceph.image_ref import ImageRef
from holdfast.storage.ceph.keyring import Keyring, caps
from holdfast.storage.ceph.pipe import Pipe
from holdfast.storage.volume_record import Found
from holdfast.storage.writers import Writers, Written


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Addresses as Ceph lists them. A locker that does not watch is dead, or lost its network."""

    watchers: frozenset[str]
    lockers: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """`fsid` tells one cluster from another; image names do not. `claims` are as they stand in the images
    that may be written, by name; `copies` what older launchers left there: clients by epoch.
    """

    fsid: str
    claims: dict[str, str] = field(default_factory=dict)
    copies: dict[int, tuple[str, ...]] = field(default_factory=dict)
    volumes: tuple[Found, ...] = ()
    written: tuple[Written, ...] = ()  # of what this VM only reads

    @property
    def by_id(self) -> dict[str, str]:
        """The claims by the id under which etcd knows the image."""
        return {f"rbd/{self.fsid}/{name}": claim for name, claim in self.claims.items()}


class Cluster:
    """A connection to Ceph, for the disks of one VM that lie there."""

    # Who was seen to be able to shut others out. Each try is an entry of a second in the map of all: whoever waits
    # looks again and again.
    _proven: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self, disks: Sequence[Disk], keyring: Keyring) -> None:
        self._images = [
            image_ref.of(disk, disk.backend)
            for disk in disks
            if isinstance(disk.backend, RbdImage)
        ]
        self._writable = [image for image in self._images if image.writable]
        self._keyring = keyring
        self._claim = ""  # ours, as it stands in the images that are there
        self._pipe = Pipe(keyring)

    def close(self) -> bool:
        """End the process. True: it has closed by itself, with all answers given, so that nothing of it is under way."""
        return self._pipe.close()

    # -- before the lock

    def inspect(self) -> Inspection:
        """Check that every image is there and may be used. Raises ConfigError with a fault a disk."""
        own = (self._keyring.conf, self._keyring.user)
        found = self._ask("inspect", images=self._images, proven=own in self._proven)
        if found["faults"]:
            raise ConfigError([Fault(**fault) for fault in found["faults"]])
        if not found["may_fence"]:
            user = self._keyring.user
            raise ConfigError(
                f"client.{user} may not shut a dead host out of Ceph (osd blocklist)",
                hint=f"ceph auth caps client.{user} {self._caps()} (this takes the place of all its rights: "
                "name its other pools, too)",
            )
        if self._writable:
            self._proven.add(own)
        return Inspection(
            fsid=found["fsid"],
            claims=found["claims"],
            copies=_copies(found["copies"], self._writable),
            volumes=_volumes(self._images, found["fsid"], found["marks"]),
            written=tuple(map(_written, found["written"])),
        )

    def _caps(self) -> str:
        return caps((image.pool, image.namespace) for image in self._images)

    # -- with the lock

    def own_address(self) -> str:
        return str(self._ask("own"))

    def clients(self) -> Clients:
        found = self._ask("clients", images=self._writable)
        return Clients(watchers=frozenset(found["watchers"]), lockers=frozenset(found["lockers"]))

    def watchers(self) -> list[frozenset[str]]:
        """List for each writable image those who have it open."""
        return [frozenset(one) for one in self._ask("watchers", images=self._writable)]

    def swap_claims(self, old: Mapping[str, str], new: str) -> dict[str, str]:
        """Claim the writable images that are there, by compare-and-set: each must have the claim that stands
        in `old`, or none where that has nothing. Returns what stands in them then. All by the image's id. What
        is made later has `new` in it from the first.
        """
        self._claim = new
        before = {identifier.split("/", 2)[2]: claim for identifier, claim in old.items()}
        found = self._ask("swap_claims", images=self._writable, old=before, new=new)
        return {f"rbd/{found['fsid']}/{name}": claim for name, claim in found["claims"].items()}

    def drop_claims(self, claims: Iterable[str]) -> None:
        self._ask("drop_claims", images=self._writable, claims=sorted(claims))

    def drop_copies(self) -> None:
        self._ask("drop_copies", images=self._writable)

    def blocklist(self, addresses: Iterable[str], seconds: int, claim: str = "") -> bool:
        """Shut clients out for some seconds. False: nobody was, as an image that is there has not
        this claim (if given).
        """
        question = {"addresses": sorted(addresses), "seconds": seconds, "claim": claim}
        return bool(self._ask("blocklist", images=self._writable, **question))

    def break_locks(self, addresses: Iterable[str]) -> None:
        self._ask("break_locks", images=self._writable, addresses=sorted(addresses))

    def provide(self, disk: Disk) -> str:
        """Give the disk its size. Returns what was done: "created", "grown" or ""."""
        image = self._image(disk)
        return str(self._ask("provide", image=image)) if image.size else ""

    def bear(self, disk: Disk) -> None:
        """Write its id into a volume that is there."""
        self._ask("bear", image=self._image(disk))

    def is_there(self, disk: Disk) -> bool:
        return bool(self._ask("is_there", image=self._image(disk)))

    def import_file(self, disk: Disk, path: str, attend: Attend) -> None:
        self._attend(attend, "import_file", image=self._image(disk), path=path)

    def has_golden(self, disk: Disk, name: str) -> bool:
        return bool(self._ask("has_golden", image=self._image(disk), name=name))

    def import_golden(self, disk: Disk, name: str, path: str, attend: Attend) -> None:
        self._attend(attend, "import_golden", image=self._image(disk), name=name, path=path)

    def clone_golden(self, disk: Disk, name: str, attend: Attend) -> None:
        self._attend(attend, "clone_golden", image=self._image(disk), name=name)

    def clone_volume(self, disk: Disk, name: str, attend: Attend) -> str:
        """Make the disk from a volume. Returns what speaks against it, "" for nothing; raises LockHeld for one in use."""
        assert disk.source is not None  # noqa: S101 - it has `name` from there
        more = {"chained": disk.chained, "in_use": disk.source.template}
        found = self._attend(attend, "clone_volume", image=self._image(disk), name=name, **more)
        if "writers" in found:
            raise _in_use(disk, name, Writers.told(found["writers"]))
        return str(found.get("rule", ""))

    # -- for the operator

    def goldens(self, disk: Disk) -> list[dict[str, Any]]:
        return list(self._ask("goldens", image=self._image(disk)))

    def remove_golden(self, disk: Disk, name: str) -> bool:
        return bool(self._ask("remove_golden", image=self._image(disk), name=name))

    def _image(self, disk: Disk) -> ImageRef:
        found = next(image for image in self._images if image.disk == disk.name)
        return replace(found, mark=disk.mark, claim=self._claim)

    # -- requests

    def _ask(self, question: str, **arguments: Any) -> Any:
        return self._pipe.talk({"ask": question, **arguments})

    def _attend(self, attend: Attend, question: str, **arguments: Any) -> Any:
        """Of what may take long. Whatever `attend` raises ends the other process with us."""
        with Progress(arguments["image"].image) as progress:
            return self._pipe.talk({"ask": question, **arguments}, attend, progress)


def _written(found: dict[str, Any]) -> Written:
    return Written(key=found["key"], image=found["image"], writers=Writers.told(found))


def _in_use(disk: Disk, name: str, writers: Writers) -> LockHeld:
    pool = disk.backend.label if isinstance(disk.backend, RbdVolume) else ""
    return LockHeld(
        f"{disk.key}/source/volume: {name} is in use by {writers}",
        hint="stop that one first; or, to copy it as it is, like a disk after a power failure: "
        f'[templates] volumes = ["{pool}/{name}"] in host.toml',
    )


def _volumes(images: Sequence[ImageRef], fsid: str, marks: dict[str, str]) -> tuple[Found, ...]:
    """`marks` has the id of each volume that is there."""
    return tuple(
        Found(
            disk=image.disk,
            name=image.name,
            place="/".join(filter(None, ("rbd", fsid, image.pool, image.namespace))),
            there=image.disk in marks,
            id=marks.get(image.disk, ""),
        )
        for image in images
        if image.volume
    )


def _copies(found: dict[str, list[str]], images: Iterable[ImageRef]) -> dict[int, tuple[str, ...]]:
    copies: dict[int, tuple[str, ...]] = {}
    for epoch, texts in found.items():
        try:
            copies |= decode_copies({epoch: texts})
        except Unreadable as error:
            raise ConfigError(
                f"the copy of a fence record in the images {error}",
                hint=f"or, if no host runs this VM: {_without_copy(epoch, images)}",
            ) from error
    return copies


def _without_copy(epoch: str, images: Iterable[ImageRef]) -> str:
    from shlex import quote  # noqa: PLC0415 - only for a record that cannot be read

    key = quote(f"holdfast.fence.{epoch}")
    return "; ".join(f"rbd image-meta remove {quote(image.name)} {key}" for image in images)
