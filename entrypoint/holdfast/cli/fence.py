"""`holdfast fence`: what an owner that did not stop cleanly has left, and going on without fencing it."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.cli.arguments import Parser
from holdfast.cli.subject import connected
from holdfast.config.settings import Settings
from holdfast.errors import UsageError, legible
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Store
from holdfast.log import plain
from holdfast.ownership import legacy, override
from holdfast.ownership.names import Names
from holdfast.ownership.records import FencingRecord, decode_fence
from holdfast.system.container import command

SHOWN = 400  # bytes of a record that cannot be read
NOTHING = "no record: the last owner stopped cleanly"

GIVES_UP = """\
The record names who may still write to the disks of VM {vm}:
{record}
Without it the next owner shuts out nobody. Go on only if that QEMU is dead for certain: its host is
switched off or was started anew. Then: {command}"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("fence")
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
    names = names_of(config)
    left = legacy.fences(override.look(store, names), names)
    if given.json:
        shown = [plain(one.value.decode(errors="backslashreplace")) for one in left] or ["null"]
    else:
        shown = [readable(one.value) for one in left] or [NOTHING]
    print(*shown, sep="\n")
    return 0


def forget(given: Namespace, config: Settings, store: Store) -> int:
    names = names_of(config)
    seen = override.look(store, names)
    override.refuse_running(seen, names)
    left = legacy.fences(seen, names)
    if not left:
        print("there is no record to forget")
        return 0
    records = "\n".join(readable(one.value) for one in left)
    if not given.yes:
        raise UsageError(_gives_up(config.vm, records))
    override.forget(store, names, seen)
    print(f"the record of VM {config.vm} is gone: {records}")
    return 0


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
