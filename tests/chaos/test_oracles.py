"""The suite's own eyes: watcher and checker must see what they are there for."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos import journal
from chaos.host import Host
from chaos.journal import FIRST, FIXED, GAP, SECTOR
from chaos.network import Network
from chaos.watcher import Sighting, Watcher
from deadline import eventually


@contextmanager
def planted(host: Host, guest: Path, *options: str) -> Iterator[int]:
    """A QEMU that no launcher has started, in a host of the suite's."""
    command = [
        *("ip", "netns", "exec", host.namespace.name, "qemu-system-x86_64", "-nodefaults"),
        *("-name", "guest=planted,process=qemu-planted", "-m", "128", "-display", "none"),
        *("-accel", "tcg,thread=multi", "-kernel", f"{guest}/vmlinuz", *options),
    ]
    process = subprocess.Popen(command)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def own_host(network: Network) -> Host:
    """Apart from the hosts of the cases, whose watcher must stay content."""
    return Host(network.host(9), "planted", Path("/dev/null"))


def test_the_watcher_sees_a_planted_qemu(own_host: Host, guest: Path) -> None:
    with Watcher({own_host.namespace.inode}) as watcher, planted(own_host, guest) as first:
        assert watcher.runs("planted", 0).pid == first
        with planted(own_host, guest, "-S"):
            eventually(lambda: len(watcher.log.sightings) == 2)
            time.sleep(1)
            assert not watcher.log.overlaps, "it is paused, so nothing is wrong yet"
        with planted(own_host, guest) as third:
            eventually(lambda: watcher.log.overlaps)
            assert f"pid={third}" in watcher.log.overlaps[0]
        assert watcher.log.samples > 50
        eventually(lambda: len(watcher.running("planted")) == 1)


def test_the_watcher_asks_who_is_fenced(own_host: Host, guest: Path) -> None:
    asked: list[Sighting] = []

    def fenced(one: Sighting) -> bool:
        asked.append(one)
        return True

    with Watcher({own_host.namespace.inode}, fenced) as watcher, planted(own_host, guest) as first:
        watcher.runs("planted", 0)
        with planted(own_host, guest):
            eventually(lambda: asked)
        assert asked[0].pid == first
        assert not watcher.log.overlaps


# -- the checker

EPOCHS = {"a": 1, "b": 2, "c": 2}
A_START = FIRST + GAP - 1
B_START = A_START + 9 + GAP


def stamp(writer: str, n: int, after: int, start: int) -> bytes:
    at = start + n - 1
    text = (
        f"holdfast-journal writer={writer} after={after} start={start} n={n} at={at} uptime={n}.5"
    )
    return f"{text:<511}\n".encode()


def two_epochs() -> bytearray:
    """Ten stamps of epoch 1, ten of epoch 2, and nothing wrong."""
    disk = bytearray(1 << 20)
    for n in range(1, 11):
        put(disk, A_START + n - 1, stamp("a", n, FIRST - 1, A_START))
    for n in range(1, 11):
        put(disk, B_START + n - 1, stamp("b", n, A_START + 9, B_START))
    put(disk, FIXED, stamp("b", 10, A_START + 9, B_START))
    return disk


def put(disk: bytearray, sector: int, data: bytes) -> None:
    disk[sector * SECTOR : (sector + 1) * SECTOR] = data


def test_the_checker_is_content_with_two_epochs() -> None:
    found = journal.check(bytes(two_epochs()), EPOCHS)
    assert found.violations == ()
    assert found.stamps == 20
    assert found.gap() == 1
    assert found.gap(after=10) == 0


LATE = {
    "in the gap": (A_START + 10, stamp("a", 11, FIRST - 1, A_START)),
    "over the next writer's": (B_START + 3, stamp("a", GAP + 13, FIRST - 1, A_START)),
    "behind the next writer's": (B_START + 10, stamp("a", GAP + 20, FIRST - 1, A_START)),
    "into the fixed block": (FIXED, stamp("a", 11, FIRST - 1, A_START)),
}


@pytest.mark.parametrize(("sector", "data"), LATE.values(), ids=LATE.keys())
def test_the_checker_sees_a_late_write(sector: int, data: bytes) -> None:
    disk = two_epochs()
    put(disk, sector, data)
    assert journal.check(bytes(disk), EPOCHS).violations


def test_the_checker_sees_a_lost_write() -> None:
    disk = two_epochs()
    put(disk, A_START + 5, bytes(SECTOR))
    assert journal.check(bytes(disk), EPOCHS).violations


def test_the_checker_sees_a_torn_write() -> None:
    disk = two_epochs()
    put(disk, B_START + 5, b"x" * SECTOR)
    assert journal.check(bytes(disk), EPOCHS).violations


def test_the_checker_sees_a_writer_that_nobody_started() -> None:
    disk = two_epochs()
    assert journal.check(bytes(disk), {"b": 2}).violations
