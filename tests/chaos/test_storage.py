"""Faults 25 to 27: local storage that is full, or wanted twice."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.arena import Arena, Vm
from chaos.disk import FileDisk, silent, stamped
from chaos.network import run


@pytest.fixture
def small_pool(pool: Path) -> Iterator[Path]:
    """A file system that holds less than its disks promise."""
    run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", pool)
    yield pool
    run("umount", "--lazy", pool)


def fill(directory: Path, leave: int) -> Path:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - only the last of many writes fails
        file.truncate(file.tell() - leave)
    return filler


def test_25_disk_full(arena: Arena, vm: Vm, disk: FileDisk, small_pool: Path) -> None:
    """The guest is paused, not told of an error, and goes on when there is room."""
    a = vm.start(arena.hosts[0])
    writer = a.writes()
    stamped(disk, writer)
    filler = fill(small_pool, leave=8192)
    a.says("No space left on device; the guest is paused")
    silent(disk, 1)
    filler.unlink()
    stamped(disk, writer)
    assert "GUEST-JOURNAL-FAILED" not in a.console
    arena.verify(vm, disk)


FULL = {
    "no room for a directory": ("size=4k,nr_inodes=2", "", "has room for"),
    "no room for the kernel": ("size=1m", "", "has room for"),
    "no room for a volume": (
        "size=64m",
        "mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs $POOL",
        "No space left on device",
    ),
}


@pytest.mark.parametrize(("run_options", "inside", "said"), FULL.values(), ids=FULL.keys())
def test_26_no_room_at_start(
    run_options: str, inside: str, said: str, arena: Arena, vm: Vm, pool: Path
) -> None:
    a = vm.start(
        arena.hosts[0], run_options=run_options, inside=inside.replace("$POOL", str(pool))
    )
    assert a.ends() != 0
    assert "Traceback" not in a.log, a.log
    assert said in a.log
    assert vm.get("lock") is None
    assert vm.get("fence") is None


def test_27_second_qemu_by_hand(arena: Arena, vm: Vm, disk: FileDisk) -> None:
    a = vm.start(arena.hosts[0])
    writer = a.writes()
    done = subprocess.run(
        [
            *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-machine", "pc"),
            *("-drive", f"file={disk.path},format=raw,if=ide"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert 'Failed to get "write" lock' in done.stderr
    stamped(disk, writer)
    arena.verify(vm, disk)
