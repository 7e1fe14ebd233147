"""`holdfast claim`: which VM a disk or an address belongs to, and setting free what a VM has left behind."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from holdfast.cli.arguments import Parser
from holdfast.cli.subject import connected
from holdfast.config.settings import Settings
from holdfast.errors import HoldfastError, UsageError, legible
from holdfast.etcd.record import Unreadable
from holdfast.etcd.store import Store
from holdfast.etcd.txn import Item, Range
from holdfast.ownership import override
from holdfast.ownership.address_claim import is_address
from holdfast.ownership.records import ImageKind, decode_claim, kind_of
from holdfast.system.container import command

if TYPE_CHECKING:
    from holdfast.ownership.left_image import LeftImage

GIVES_UP = """\
{disk} belongs to VM {vm} (epoch {epoch}), which did not let go of it. Set free, it can be taken by any
VM at once, and nobody shuts out what VM {vm} may still have under way to it.
Then: {command}"""
BOTH_ANSWER = """\
{disk} belongs to VM {vm} (epoch {epoch}), which did not let go of it. If a QEMU of VM {vm} is alive after all,
two guests will answer to it. Then: {command}"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("claim")
    parser.add_argument("action", choices=("ls", "release"))
    parser.add_argument("disk", metavar="DISK", nargs="?", help="as `claim ls` prints it")
    parser.add_argument("--yes", action="store_true", help="do it, knowing what is given up")
    parser.add_argument("--json", action="store_true", help="a list of claims")
    given = parser.parse_args(arguments)
    if (given.action == "release") is not bool(given.disk):
        parser.error("release needs a DISK, and ls takes none")
    acts = {"ls": list_claims, "release": set_free}
    with connected(None, environ) as (config, store):
        return acts[given.action](given, config, store)


def list_claims(given: Namespace, config: Settings, store: Store) -> int:
    prefix = f"{config.prefix}/_claims/"
    items = store.read(Range(key=prefix, prefix=True)).items
    rows = [
        row(legible(key.removeprefix(prefix), 4096), item) for key, item in sorted(items.items())
    ]
    if given.json:
        print(json.dumps(rows))
    for one in [] if given.json else rows:
        print(one.get("unreadable") or "{disk}  VM {vm}  epoch {epoch}".format_map(one))
    return 0


def row(disk: str, item: Item) -> dict[str, object]:
    try:
        claim = decode_claim(item.value)
    except Unreadable as error:
        return {"disk": disk, "unreadable": f"{disk}  its claim {error}"}
    return {"disk": disk, "vm": claim.vm, "epoch": claim.epoch}


def set_free(given: Namespace, config: Settings, store: Store) -> int:
    """A claim in etcd, and where the disk is an image in Ceph the one that stands there."""
    then = command(f"holdfast claim release {given.disk} --yes")
    key = f"{config.prefix}/_claims/{given.disk}"
    item = store.read(Range(key=key)).items.get(key)
    with ExitStack() as stack:
        image = left(given.disk, config, stack, needed=item is None)
        if item is None and not (image and image.claimed):
            raise UsageError(
                f"{given.disk}: no VM has claimed it",
                hint=f"`{command('holdfast claim ls')}` names them all",
            )
        if item is not None:
            judge(item, given, store, then)
        if image and image.claimed:
            from holdfast.cli import image_claim  # noqa: PLC0415 - likewise

            image_claim.judge(image, yes=given.yes, then=then)
            image.set_free()
        if item is not None:
            override.release(store, item)
    print(f"{given.disk} is free")
    return 0


def left(disk: str, config: Settings, stack: ExitStack, *, needed: bool) -> "LeftImage | None":
    """Within a tree etcd's claim is enough: who takes the disk then goes by it, and shuts out whom the image names.
    So a machine without Ceph's configuration may set a disk free, too, unless the image alone has a claim.
    """
    if kind_of(disk) is not ImageKind.rbd:
        return None
    from holdfast.cli.image_claim import left_image  # noqa: PLC0415 - for those who have a Ceph

    try:
        return stack.enter_context(left_image(disk, config))
    except HoldfastError:
        if needed:
            raise
        return None


def judge(item: Item, given: Namespace, store: Store, then: str) -> None:
    """Raises LockHeld while the claimant is running, and UsageError without consent."""
    claim = override.claim_of(item)
    override.refuse_in_use(store, claim, given.disk)
    if not given.yes:
        lost = BOTH_ANSWER if is_address(given.disk) else GIVES_UP
        raise UsageError(
            lost.format(disk=given.disk, vm=claim.vm, epoch=claim.epoch, command=then)
        )
