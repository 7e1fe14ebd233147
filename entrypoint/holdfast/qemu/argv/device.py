"""A user's `-device`: a disk on a node of `-blockdev` gets the same answer to errors as any disk."""

import re
from collections.abc import Sequence

from holdfast.qemu.argv.drive import stop_on_error
from holdfast.qemu.option import Option, parsed
from holdfast.qemu.spelling import as_json, keyed_pairs

DISKS = re.compile(r"virtio-blk(-pci(-(non-)?transitional)?)?|scsi-hd|ide-hd")


def device(option: Option, options: Sequence[Option]) -> Option:
    """`-drive` has its answer itself, and a device on one must not speak over it."""
    if option.name != "device":
        return option
    given = dict(option.pairs("driver"))
    drives = {dict(one.pairs()).get("id") for one in options if one.name == "drive"}
    if not DISKS.fullmatch(given.get("driver", "")) or given.get("drive") in {*drives, None}:
        return option
    text = option.value or ""
    added = stop_on_error(given)
    if text.startswith("{"):
        return Option("device", as_json({**parsed(text), **dict(added)}))
    return Option("device", ",".join([text, keyed_pairs(added)] if added else [text]))
