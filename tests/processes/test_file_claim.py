"""The claim beside a file that several hosts share, on a real file system."""

import threading
from pathlib import Path

import pytest

from holdfast.errors import LockHeld
from holdfast.storage.file_claim import ClaimsBeside, claim_of, mark_of

pytestmark = pytest.mark.processes


def test_of_many_that_come_at_once_one_has_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    start = threading.Barrier(8)
    won = []

    def take(name: str) -> None:
        start.wait()
        try:
            ClaimsBeside({disk: ""}).put(name)
        except LockHeld:
            return
        won.append(name)

    takers = [threading.Thread(target=take, args=(f"taker {n}",)) for n in range(8)]
    for one in takers:
        one.start()
    for one in takers:
        one.join()
    assert won == [claim_of(disk)]
    assert list(tmp_path.iterdir()) == [mark_of(disk)], "nothing unfinished stays"


def test_a_claim_is_replaced_only_as_it_was_seen(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    ClaimsBeside({disk: ""}).put("first")
    ClaimsBeside({disk: "first"}).put("second")
    with pytest.raises(LockHeld, match="holdfast-claim says by whom"):
        ClaimsBeside({disk: "first"}).put("third")
    assert claim_of(disk) == "second"


def test_only_what_is_ours_goes(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    ours = ClaimsBeside({disk: ""})
    ours.put("ours")
    mark_of(disk).write_text("theirs")
    ours.drop()
    assert claim_of(disk) == "theirs"


def test_where_nothing_can_be_written_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ClaimsBeside({tmp_path / "none" / "disk.raw": ""}).put("ours")
    assert "nothing keeps another etcd" in capsys.readouterr().err


def test_an_empty_claim_is_not_none(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    mark_of(disk).touch()
    assert claim_of(disk)
