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
from holdfast.runtime.status import FILE, Status


def test_a_file_that_cannot_be_written_is_gone_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = Status(state="running")

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
    status = Status(state="running")
    one = made(Played(), status)
    for _ in range(5):
        one.look()
        clock[0] += 5
    assert beats == [True] * 5
    assert not status.news, "an idle VM writes nothing into etcd"


def test_each_ailment_shows_and_goes(
    beats: list[bool], clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    played, status = Played(), Status(state="running")
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
