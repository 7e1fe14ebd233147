"""`holdfast volume`: which volumes VMs have and where, and the ways on for one that is not where it should be."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from holdfast.cli.arguments import Parser
from holdfast.cli.fence import SHOWN, names_of
from holdfast.cli.subject import Subject, connected, subject
from holdfast.config.settings import Settings
from holdfast.errors import HostLacks, UsageError, legible
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Delete, Item, Range
from holdfast.host import Host
from holdfast.machine import GIB, MIB, Disk, RbdVolume, Volume
from holdfast.ownership import override
from holdfast.storage import volume_record
from holdfast.storage.volume_record import Found

if TYPE_CHECKING:
    from holdfast.storage.ceph.cluster import Cluster

BACKENDS = (Volume, RbdVolume)

GIVES_UP = """\
{what}
Without this record the next start of VM {vm} makes a new volume, wherever it is, or takes what has the volume's name
there. The old one is left where it is, and is nobody's disk any more. Then: holdfast volume forget {vm} {disk} --yes"""
ANOTHER = """\
{what}
{name} here does not bear the id of that volume: it is another one, or a copy without the file beside it. Taken for it,
the VM goes on with what is in it, and the old one is never used again. Then: holdfast volume adopt {vm} {disk} --yes"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("volume")
    parser.add_argument("action", choices=("ls", "forget", "adopt"))
    parser.add_argument("vm", metavar="VM", nargs="?", help="ls: default is all VMs")
    parser.add_argument(
        "disk", metavar="DISK", nargs="?", help="as in disks/DISK; vars for a UEFI's variables"
    )
    parser.add_argument("--yes", action="store_true", help="do it, knowing what is given up")
    parser.add_argument("--json", action="store_true", help="ls: a list of records")
    given = parser.parse_args(arguments)
    if (given.action == "ls") is bool(given.disk) or (given.action != "ls" and not given.vm):
        parser.error(
            f"{given.action} takes {'a VM or none' if given.action == 'ls' else 'a VM and a DISK'}"
        )
    if given.json and given.action != "ls":
        parser.error("--json belongs to ls")
    if given.yes and given.action == "ls":
        parser.error("--yes belongs to forget and adopt")
    acts = {"ls": list_volumes, "forget": forget, "adopt": adopt}
    with connected(given.vm, environ) as (config, store):
        return acts[given.action](given, config, store, environ)


# -- ls


def list_volumes(
    given: Namespace, config: Settings, store: Store, environ: Mapping[str, str]
) -> int:
    prefix = f"{config.prefix}/_own/"
    items = store.read(
        Range(key=f"{prefix}{given.vm}/volumes/" if given.vm else prefix, prefix=True)
    ).items
    rows = [row(*named, item) for item in items.values() if (named := _names(item.key, prefix))]
    if given.json:
        print(json.dumps(rows))
    else:
        print(*map(line, rows), sep="\n", end="\n" if rows else "")
    return 0


def _names(key: str, prefix: str) -> tuple[str, str] | None:
    """A VM has other things of its own below the same prefix."""
    vm, _, disk = key.removeprefix(prefix).partition("/volumes/")
    return (vm, disk) if disk and "/" not in vm else None


def row(vm: str, disk: str, item: Item) -> dict[str, object]:
    try:
        record = volume_record.decoded(item.value)
    except Unreadable as error:
        return {"vm": vm, "disk": disk, "unreadable": f"its record {error}"}
    names = ("id", "state", "host", "place", "name", "size", "source")
    return {"vm": vm, "disk": disk, **{name: getattr(record, name) for name in names}}


def line(row: dict[str, object]) -> str:
    if "unreadable" in row:
        return "VM {vm}  disk {disk}  {unreadable}".format_map(row)
    size = row["size"]
    shown = {
        **row,
        "size": amount(size) if isinstance(size, int) else "",
        "source": row["source"] or "unknown",
    }
    return "VM {vm}  disk {disk}  {name} on {host} ({place})  {size}  {state}  from {source}".format_map(
        shown
    )


def amount(size: int) -> str:
    """In whole units only: it is to be recognized, not rounded.

    >>> amount(0), amount(3 * 1024**3), amount(100 * 1024**2), amount(5)
    ('size unknown', '3 GiB', '100 MiB', '5 bytes')
    """
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes" if size else "size unknown"


# -- forget


def forget(given: Namespace, config: Settings, store: Store, environ: Mapping[str, str]) -> int:
    volume = override.look_at_volume(store, names_of(config), given.disk)
    item = volume.item
    if item is None:
        print("there is no record to forget")
        return 0
    if not given.yes:
        raise UsageError(GIVES_UP.format(what=readable(item), vm=given.vm, disk=given.disk))
    override.change_volume(store, volume, Delete(key=volume.key))
    print(f"forgotten: {readable(item)}")
    return 0


# -- adopt


def adopt(given: Namespace, config: Settings, store: Store, environ: Mapping[str, str]) -> int:
    from holdfast.ownership.volumes import Inventory  # noqa: PLC0415 - only this action looks at the host
    from holdfast.system.probe import probe  # noqa: PLC0415 - likewise

    volume = override.look_at_volume(store, names_of(config), given.disk)
    item, record = volume.item, volume.record
    about = subject(given.vm, None, environ)
    disk = disk_of(about, given.disk)
    host = probe(about.settings.host, make=False)
    with reached(about.settings, disk, host) as (found, cluster):
        if not found.there:
            raise HostLacks(
                f"{found.name} is not here", hint="mount its pool, or ask the host that has it"
            )
        if item and not given.yes and (record is None or record.id != found.id):
            raise UsageError(
                ANOTHER.format(what=readable(item), name=found.name, vm=given.vm, disk=given.disk)
            )
        put = Inventory(about.settings, host, volume.seen).taken(disk, found, record, cluster)
    override.change_volume(store, volume, put)
    print(f"{found.name} is disk {given.disk} of VM {given.vm} from now on")
    return 0


def disk_of(about: Subject, name: str) -> Disk:
    from holdfast.description import describe  # noqa: PLC0415 - each action loads its own

    machine = describe(about.settings, about.own, about.defaults).machine
    for disk in machine.storage:
        if disk.name == name and isinstance(disk.backend, BACKENDS):
            return disk
    rule = f"VM {machine.vm} has no volume {name}: only what `pool` makes is remembered"
    raise UsageError(rule, hint="look at the keys disks/<name>/pool")


@contextmanager
def reached(
    settings: Settings, disk: Disk, host: Host
) -> "Iterator[tuple[Found, Cluster | None]]":
    from holdfast.storage import pools  # noqa: PLC0415 - each action loads its own

    if isinstance(disk.backend, Volume):
        pools.refuse_containers_own([disk.backend.directory])
        yield pools.found([disk], host.machine_id)[0], None
        return
    from holdfast.storage.ceph.access import keyring_of  # noqa: PLC0415 - for those who have a Ceph
    from holdfast.storage.ceph.cluster import Cluster  # noqa: PLC0415 - likewise

    keyring = keyring_of([disk], None, settings.ceph_conf)
    with closing(Cluster([disk], keyring)) as cluster:
        yield cluster.inspect().volumes[0], cluster


# -- both


def readable(item: Item) -> str:
    try:
        record = volume_record.decoded(item.value)
    except Unreadable as error:
        said = item.value[:SHOWN].decode(errors="replace")
        return f"The record {item.key} {error}: {legible(said, SHOWN)}"
    return f"The volume {record.name} on {record.host} ({record.place}), {amount(record.size)}, {record.state}."
