"""What a list says of a VM, for the records that there may be."""

import pytest

from holdfast.cli import vm_state
from holdfast.cli.vm_state import Records, Row

RUNS = {"state": "running", "host": "host-a", "since": "2026-11-28T10:00:00+00:00"}
LAST = {"when": "2026-11-28T09:00:00+00:00", "host": "host-b", "why": "guest powered off"}


@pytest.mark.parametrize(
    ("records", "state", "host", "note"),
    [
        (Records(vm="7", status=RUNS), "running", "host-a", ""),
        (Records(vm="7", status={**RUNS, "state": "paused", "trouble": "disk"}), "paused", "host-a", "disk"),
        (Records(vm="7", status={**RUNS, "state": "later's"}), "running", "host-a", ""),
        (Records(vm="7", status={**RUNS, "next_start": ["ram"]}), "running", "host-a", "1 key for the next start"),
        (Records(vm="7", status={**RUNS, "next_start": ["a", "b"]}), "running", "host-a", "2 keys for the next start"),
        (Records(vm="7", status={**RUNS, "restarts": 3}), "running", "host-a", "restarted 3 times"),
        (Records(vm="7", status=RUNS, off=True), "running", "host-a", ""),
        (Records(vm="7", locked="host-c"), "starting", "host-c", ""),
        (Records(vm="7", last=LAST, off=True), "stopped", "", "guest powered off"),
        (Records(vm="7", last=LAST), "waiting", "", "no host has taken it: holdfast show 7"),
        (Records(vm="7", last=LAST, crash="it crashed"), "crashed", "", "it crashed"),
        (Records(vm="7", defined=False), "undefined", "", "no keys, but records of launchers: holdfast rm 7 --yes"),
    ],
)  # fmt: skip
def test_a_row(records: Records, state: str, host: str, note: str) -> None:
    found = vm_state.row(records)
    assert (found.state, found.host, found.note) == (state, host, note)
    assert found.state in vm_state.STATES


def test_since_is_of_the_run_or_of_its_end() -> None:
    runs, ended = (
        vm_state.row(Records(vm="7", status=RUNS, last=LAST)),
        vm_state.row(Records(vm="7", last=LAST)),
    )
    assert runs.since is not None
    assert ended.since is not None
    assert runs.since - ended.since == 3600
    assert vm_state.row(Records(vm="7", status={"since": "yesterday"})).since is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"7",
        b"\xff",
        b'{"a":',
        b"[" * 100_000,
        b'{"state": [], "addresses": 7, "next_start": {}}',
    ],
)
def test_what_is_no_record_harms_nothing(value: bytes) -> None:
    """A tenant may have written what stands in an older launcher's place."""
    found = vm_state.row(Records(vm="7", status=vm_state.facts(value), last=vm_state.facts(value)))
    assert vm_state.cells(found, 0.0, long=True)[0] == "7"
    assert vm_state.as_json(found, long=True)["vm"] == "7"


def test_a_guests_words_move_no_terminal() -> None:
    status = {**RUNS, "host": "a\x1b[2J", "trouble": "b\nc", "addresses": {"nic0": ["d\te"]}}
    assert all(
        cell.isprintable()
        for cell in vm_state.cells(vm_state.row(Records(vm="7", status=status)), 0.0, long=True)
    )


def test_addresses_of_all_cards() -> None:
    status = {**RUNS, "addresses": {"nic0": ["10.0.0.7", "fe80::7"], "nic1": ["10.1.0.7"]}}
    found = vm_state.row(Records(vm="7", status=status))
    assert found.addresses == ("10.0.0.7", "fe80::7", "10.1.0.7")
    assert vm_state.cells(found, 0.0, long=False)[4] == "10.0.0.7 +2"


def test_the_summary() -> None:
    rows = [row(state) for state in ("running", "stopped", "running", "waiting")]
    assert vm_state.summary(rows) == "4 VMs: 2 running, 1 waiting, 1 stopped."
    assert vm_state.summary(rows[:1]) == "1 VM: 1 running."


def row(state: str) -> Row:
    return Row(vm="7", state=state, host="", since=None, addresses=(), note="", keys={})


def test_the_fields_for_programs_stay() -> None:
    """Who reads them goes by their names: a new one may come, none may go."""
    found = vm_state.as_json(
        vm_state.row(Records(vm="7", status=RUNS, keys={"tags": "a b"})), long=True
    )
    assert list(found) == [
        "vm",
        "state",
        "host",
        "since",
        "addresses",
        "note",
        "ram",
        "cpus",
        "tags",
    ]
    assert found["tags"] == ["a", "b"]
