"""The key `last`: when, where and why a VM last ended. It outlives the lease.

A VM that crashed for good is not started again, by anybody, before its keys have changed. So the
record of a crash names the keys that the VM crashed with.
"""

import json
from collections.abc import Iterable

from holdfast.dataclass import asdict, dataclass
from holdfast.errors import legible
from holdfast.etcd.record import LONGEST
from holdfast.etcd.txn import Item
from holdfast.keys import is_passed_over

CRASHED = "crashed"


@dataclass(frozen=True, kw_only=True)
class Last:
    """`state` is `crashed` where only a change of a key lifts it, else `stopped`."""

    when: str
    host: str
    why: str
    exit: int
    epoch: int
    forced: bool = False
    state: str = "stopped"
    keys: str = ""

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def sight(items: Iterable[Item], vm: str, defaults: str) -> str:
    """The keys that an operator has written, as they stand: a put makes the newest revision newer, a
    deletion lowers the count. `vm` and `defaults` are the prefixes.

    >>> sight([Item(key="/kvm/7/ram", value=b"", mod_revision=4)], "/kvm/7/", "/kvm/_defaults/")
    '1@4'
    """
    ours = [
        item
        for item in items
        if item.key.startswith(defaults)
        or (item.key.startswith(vm) and not is_passed_over(item.key.removeprefix(vm)))
    ]
    return f"{len(ours)}@{max((item.mod_revision for item in ours), default=0)}"


def crash(item: Item | None, keys: str) -> str:
    """What there is to say of a crash that these keys have ended in; "" where nothing bars a start."""
    try:
        last = json.loads(item.value[:LONGEST]) if item else {}
        if last["state"] != CRASHED or last["keys"] != keys:
            return ""
        host, when, why = (legible(str(last[name]), 256) for name in ("host", "when", "why"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""  # of an older launcher, or not ours
    return f"it crashed on {host} at {when}: {why}"
