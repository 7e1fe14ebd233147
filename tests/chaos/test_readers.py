"""Nobody who reads stops a VM: neither he who is given its log and console, nor he who looks at the console."""

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from chaos import journal
from chaos.arena import LOCAL
from chaos.disk import FileDisk
from deadline import eventually
from etcd import Etcd
from launcher import BASE, told

TTL = 5
FLOOD = "while :; do echo 0123456789012345678901234567890123456789; done & echo FLOODS"


class Unread:
    """A launcher whose stdout and stderr go where nobody reads."""

    def __init__(self, descriptor: int, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast"],
            env={**BASE, **environ},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
        )

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


Place = Callable[[ExitStack, Path], tuple[int, int]]


def a_pipe(stack: ExitStack, beside: Path) -> tuple[int, int]:
    reader, writer = os.pipe()
    return writer, reader


def a_terminal(stack: ExitStack, beside: Path) -> tuple[int, int]:
    leader, follower = os.openpty()
    return follower, leader


def a_socket(stack: ExitStack, beside: Path) -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def a_full_disk(stack: ExitStack, beside: Path) -> tuple[int, int]:
    disk = beside / "log"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "log", disk], check=True)
    stack.callback(lambda: subprocess.run(["umount", "--lazy", disk], check=True))
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    return os.open(disk / "log", flags), os.open(disk / "log", flags)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def environ(etcd_server: Etcd, name: str, host_toml: Path, keys: dict[str, str]) -> dict[str, str]:
    etcd_server.put(name, **{**keys, **LOCAL})
    return {
        "VM": name,
        "ETCD_ENDPOINTS": etcd_server.url,
        "TTL": str(TTL),
        "HOSTNAME": "host-0",
        "HOLDFAST_CONFIG": str(host_toml),
    }


@pytest.fixture
def disk(pool: Path, name: str) -> FileDisk:
    return FileDisk(pool / f"{name}-data.raw")


def stamps(disk: FileDisk) -> int:
    """How many the guest has written, by its own clock."""
    with suppress(FileNotFoundError):
        stamp = journal.parse(disk.block(journal.FIXED))
        return stamp.n if stamp else 0
    return 0


def lives(etcd: Etcd, vm: str, disk: FileDisk) -> None:
    """Guest, lease and QEMU go on for longer than a lease may last."""
    before, renewed = stamps(disk), shown(vm)["lease"]
    eventually(lambda: stamps(disk) > before + 20, what="the guest's next stamps")
    eventually(lambda: shown(vm)["lease"]["renewed"] != renewed["renewed"], what="a renewal")
    time.sleep(2 * TTL)  # no event: what is wrong would show by then
    assert shown(vm).get("trouble", "") == "", shown(vm)
    assert etcd.get(f"/kvm/{vm}/lock")
    eventually(lambda: stamps(disk) > before + 40, what="the guest's next stamps")


def shown(vm: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(
        Path(f"/run/holdfast/{vm}/status.json").read_text(encoding="utf-8")
    )
    return found


def stops_gracefully(launcher: Unread, etcd: Etcd, vm: str) -> None:
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.process.wait(60) == 0
    last = json.loads(etcd.get(f"/kvm/_last/{vm}") or "{}")
    assert (last["why"], last["forced"]) == ("stopped", False)


@pytest.mark.parametrize("place", [a_pipe, a_terminal, a_socket, a_full_disk])
def test_log_and_console_that_nobody_reads(
    place: Place, stack: ExitStack, etcd_server: Etcd, environ: dict[str, str], disk: FileDisk
) -> None:
    name = environ["VM"]
    ours, unread = place(stack, disk.path.parent)
    for end in (ours, unread):
        stack.callback(os.close, end)
    launcher = Unread(ours, environ)
    stack.callback(launcher.close)
    eventually(lambda: stamps(disk) > 3, what="the guest's first stamps")
    told(name, FLOOD, "FLOODS")
    full = 50_000 if place is not a_terminal else 1000
    eventually(lambda: held(unread) > full, what="an end that is full")
    lives(etcd_server, name, disk)
    stops_gracefully(launcher, etcd_server, name)


def held(descriptor: int) -> int:
    """Bytes that wait to be read."""
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    size = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(size, sys.byteorder)


def test_a_viewer_that_never_reads(
    stack: ExitStack, etcd_server: Etcd, environ: dict[str, str], name: str, disk: FileDisk
) -> None:
    with Path(os.devnull).open("wb") as nowhere:
        launcher = Unread(nowhere.fileno(), environ)
    stack.callback(launcher.close)
    eventually(lambda: stamps(disk) > 3, what="the guest's first stamps")
    viewer = stack.enter_context(socket.socket(socket.AF_UNIX))
    viewer.connect(f"/run/holdfast/{name}/console")
    told(name, FLOOD, "FLOODS")
    eventually(lambda: held(viewer.fileno()) > 50_000, what="a viewer that has enough")
    lives(etcd_server, name, disk)
    told(name, "echo SEEN", "SEEN")  # others type and see
    stops_gracefully(launcher, etcd_server, name)
