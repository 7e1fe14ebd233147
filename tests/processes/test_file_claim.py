"""The claim beside a file that several hosts share, on a real file system."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from interruptions import interruptions

from holdfast.errors import LockHeld, Unreachable
from holdfast.etcd.record import Unreadable
from holdfast.storage import image_claim
from holdfast.storage.file_claim import ClaimsBeside, claim_of, mark_of
from holdfast.storage.image_claim import ImageClaim

pytestmark = pytest.mark.processes


def claim(tree: str, epoch: int) -> str:
    return image_claim.encode(
        ImageClaim(tree=tree, prefix="/kvm", vm="7", lock="/kvm/7/lock", epoch=epoch, host="h")
    )


FIRST, SECOND, THIRD, ANOTHER_TREES = (claim("a", 1), claim("a", 2), claim("a", 3), claim("b", 1))


def held(claims: ClaimsBeside, text: str) -> bool:
    try:
        claims.put(text)
    except LockHeld:
        return False
    return True


def every_moment(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A file for each call that the interrupted one makes."""
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        yield number, folder / "disk.raw"
        if interruptions.over:
            assert number > 1, "it was interrupted"
            return
    pytest.fail("it makes calls without end")


def test_who_lets_go_late_takes_nothing_from_his_successor(tmp_path: Path) -> None:
    for number, disk in every_moment(tmp_path):
        ours, successor = ClaimsBeside({disk: ""}), ClaimsBeside({disk: FIRST})
        ours.put(FIRST)
        won: list[bool] = []
        with interruptions.before(number, lambda: won.append(held(successor, SECOND))):  # noqa: B023
            ours.drop()
        assert claim_of(disk) == (SECOND if any(won) else "")


def test_who_lets_go_late_takes_nothing_from_another_tree(tmp_path: Path) -> None:
    for number, disk in every_moment(tmp_path):
        ours, others = ClaimsBeside({disk: ""}), ClaimsBeside({disk: ""})
        ours.put(FIRST)
        won: list[bool] = []
        with interruptions.before(number, lambda: won.append(held(others, ANOTHER_TREES))):  # noqa: B023
            ours.drop()
        assert claim_of(disk) == (ANOTHER_TREES if any(won) else "")


def test_who_takes_late_replaces_nobody(tmp_path: Path) -> None:
    """While a taker of an earlier owner's claim sleeps, another one takes it, lets go, and another tree comes."""
    for number, disk in every_moment(tmp_path):
        ClaimsBeside({disk: ""}).put(FIRST)
        slow, quick = ClaimsBeside({disk: FIRST}), ClaimsBeside({disk: FIRST})
        won: list[bool] = []

        def meanwhile(disk: Path = disk, quick: ClaimsBeside = quick) -> None:
            if held(quick, THIRD):
                quick.drop()
            won.append(held(ClaimsBeside({disk: ""}), ANOTHER_TREES))  # noqa: B023

        with interruptions.before(number, meanwhile):
            ours = held(slow, SECOND)
        assert [ours, *won].count(True) <= 1
        if any(won):
            assert claim_of(disk) == ANOTHER_TREES
        slow.drop()
        if any(won):
            assert claim_of(disk) == ANOTHER_TREES


def test_while_one_takes_over_the_file_is_never_free(tmp_path: Path) -> None:
    for number, disk in every_moment(tmp_path):
        ClaimsBeside({disk: ""}).put(FIRST)
        others = ClaimsBeside({disk: ""})
        won: list[bool] = []
        with interruptions.before(number, lambda: won.append(held(others, ANOTHER_TREES))):  # noqa: B023
            ClaimsBeside({disk: FIRST}).put(SECOND)
        assert not any(won)
        assert claim_of(disk) == SECOND


def test_who_dies_on_the_way_is_no_obstacle_to_his_own_tree(tmp_path: Path) -> None:
    """The next one takes the claim from whatever was left, and leaves nothing behind."""
    for number, disk in every_moment(tmp_path):
        ClaimsBeside({disk: ""}).put(FIRST)
        if (pid := os.fork()) == 0:
            with interruptions.before(number, lambda: os._exit(1)):
                ClaimsBeside({disk: FIRST}).put(SECOND)
            os._exit(0)
        interruptions.over = os.waitpid(pid, 0)[1] == 0
        assert claim_of(disk) in (FIRST, SECOND)
        last = ClaimsBeside({disk: claim_of(disk)})
        last.put(THIRD)
        assert claim_of(disk) == THIRD
        last.drop()
        assert claim_of(disk) == ""


def test_of_many_that_come_at_once_one_has_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    start = threading.Barrier(8)
    won = []

    def take(name: str) -> None:
        start.wait()
        if held(ClaimsBeside({disk: ""}), name):
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
    ClaimsBeside({disk: ""}).put(FIRST)
    ClaimsBeside({disk: FIRST}).put(SECOND)
    with pytest.raises(LockHeld, match="holdfast-claim says by whom"):
        ClaimsBeside({disk: FIRST}).put(THIRD)
    assert claim_of(disk) == SECOND


def test_a_fifo_among_the_claims_holds_nobody_up(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    mark_of(disk).mkdir()
    os.mkfifo(mark_of(disk) / "one")
    assert claim_of(disk) == "no file"


def test_what_a_claim_is_a_link_to_is_not_shown(tmp_path: Path) -> None:
    disk, secret = tmp_path / "disk.raw", tmp_path / "secret"
    secret.write_text("secret")
    mark_of(disk).mkdir()
    (mark_of(disk) / "one").symlink_to(secret)
    assert claim_of(disk) == "no file"


@pytest.mark.parametrize("number", range(12))
def test_a_link_in_place_of_the_claims_leads_nowhere(tmp_path: Path, number: int) -> None:
    """Who may write to the folder may swap it before any call: no file of another folder goes for it."""
    disk, pool = tmp_path / "disk.raw", tmp_path / "pool"
    for folder, texts in ((mark_of(disk), (FIRST, SECOND)), (pool, ("a disk", "another"))):
        folder.mkdir()
        for name, text in zip("ab", texts, strict=True):
            (folder / name).write_text(text)

    def swap() -> None:
        mark_of(disk).rename(tmp_path / "away")
        mark_of(disk).symlink_to(pool)

    seen = claim_of(disk)
    with interruptions.before(number, swap), suppress(LockHeld, Unreachable):
        ClaimsBeside({disk: seen}).put(THIRD)
    assert {"a", "b"} <= {one.name for one in pool.iterdir()}


def test_where_nothing_can_be_written_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ClaimsBeside({tmp_path / "none" / "disk.raw": ""}).put("ours")
    assert "nothing keeps another etcd" in capsys.readouterr().err


def test_where_there_is_no_room_nothing_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour who fills the folder must not make a launcher go without."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(Unreachable, match="cannot be written: No space left"):
        ClaimsBeside({tmp_path / "disk.raw": ""}).put(FIRST)


def test_two_trees_in_one_place_are_nobodys_to_take(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    mark_of(disk).mkdir()
    for name, text in (("x", FIRST), ("y", ANOTHER_TREES)):
        (mark_of(disk) / name).write_text(text)
    seen = claim_of(disk)
    with pytest.raises(Unreadable):
        image_claim.decode_claim(seen)
    assert not held(ClaimsBeside({disk: seen}), SECOND)
    assert claim_of(disk) == seen


@pytest.mark.parametrize("kind", ["file", "empty"])
def test_what_is_no_claim_is_not_none(tmp_path: Path, kind: str) -> None:
    disk = tmp_path / "disk.raw"
    if kind == "file":
        mark_of(disk).touch()
    else:
        mark_of(disk).mkdir()
        (mark_of(disk) / "x").touch()
    assert claim_of(disk)
