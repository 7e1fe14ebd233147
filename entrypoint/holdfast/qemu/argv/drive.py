"""A user's `-drive`, and the short forms that stand for one."""

from collections.abc import Mapping

from holdfast.dataclass import dataclass, replace
from holdfast.machine import Disk
from holdfast.qemu.argv.images import (
    LOCAL_DRIVERS,
    Images,
    RbdUse,
    ceph_members,
    path_of,
    rbd_members,
    rbd_url,
)
from holdfast.qemu.option import IMAGE, OFF, Option
from holdfast.qemu.spelling import keyed_pairs
from holdfast.qemu.wiring import Wiring

Pairs = tuple[tuple[str, str], ...]

# QEMU takes werror and rerror only for these interfaces; without `if` a PC's drive is one of them.
REPORTS_ERRORS = frozenset({"", "ide", "scsi", "virtio", "none"})

SHORT_FORMS: dict[str, Pairs] = {
    IMAGE: (("index", "0"), ("media", "disk")),
    "hda": (("index", "0"), ("media", "disk")),
    "hdb": (("index", "1"), ("media", "disk")),
    "hdc": (("index", "2"), ("media", "disk")),
    "hdd": (("index", "3"), ("media", "disk")),
    "cdrom": (("index", "2"), ("media", "cdrom")),
    "fda": (("if", "floppy"), ("index", "0")),
    "fdb": (("if", "floppy"), ("index", "1")),
    "pflash": (("if", "pflash"),),
}


@dataclass(frozen=True, kw_only=True)
class Drive:
    """`disk` is a file to be handed over; `ceph` says where an RBD image's members stand: `file.` or ""."""

    pairs: Pairs
    disk: Disk | None = None
    ceph: str | None = None

    def words(self, wiring: Wiring) -> list[str]:
        return ["-drive", keyed_pairs(self._pairs(wiring))]

    def _pairs(self, wiring: Wiring) -> Pairs:
        if self.disk is not None and self.disk.name in wiring.missing:
            return self._empty()
        if self.disk is not None and self.disk.name in wiring.disks:
            return self._served(self.disk, wiring)
        if self.ceph is not None:
            return self._with_key(self.ceph, wiring)
        return self.pairs

    def _empty(self) -> Pairs:
        """A CD-ROM drive without a medium; naming a format would ask for one."""
        gone = {"file", "format", "driver", "filename"}
        return tuple(pair for pair in self.pairs if pair[0].partition(".")[0] not in gone)

    def _served(self, disk: Disk, wiring: Wiring) -> Pairs:
        """The driver is named: QEMU cannot see behind /dev/fdset whether it is a block device.

        And it must not begin read-only, as it likes to: the one descriptor is for reading and writing.
        """
        prefix = "" if dict(self.pairs).get("driver") in LOCAL_DRIVERS else "file."
        gone = {"file", f"{prefix}driver", f"{prefix}filename"}
        driver = "host_device" if disk.name in wiring.block_devices else "file"
        name = f"/dev/fdset/{wiring.disks[disk.name]}"
        kept = tuple(pair for pair in self.pairs if pair[0] not in gone)
        mode = (("auto-read-only", "off"),) if disk.writable else ()
        return ((f"{prefix}driver", driver), (f"{prefix}filename", name), *kept, *mode)

    def _with_key(self, prefix: str, wiring: Wiring) -> Pairs:
        given = dict(self.pairs)
        has_conf = f"{prefix}conf" in given or ":conf=" in given.get("file", "")
        has_key = f"{prefix}key-secret" in given
        added = ceph_members(wiring.ceph, has_key=has_key, has_conf=has_conf)
        return (*self.pairs, *((prefix + key, value) for key, value in added.items()))


def is_drive(option: Option) -> bool:
    return option.name == "drive" or option.name in SHORT_FORMS


def drive(option: Option, images: Images, *, snapshot: bool) -> Drive:
    """`snapshot` is QEMU's option of that name: writes of all drives go to temporary files."""
    if option.name in SHORT_FORMS:
        pairs: Pairs = (*SHORT_FORMS[option.name], ("file", option.value or ""))
    else:
        pairs = tuple(option.pairs())
    given = dict(pairs)
    cdrom = given.get("media") == "cdrom"
    writable = not (cdrom or snapshot or is_on(given, "snapshot", "readonly", "read-only"))
    found = Drive(pairs=pairs)
    if (use := rbd_use(given, writable=writable)) is not None:
        images.rbd.append(use)
        found = replace(found, ceph="" if rbd_on_top(given) else "file.")
    elif path := local_path(given):
        direct = is_direct(given)
        disk = images.add_file(path, writable=writable, direct=direct, cdrom=cdrom)
        found = replace(found, disk=disk)
    stops = writable and given.get("if", "") in REPORTS_ERRORS and found != Drive(pairs=pairs)
    return replace(found, pairs=(*pairs, *stop_on_error(given))) if stops else found


def is_on(given: Mapping[str, str], *keys: str) -> bool:
    return any(key in given and given[key] not in OFF for key in keys)


def is_direct(given: Mapping[str, str]) -> bool:
    named = is_on(given, "cache.direct", "file.cache.direct")
    return named or given.get("cache") in ("none", "directsync")


def stop_on_error(given: Mapping[str, object]) -> Pairs:
    """An error of the storage pauses the guest, unless the user has said what it shall do."""
    return tuple((key, "stop") for key in ("werror", "rerror") if key not in given)


def rbd_on_top(given: Mapping[str, str]) -> bool:
    return "rbd" in (given.get("format"), given.get("driver"))


def rbd_use(given: Mapping[str, str], *, writable: bool) -> RbdUse | None:
    if given.get("file", "").startswith("rbd:"):
        return rbd_url(given["file"], writable=writable)
    if rbd_on_top(given):
        return rbd_members(given, writable=writable)
    if given.get("file.driver") == "rbd":
        members = {key.removeprefix("file."): value for key, value in given.items()}
        return rbd_members(members, writable=writable)
    return None


def local_path(given: Mapping[str, str]) -> str:
    if given.get("driver") in LOCAL_DRIVERS:
        return path_of(given.get("filename", ""))
    if given.get("file.driver", "file") in LOCAL_DRIVERS and "file.filename" in given:
        return path_of(given["file.filename"])
    return path_of(given.get("file", ""))
