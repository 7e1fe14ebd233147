"""What operators read, where it cannot be written, and what ails a VM there."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.devices.console import Console
from holdfast.instance import health
from holdfast.instance.health import Health
from holdfast.ownership.keepalive import KeepAlive
from holdfast.qmp.monitor import Monitor
from holdfast.runtime import thread
from holdfast.runtime.status import FILE, Facts, Figures, Lease, Restart, Status, VmState


def test_a_file_that_cannot_be_written_is_gone_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = Status(state=VmState.running)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with status.shown_in(tmp_path):
        assert (tmp_path / FILE).exists()
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", full)
            status.show(etcd="answers")
            assert "No space left on device" in status.stale
            assert not (tmp_path / FILE).exists(), "none says more than an old one"
        status.show(etcd="is away")
        assert status.stale == ""
        assert json.loads((tmp_path / FILE).read_bytes())["etcd"] == "is away"


class Played:
    """Monitor, console and keep-alive of a VM, as far as its health asks them."""

    def __init__(self) -> None:
        self.answers = True
        self.is_stuck = False

    def ask(self, command: str, then: Any, **arguments: object) -> None:
        if self.answers:
            then([] if command == "x-query-virtio" else {})

    def look(self) -> None: ...

    def stuck(self) -> bool:
        return self.is_stuck


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    found: list[bool] = []
    monkeypatch.setattr(health, "beat", lambda *, well: found.append(well))
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("holdfast.instance.health.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def made(played: Played, status: Status) -> Health:
    return Health(cast(Monitor, played), status, cast(KeepAlive, played), cast(Console, played))


def test_well_is_a_vm_of_which_nothing_is_said(beats: list[bool], clock: list[float]) -> None:
    status = Status(state=VmState.running)
    one = made(Played(), status)
    for _ in range(5):
        one.look()
        clock[0] += 5
    assert beats == [True] * 5
    assert not status.news, "an idle VM writes nothing into etcd"


def test_each_ailment_shows_and_goes(
    beats: list[bool], clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    played, status = Played(), Status(state=VmState.running)
    one = made(played, status)
    one.look()
    played.answers = False
    for _ in range(3):
        clock[0] += 5
        one.look()
    assert beats[-1] is False
    assert "does not answer" in status.value().decode()
    assert capsys.readouterr().err.count("does not answer") == 1
    played.is_stuck = True
    thread.ended.add("watch")
    clock[0] += 5
    one.look()
    said = status.value().decode()
    assert "minds the lease" in said
    assert "the thread watch has ended" in said
    thread.ended.clear()
    played.is_stuck = False
    one.ails("disk", "disk root: No space left on device")
    assert "No space left" in status.value().decode()
    one.recovers("disk")
    one.look()
    assert "over after" in capsys.readouterr().err


def test_a_disk_that_fails_is_not_well_until_it_recovers(
    beats: list[bool], clock: list[float]
) -> None:
    one = made(Played(), Status())
    one.ails("disk", "disk root: No space left on device")
    one.look()
    assert beats == [False, False]
    one.recovers("disk")
    assert beats[-1] is True


# -- the fields

ROOT = Path(__file__).parents[3]
KEYS = (ROOT / "docs/keys.md").read_text(encoding="utf-8")
FIELDS = KEYS.partition("<!-- status -->")[2].partition("<!-- end of status -->")[0]


def documented() -> list[str]:
    """The first column."""
    return [line.split("|")[1].strip(" `") for line in FIELDS.splitlines() if line[:3] == "| `"]


def test_all_fields_are_documented_in_their_order() -> None:
    parts: dict[str, Any] = {"last_restart": Restart, "lease": Lease}
    expected = []
    for name in (*Facts.__annotations__, *Figures.__annotations__):
        inner = parts[name].__annotations__ if name in parts else {}
        expected += [name, *(f"{name}.{one}" for one in inner)]
    assert documented() == expected


def test_all_states_are_documented() -> None:
    row = next(line for line in FIELDS.splitlines() if line.startswith("| `state` |"))
    assert set(VmState) == set(row.split("|")[2].replace("`", "").replace(",", " ").split())


def test_the_key_as_it_is_written() -> None:
    """Operators' programs read these bytes; what is not known is left out, and the order is always the same."""
    status = Status(ttl=10.0, epoch=3, state=VmState.starting, host="kvm1", unknown=[])
    status.show(etcd="answers")
    assert status.value() == (
        b'{"state":"starting","host":"kvm1","epoch":3,"ttl":10.0,"unknown":[]}'
    )
    status.hear(addresses={"nic0": ("10.0.0.7",)})
    status.report(trouble="", restarts=1, last_restart={"when": "noon", "why": "QEMU ended"})
    status.report(state=VmState.running, qemu="10.0.2")
    assert status.value() == (
        b'{"state":"running","host":"kvm1","epoch":3,"ttl":10.0,"unknown":[],"qemu":"10.0.2","restarts":1,'
        b'"last_restart":{"when":"noon","why":"QEMU ended"},"trouble":"","addresses":{"nic0":["10.0.0.7"]}}'
    )


def test_the_file_has_the_figures_too(tmp_path: Path) -> None:
    status = Status(state=VmState.running)
    with status.shown_in(tmp_path):
        status.show(lease={"since": "a", "renewed": "b", "seconds_left": 7.5}, etcd="answers")
        assert (tmp_path / FILE).read_bytes() == (
            b'{"state":"running","lease":{"since":"a","renewed":"b","seconds_left":7.5},"etcd":"answers"}\n'
        )
