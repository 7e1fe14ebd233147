"""`holdfast fence`: what an owner that did not stop cleanly has left, and going on without fencing it."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.cli.arguments import Parser
from holdfast.cli.subject import connected
from holdfast.config.settings import Settings
from holdfast.errors import LockHeld, UsageError, legible
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Delete, Item, Put, Range, Reply, Unchanged
from holdfast.log import plain
from holdfast.ownership import legacy
from holdfast.ownership.names import Names
from holdfast.ownership.records import FencingRecord, decode_fence, decode_lock
from holdfast.system.container import command

SHOWN = 400  # bytes of a record that cannot be read
NOTHING = "no record: the last owner stopped cleanly"

GIVES_UP = """\
The record names who may still write to the disks of VM {vm}:
{record}
Without it the next owner shuts out nobody. Go on only if that QEMU is dead for certain: its host is
switched off or was started anew. Then: {command}"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("fence", "Show or forget the record of a VM's last owner.")
    parser.add_argument("action", choices=("show", "forget", "shut-out"))
    parser.add_argument("vm", metavar="VM")
    parser.add_argument("--address", help="whom to shut out, as Ceph lists it: IP:0/NONCE")
    parser.add_argument("--yes", action="store_true", help="do it, knowing what is given up")
    parser.add_argument("--json", action="store_true", help="show the record as it is stored")
    given = parser.parse_args(arguments)
    if (given.action == "shut-out") is not bool(given.address):
        parser.error("--address belongs to shut-out, and shut-out needs it")
    acts = {"show": show, "forget": forget, "shut-out": shut_out}
    with connected(given.vm, environ) as (config, store):
        return acts[given.action](given, config, store)


def show(given: Namespace, config: Settings, store: Store) -> int:
    left = legacy.fences(look(config, store), names_of(config))
    if given.json:
        shown = [plain(one.value.decode(errors="backslashreplace")) for one in left] or ["null"]
    else:
        shown = [readable(one.value) for one in left] or [NOTHING]
    print(*shown, sep="\n")
    return 0


def look(config: Settings, store: Store) -> Reply:
    names = names_of(config)
    keys = (names.lock, names.fence, names.legacy.fence, names.legacy.epoch)
    return store.read(*(Range(key=key) for key in keys))


def forget(given: Namespace, config: Settings, store: Store) -> int:
    names = names_of(config)
    seen = look(config, store)
    unused(seen, names, config)
    left = legacy.fences(seen, names)
    if not left:
        print("there is no record to forget")
        return 0
    records = "\n".join(readable(one.value) for one in left)
    if not given.yes:
        raise UsageError(_gives_up(config.vm, records))
    compare = [
        Unchanged(key=key, revision=seen.revision_of(key))
        for key in (names.lock, names.legacy.epoch, *(one.key for one in left))
    ]
    if not store.txn(compare, [_forgotten(one, seen, names) for one in left]).succeeded:
        raise LockHeld("the VM was taken meanwhile; nothing was deleted")
    print(f"the record of VM {config.vm} is gone: {records}")
    return 0


def _forgotten(item: Item, seen: Reply, names: Names) -> Put | Delete:
    """Of a VM that was moved, no place stays empty that keeps older launchers off."""
    mark = seen.items.get(names.legacy.epoch)
    if item.key == names.legacy.fence and mark and mark.value == legacy.EPOCH:
        return Put(key=item.key, value=legacy.FENCE)
    return Delete(key=item.key)


def shut_out(given: Namespace, config: Settings, store: Store) -> int:
    """Consent to end a client that Holdfast did not start."""
    from holdfast.ownership.fencing import YEAR  # noqa: PLC0415 - only this action speaks to Ceph
    from holdfast.storage.ceph.cluster import Cluster  # noqa: PLC0415 - likewise
    from holdfast.storage.ceph.keyring import find  # noqa: PLC0415 - likewise

    if not given.yes:
        then = command(f"holdfast fence shut-out {config.vm} --address {given.address} --yes")
        raise UsageError(
            f"{given.address} will not be able to write to any image of this Ceph for a year, whatever "
            f"it is. Then: {then}"
        )
    cluster = Cluster((), find(Path(config.ceph_conf)))
    try:
        cluster.blocklist([given.address], YEAR)
    finally:
        cluster.close()
    print(f"{given.address} is shut out of Ceph")
    return 0


def _gives_up(vm: str, records: str) -> str:
    then = command(f"holdfast fence forget {vm} --yes")
    return GIVES_UP.format(vm=vm, record=records, command=then)


def unused(seen: Reply, names: Names, config: Settings) -> None:
    if lock := seen.items.get(names.lock):
        raise LockHeld(f"VM {config.vm} runs on {decode_lock(lock.value)}: its record is in use")


def names_of(config: Settings) -> Names:
    return Names.of(config.prefix, config.vm, config.lock)


def readable(value: bytes) -> str:
    try:
        return described(decode_fence(value))
    except Unreadable as error:
        return f"  it {error}: {legible(value[:SHOWN].decode(errors='replace'), SHOWN)}"


def described(fence: FencingRecord) -> str:
    lines = [f"  epoch {fence.epoch} on host {fence.host} (boot {fence.boot_id})"]
    lines += [f"  disk {image.disk}: {image.id}" for image in fence.images]
    lines += [f"  client of Ceph: {address}" for address in fence.clients]
    lines += [f"  client of Ceph, if an image knows it: {address}" for address in fence.heard]
    return "\n".join(lines)
