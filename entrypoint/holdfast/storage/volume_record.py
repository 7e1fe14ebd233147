"""What etcd remembers of a volume: that it was made, where, from what. Absent is then never new.

`/kvm/_own/<vm>/volumes/<disk>`, written by the VM's owner: `making` before the volume is made, `made` before
a guest runs on it. The record's id stands in the volume, too, so that another one is never taken for it.
"""

import json
from collections.abc import Callable
from enum import Enum, StrEnum, auto

from holdfast.dataclass import asdict, dataclass
from holdfast.etcd.record import VERSION, Damaged, Newer, Unreadable, decode
from holdfast.etcd.txn import Item
from holdfast.host import Host
from holdfast.machine.disk import key_of


class State(StrEnum):
    making = auto()
    made = auto()


@dataclass(frozen=True, kw_only=True)
class VolumeRecord:
    """`place` is `file/<machine's id>`, `shared/<its folder's .holdfast-id>`, or `rbd/<fsid>/<pool>[/<namespace>]`.

    `folder` is the id of a folder that only this machine has: another one may be mounted on its path.
    `host` and `name` are for people. `size` is 0 where nobody has said it.
    """

    id: str
    state: str
    place: str
    host: str
    name: str
    lock: str
    boot_id: str = ""
    folder: str = ""
    source: str = ""
    size: int = 0
    version: int = VERSION


@dataclass(frozen=True, kw_only=True)
class Found:
    """A volume as this host finds it. `id` is "" where the volume bears none."""

    disk: str
    name: str
    place: str
    there: bool
    folder: str = ""
    id: str = ""


# The command for an action of `holdfast volume` and a disk, as it is given where this runs.
Way = Callable[[str, str], str]


class Task(Enum):
    """What a start has to do about a volume."""

    keep = auto()
    adopt = auto()  # it is here, and etcd is to know
    make = auto()


class Elsewhere(Exception):
    """The volume of the record is not what is here. The text says what is, and what helps."""


def key(prefix: str, vm: str, disk: str = "") -> str:
    return f"{prefix}/_own/{vm}/volumes/{disk}"


def encode(record: VolumeRecord) -> bytes:
    return json.dumps(asdict(record), separators=(",", ":")).encode()


def decoded(value: bytes) -> VolumeRecord:
    """Read a record; raises Unreadable."""
    data = decode(VolumeRecord, value)
    for name, found in data.items():
        number = name in ("size", "version")
        if not isinstance(found, int if number else str) or isinstance(found, bool):
            raise Damaged(f"{name} is {found!r:.64}")
    record = VolumeRecord(**data)
    if record.state not in tuple(State):
        raise Newer(f"its state is {record.state!r:.64}")
    if not record.id:
        raise Damaged("no id")
    return record


def recorded(item: Item | None, disk: str, way: Way) -> VolumeRecord | None:
    """Read it; None: no volume of it was ever made. Raises Elsewhere for an unreadable record."""
    if item is None:
        return None
    try:
        return decoded(item.value)
    except Unreadable as error:
        raise Elsewhere(
            f"{item.key} {error}. If nobody needs its volume: {way('forget', disk)} --yes"
        ) from error


def judge(record: VolumeRecord | None, found: Found, host: Host, way: Way) -> Task:
    """Decide what is to be done here. Raises Elsewhere where this host must leave the VM alone."""
    if record is None:
        return Task.adopt if found.there else Task.make
    if not found.there:
        return _absent(record, found, host, way)
    if found.id != record.id:
        raise Elsewhere(
            f"{_what(record, found)}, and {found.name} here is another one{_ways(way, found, another=True)}"
        )
    if not is_same_place(record, found, host):
        raise Elsewhere(
            f"{_what(record, found)}; {found.name} here has its id, and is a copy of it, or was moved. "
            f"If it is the one to go on with: {way('adopt', found.disk)}"
        )
    known = record.state == State.made and record.place == found.place
    return Task.keep if known else Task.adopt


def is_same_place(record: VolumeRecord, found: Found, host: Host) -> bool:
    """Tell whether it is here: one kernel is one machine, whatever its containers were called."""
    if record.folder != found.folder:
        return False
    own = host.wrote(record.place.removeprefix("file/"), record.boot_id)
    return record.place == found.place or (found.folder != "" and own)


def _absent(record: VolumeRecord, found: Found, host: Host, way: Way) -> Task:
    here = is_same_place(record, found, host)
    if record.state == State.making and here:
        return Task.make
    what = _what(record, found)
    if record.state == State.making:
        raise Elsewhere(
            f"{what}, which has not finished making it: start the VM there, or let it be made "
            f"anew: {way('forget', found.disk)} --yes"
        )
    if here:
        raise Elsewhere(f"{what}, and it is not there any more: put it back{_ways(way, found)}")
    raise Elsewhere(
        f"{what}, and {found.name} is not here: only where it is may the VM run. If this is that host, "
        f"mount its pool{_ways(way, found)}"
    )


def _what(record: VolumeRecord, found: Found) -> str:
    return f"{_disk(found)} is the volume {record.name} on {record.host}"


def _disk(found: Found) -> str:
    key = key_of(found.disk)
    return key if "/" not in key else f"disk {found.disk}"


def _ways(way: Way, found: Found, *, another: bool = False) -> str:
    take = f". {way('adopt', found.disk)} --yes takes what is here" if another else ""
    forget = f"{way('forget', found.disk)} --yes gives it up, and a new one is made"
    return f"{take}{';' if take else '.'} {forget}"
