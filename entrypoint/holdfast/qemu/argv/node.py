"""A user's `-blockdev`, in either form, with all the nodes it nests."""

from collections.abc import Mapping

from holdfast.dataclass import dataclass
from holdfast.machine import Disk
from holdfast.qemu.argv.images import LOCAL_DRIVERS, Images, ceph_members, path_of, rbd_members
from holdfast.qemu.option import OFF, Option, as_text, flattened, nested, parsed
from holdfast.qemu.spelling import as_json, keyed_pairs
from holdfast.qemu.wiring import Wiring


@dataclass(frozen=True, kw_only=True)
class Node:
    """`tree` is what the option said, with a Disk where it named a file that is handed over."""

    tree: Mapping[str, object]
    in_json: bool

    def words(self, wiring: Wiring) -> list[str]:
        served = serve(self.tree, wiring)
        if self.in_json:
            return ["-blockdev", as_json(served)]
        pairs = ((key, as_text(value)) for key, value in flattened(served))
        return ["-blockdev", keyed_pairs(tuple(pairs))]


def node(option: Option, images: Images) -> Node:
    in_json = (option.value or "").startswith("{")
    tree = parsed(option.value or "") if in_json else nested(option.pairs("driver"))
    return Node(tree=found(tree, images, writable=True, direct=False), in_json=in_json)


def found(
    tree: Mapping[str, object], images: Images, *, writable: bool, direct: bool
) -> dict[str, object]:
    """A node has both properties from the one above it; a backing file is never written to."""
    writable = writable and not said(tree, "read-only", default=False)
    cache = tree.get("cache")
    direct = said(cache, "direct", default=direct) if isinstance(cache, Mapping) else direct
    known = {
        key: found(value, images, writable=writable and key != "backing", direct=direct)
        if isinstance(value, Mapping)
        else value
        for key, value in tree.items()
    }
    if tree.get("driver") == "rbd":
        images.rbd.append(rbd_members(tree, writable=writable))
    path = path_of(str(tree.get("filename", "")))
    if tree.get("driver") in LOCAL_DRIVERS and path:
        known["filename"] = images.add_file(path, writable=writable, direct=direct)
    return known


def said(tree: Mapping[str, object], key: str, *, default: bool) -> bool:
    """A switch in either form: true, or one of QEMU's words for it."""
    value = tree.get(key, default)
    return value is True or (value is not False and value not in OFF)


def serve(tree: Mapping[str, object], wiring: Wiring) -> dict[str, object]:
    served = {
        key: serve(value, wiring) if isinstance(value, Mapping) else value
        for key, value in tree.items()
    }
    if tree.get("driver") == "rbd":
        has_key, has_conf = "key-secret" in tree, "conf" in tree
        served |= ceph_members(wiring.ceph, has_key=has_key, has_conf=has_conf)
    if isinstance(disk := tree.get("filename"), Disk):
        served |= file_members(disk, wiring)
    if "auto-read-only" in tree:
        served["auto-read-only"] = False  # it would ask the descriptor for another access mode
    return served


def file_members(disk: Disk, wiring: Wiring) -> dict[str, object]:
    if disk.name not in wiring.disks:
        return {"filename": str(disk.backend)}
    driver = "host_device" if disk.name in wiring.block_devices else "file"
    return {"driver": driver, "filename": f"/dev/fdset/{wiring.disks[disk.name]}"}
