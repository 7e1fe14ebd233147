"""What is to be said of a VM in one line, from the records that launchers have left of it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from holdfast.cli.sheet import GREEN, RED, YELLOW, age
from holdfast.dataclass import dataclass, field
from holdfast.errors import legible

LONGEST = 64 * 1024  # bytes of a record
SAID = 200  # characters of what a launcher, or a guest through it, has said
COLOURS = {"running": GREEN, "crashed": RED, "panicked": RED, "paused": RED, "waiting": YELLOW}
STATES = (
    "running",
    "paused",
    "panicked",
    "starting",
    "stopping",
    "restarting",
    "waiting",
    "crashed",
    "stopped",
    "undefined",
)
Facts = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Records:
    """`status` and `last` as launchers wrote them, `locked` the host that has the lock. `off`: by the key `power`.
    `crash`: what bars the VM until a key of its changes. `keys` are those that a list shows.
    """

    vm: str
    status: Facts = field(default_factory=dict)
    last: Facts = field(default_factory=dict)
    locked: str = ""
    off: bool = False
    crash: str = ""
    defined: bool = True
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A VM in a list; `since` in seconds since 1970, None where nobody knows."""

    vm: str
    state: str
    host: str
    since: float | None
    addresses: tuple[str, ...]
    note: str
    keys: Mapping[str, str]


def row(records: Records) -> Row:
    state = state_of(records)
    runs = bool(records.status)
    moment = records.status.get("since") if runs else records.last.get("when")
    return Row(
        vm=records.vm,
        state=state,
        host=said(records.status, "host") or records.locked,
        since=seconds(moment),
        addresses=addresses(records.status),
        note=note(records, state),
        keys=records.keys,
    )


def state_of(records: Records) -> str:
    if records.status:
        told = said(records.status, "state")
        return told if told in STATES else "running"
    if records.locked:
        return "starting"
    if not records.defined:
        return "undefined"
    if records.crash:
        return "crashed"
    return "stopped" if records.off else "waiting"


def note(records: Records, state: str) -> str:
    """The first thing that is to be known."""
    status, last = records.status, records.last
    if trouble := said(status, "trouble") or said(status, "broken"):
        return trouble
    if waiting := status.get("next_start"):
        count = len(waiting) if isinstance(waiting, list) else 1
        return f"{count} key{'s' * (count != 1)} for the next start"
    if state == "undefined":
        return f"no keys, but records of launchers: holdfast rm {records.vm} --yes"
    if state == "waiting":
        return f"no host has taken it: holdfast show {records.vm}"
    if state in ("stopped", "crashed"):
        return records.crash or said(last, "why")
    return f"restarted {status['restarts']} times" if status.get("restarts") else ""


def facts(value: bytes) -> dict[str, Any]:
    """A record; empty where it is none."""
    try:
        found = json.loads(value[:LONGEST])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def said(record: Facts, name: str) -> str:
    """A text of a record, as it may be shown."""
    value = record.get(name, "")
    return legible(value, SAID) if isinstance(value, str) else ""


def addresses(status: Facts) -> tuple[str, ...]:
    """The guest's, of all cards in turn: as its agent, its router or its neighbours have them."""
    cards = status.get("addresses")
    if not isinstance(cards, dict):
        return ()
    listed = (there for there in cards.values() if isinstance(there, list))
    return tuple(legible(one) for there in listed for one in there if isinstance(one, str))


def seconds(moment: object) -> float | None:
    try:
        found = datetime.fromisoformat(str(moment))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


HEAD = ("VM", "STATE", "HOST", "SINCE", "ADDRESS", "NOTE")
LONG = ("VM", "STATE", "HOST", "SINCE", "RAM", "CPUS", "TAGS", "ADDRESS", "NOTE")


def cells(one: Row, now: float, *, long: bool) -> list[str]:
    since = "-" if one.since is None else age(now - one.since)
    more = f" +{len(one.addresses) - 1}" if len(one.addresses) > 1 else ""
    address = f"{one.addresses[0]}{more}" if one.addresses else "-"
    own = [one.keys.get(key, "").strip() or "-" for key in ("ram", "cpus", "tags")] if long else []
    plain = [" ".join(cell.split()) for cell in own]
    return [one.vm, one.state, one.host or "-", since, *plain, address, one.note]


def summary(rows: Sequence[Row]) -> str:
    """One line on all of them.

    >>> summary([])
    '0 VMs.'
    """
    counts = [
        f"{sum(one.state == state for one in rows)} {state}"
        for state in STATES
        if any(one.state == state for one in rows)
    ]
    plural = "VM" if len(rows) == 1 else "VMs"
    return f"{len(rows)} {plural}{': ' if counts else ''}{', '.join(counts)}."


def as_json(one: Row, *, long: bool) -> dict[str, object]:
    own = {
        "ram": one.keys.get("ram"),
        "cpus": one.keys.get("cpus"),
        "tags": one.keys.get("tags", "").split(),
    }
    return {
        "vm": one.vm,
        "state": one.state,
        "host": one.host or None,
        "since": None if one.since is None else datetime.fromtimestamp(one.since, UTC).isoformat(),
        "addresses": list(one.addresses),
        "note": one.note,
        **(own if long else {}),
    }
