"""What has happened between two looks, by names that stay."""

import pytest

from holdfast.cli.vm_event import NAMES, View, events

RUNS = {"state": "running", "host": "host-a"}
STOPPED, CRASHED = (
    {"state": "stopped", "why": "asked", "host": "host-a"},
    {"state": "crashed", "why": "QEMU died"},
)


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (View(), View(status=RUNS), ["vm.running"]),
        (View(status=RUNS), View(status=RUNS), []),
        (View(status=RUNS), View(status={**RUNS, "host": "host-b"}), ["vm.moved"]),
        (View(status=RUNS), View(status={**RUNS, "state": "paused"}), ["vm.paused"]),
        (View(status=RUNS), View(status={**RUNS, "state": "x"}), []),
        (View(status=RUNS), View(status={**RUNS, "trouble": "disk"}), ["vm.trouble"]),
        (View(status={**RUNS, "trouble": "disk"}), View(status=RUNS), ["vm.recovered"]),
        (View(status=RUNS), View(last=STOPPED, last_at=5), ["vm.stopped"]),
        (View(status=RUNS, last=STOPPED, last_at=5), View(last=STOPPED, last_at=5), ["vm.lost"]),
        (View(status=RUNS), View(last=CRASHED, last_at=6), ["vm.crashed"]),
        (View(status=RUNS), View(status={**RUNS, "addresses": {"nic0": ["10.0.0.7"]}}), ["vm.address"]),
        (View(last=STOPPED, last_at=5), View(last=STOPPED, last_at=5), []),
    ],
)  # fmt: skip
def test_events(before: View, after: View, names: list[str]) -> None:
    found = list(events("7", before, after))
    assert [one.name for one in found] == names
    assert set(names) <= NAMES.keys()
    assert all(one.text.isprintable() and one.vm == "7" for one in found)


def test_no_name_goes() -> None:
    """Programs and people's rules go by them."""
    assert list(NAMES) == [
        "vm.running", "vm.moved", "vm.paused", "vm.panicked", "vm.stopping", "vm.restarting", "vm.stopped",
        "vm.crashed", "vm.lost", "vm.trouble", "vm.recovered", "vm.address", "vm.changed",
    ]  # fmt: skip
