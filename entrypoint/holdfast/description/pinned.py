"""The `pinned` key: how it is written, and what it means for the next start.

What a key says counts. What no key says stays as it was at the first start, until `pinned` is deleted.
"""

import json

from holdfast.dataclass import asdict
from holdfast.errors import ConfigError, Fault
from holdfast.grammar import Refused, identifier
from holdfast.machine import Machine, Pinned

KEY = "pinned"
LONGEST = 1024  # bytes
UNKNOWN = "unsupported machine type"  # what QEMU says of one that it does not have
FAMILIES = {"pc": "pc-i440fx-", "q35": "pc-q35-", "virt": "virt-"}
FOLLOWING = ("host", "max")  # what these are depends on the accelerator of the moment


def encode(pinned: Pinned) -> bytes:
    return json.dumps(asdict(pinned), separators=(",", ":")).encode()


def decode(value: bytes) -> Pinned:
    """Etcd's values are nobody's word: raises Refused for what Holdfast would not have written."""
    try:
        given = json.loads(value[:LONGEST])
        return Pinned(
            machine=identifier.machine(given["machine"]), cpu=identifier.word(given["cpu"])
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, Refused):
        raise Refused("is not what Holdfast writes: delete it", hidden=True) from None


def board(pinned: Pinned | None, named: str, default: str) -> str:
    """`named` is the key `machine`, "" for none. Without it a VM stays on the board that it has."""
    if pinned is None:
        return named or default
    if not named:
        return pinned.machine if is_arm(pinned.machine) == is_arm(default) else default
    same = named in FAMILIES and pinned.machine.startswith(FAMILIES[named])
    return pinned.machine if same else named


def is_arm(board: str) -> bool:
    return board == "virt" or board.startswith(FAMILIES["virt"])


def cpu_model(pinned: Pinned | None) -> str:
    return "" if pinned is None or pinned.cpu in FOLLOWING else pinned.cpu


def unknown(machine: Machine) -> ConfigError:
    fault = Fault(key="machine", value=machine.machine, rule="is no machine of this QEMU")
    if machine.pinned is None or machine.pinned.machine != machine.machine:
        return ConfigError([fault], hint="`qemu-system-x86_64 -machine help` lists them.")
    return ConfigError(
        [fault],
        hint="The VM was first started with it: run it where QEMU still has it, or delete the key "
        "`pinned` for the newest of its kind, which the guest sees as another board.",
    )
