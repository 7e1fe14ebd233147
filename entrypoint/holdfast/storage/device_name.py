"""What a block device is known by on every host that reaches it: the name of its LUN, or of its logical volume."""

import os
import re
from pathlib import Path

from holdfast.storage.pathname import Unfit

SYSFS = Path("/sys/dev/block")
# Where the kernel keeps the name of a logical volume or multipath, of SCSI's LUN, of NVMe's namespace.
NAMES = ("dm/uuid", "device/wwid", "wwid")
# Multipath says with a digit what SCSI says with a word (scsi_id(8)).
MULTIPATH = re.compile(r"(?:(part\d+)-)?mpath-([123])(.*)")
DESIGNATORS = {"1": "t10.", "2": "eui.", "3": "naa."}


def device_name(device: int, sysfs: Path = SYSFS) -> str:
    """Read what every host that reaches the device knows it by. Raises Unfit for one without such a name."""
    node = sysfs / f"{os.major(device)}:{os.minor(device)}"
    partition = _read(node / "partition")
    # A partition lies in its disk's folder (Documentation/admin-guide/abi: block).
    whole = node.resolve().parent if partition else node
    name = next(filter(None, (_read(whole / one) for one in NAMES)), "")
    if not name:
        raise Unfit(
            "is a block device that has no name of its own (neither a wwid nor a device-mapper uuid), so "
            "other hosts cannot know it for the same: put LVM or multipath on it, or, if only this "
            "host reaches it, name it in local_devices of host.toml"
        )
    return one_name(name, partition)


def one_name(name: str, partition: str = "") -> str:
    """Spell a LUN's name in one way, whether it is reached by one path or by many.

    >>> one_name("mpath-36001405a"), one_name("part1-mpath-36001405a"), one_name("naa.6001405a", "1")
    ('naa.6001405a', 'naa.6001405a-part1', 'naa.6001405a-part1')
    """
    if found := MULTIPATH.fullmatch(name):
        part, digit, rest = found.groups()
        name, partition = DESIGNATORS[digit] + rest, (part or "").removeprefix("part")
    name = re.sub(r"\s+", "_", name)
    return f"{name}-part{partition}" if partition else name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
