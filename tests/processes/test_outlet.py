"""What is written where nobody reads: it never waits, whatever stands at the other end."""

import fcntl
import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from deadline import eventually

from holdfast import log
from holdfast.devices.console import Console
from holdfast.runtime.events import Events
from holdfast.runtime.outlet import Outlet

pytestmark = pytest.mark.processes

MUCH = 3 << 19  # bytes: more than all pipes and sockets hold
PIECE = b"x" * 1000 + b"\n"
Made = tuple[int, int]  # where to write, and where nobody reads


def pipe() -> Made:
    reader, writer = os.pipe()
    return writer, reader


def terminal() -> Made:
    leader, follower = os.openpty()
    return follower, leader


def stream() -> Made:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(params=[pipe, terminal, stream])
def made(request: pytest.FixtureRequest, stack: ExitStack) -> Made:
    ends: Made = request.param()
    for end in ends:
        stack.callback(os.close, end)
    return ends


def opened(descriptor: int, stack: ExitStack) -> Outlet:
    def end() -> None:
        outlet.close(time.monotonic())
        if outlet._cat is not None:  # it waits for who does not read
            outlet._cat.kill()
            outlet._cat.wait()

    outlet = Outlet(descriptor)
    stack.callback(end)
    return outlet


def flood(outlet: Outlet) -> int:
    """How much of MUCH was taken."""
    return sum(outlet.write(PIECE) for _ in range(MUCH // len(PIECE)))


def test_nobody_reads(made: Made, stack: ExitStack) -> None:
    writer, _ = made
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    outlet = opened(writer, stack)
    assert flood(outlet) < MUCH
    assert fcntl.fcntl(writer, fcntl.F_GETFL) == flags, "others share it"


def test_what_is_taken_arrives_and_it_goes_on_when_somebody_reads(
    made: Made, stack: ExitStack
) -> None:
    writer, reader = made
    outlet = opened(writer, stack)
    flood(outlet)
    os.set_blocking(reader, False)
    until, found = time.monotonic() + 30, b""
    while b"again" not in found and time.monotonic() < until:
        try:
            found = found[-100:] + os.read(reader, 65536)
        except BlockingIOError:
            outlet.write(b"again\n")
    assert b"again" in found


def test_a_full_disk_that_has_room_again(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `cat` ends there, and another one comes."""
    monkeypatch.setattr("holdfast.runtime.outlet.NEXT_CAT", 0.05)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "log", tmp_path], check=False)
    assert done.returncode == 0
    stack.callback(lambda: subprocess.run(["umount", "--lazy", tmp_path], check=True))
    path = tmp_path / "log"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stack.callback(os.close, file)
    outlet = opened(file, stack)
    assert flood(outlet) < MUCH
    eventually(lambda: path.stat().st_size >= 60_000)
    os.truncate(path, 0)
    eventually(lambda: bool(outlet.write(b"again\n")) and b"again" in path.read_bytes())


def test_a_descriptor_that_is_none(stack: ExitStack) -> None:
    outlet = opened(987, stack)
    assert outlet.write(b"x") == 0


def test_lines_that_were_not_shown_are_counted(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = pipe()
    stack.callback(os.close, writer)
    stack.callback(os.close, reader)
    monkeypatch.setattr(log, "_sink", log._Sink())
    log.through(opened(writer, stack))
    for number in range(MUCH // 1000):
        log.info("x" * 1000, number=number)
    shown = drained(reader)
    log.catch_up()
    said = drained(reader).decode()
    lines = shown.count(b"\n")
    assert f"{MUCH // 1000 - lines} lines were not taken by stderr" in said
    assert shown.endswith(b"\n"), "each line is shown whole, or not at all"
    log.info("and on")
    assert drained(reader).decode().endswith("and on\n")


# -- the console


class RunDirectory:
    def __init__(self, path: Path) -> None:
        self.path = path

    def listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path / name))
        listener.listen()
        return listener


@pytest.fixture
def console(tmp_path: Path, stack: ExitStack) -> tuple[Console, Events, int]:
    """With its loop, and the end of stdout that is to be read."""
    writer, reader = pipe()
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    events = Events()
    made = Console(RunDirectory(tmp_path), opened(writer, stack))  # type: ignore[arg-type]
    stack.callback(made.close)
    stack.callback(os.close, made.output)
    stack.callback(os.close, made.input)
    made.watch(events)
    os.set_blocking(made.output, False)
    return made, events, reader


def turn(events: Events, times: int = 1) -> None:
    for _ in range(times):
        events.wait(time.monotonic() + 0.002)


def printed(console: Console, events: Events, much: int) -> None:
    """As a guest prints: it goes on whoever reads."""
    left = much
    while left > 0:
        try:
            left -= os.write(console.output, PIECE * 8)
        except BlockingIOError:
            turn(events)
    turn(events, 30)


def test_a_guest_prints_on_though_stdout_is_full(
    console: tuple[Console, Events, int], capsys: pytest.CaptureFixture[str]
) -> None:
    made, events, reader = console
    printed(made, events, MUCH)
    shown = drained(reader)
    assert 0 < len(shown) < MUCH
    os.write(made.output, b"again\n")
    turn(events, 5)
    assert drained(reader).endswith(b"again\n")
    assert "bytes were not taken by stdout" in capsys.readouterr().err


def test_viewers_see_and_type_and_one_that_never_reads_harms_nobody(
    console: tuple[Console, Events, int], tmp_path: Path, stack: ExitStack
) -> None:
    made, events, _ = console
    lazy, keen = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
    for viewer in (lazy, keen):
        viewer.connect(str(tmp_path / "console"))
        viewer.setblocking(False)
    turn(events, 5)
    keen.send(b"root\n")
    turn(events, 5)
    assert os.read(made.input, 100) == b"root\n"
    seen, before = b"", time.monotonic()
    for _ in range(MUCH // 8000):
        printed_once(made, events)
        seen += drained(keen.fileno())
    assert seen.count(b"\n") == MUCH // 8000, "whoever reads has all of it"
    assert time.monotonic() - before < 60
    mark = drained(lazy.fileno())
    assert mark.count(b"\n") < MUCH // 8000
    printed_once(made, events)
    assert b"bytes left out]" in drained(lazy.fileno())
    lazy.close()
    printed_once(made, events)
    assert drained(keen.fileno())


def printed_once(console: Console, events: Events) -> None:
    os.write(console.output, b"y" * 7999 + b"\n")
    turn(events, 2)


def test_what_is_typed_and_never_read_harms_nobody(
    console: tuple[Console, Events, int], tmp_path: Path, stack: ExitStack
) -> None:
    made, events, reader = console
    viewer = stack.enter_context(socket.socket(socket.AF_UNIX))
    viewer.connect(str(tmp_path / "console"))
    turn(events, 2)
    viewer.settimeout(0.05)
    typed = 0
    while typed < MUCH // 4:
        try:
            typed += viewer.send(b"x" * 1000)
        except TimeoutError:
            pass
        turn(events)
    os.write(made.output, b"alive\n")
    turn(events, 400)
    assert drained(reader).endswith(b"alive\n")


def test_no_descriptor_for_a_viewer(
    console: tuple[Console, Events, int], tmp_path: Path, stack: ExitStack
) -> None:
    """Whoever knocks would be heard again at once, and for ever."""
    made, events, _ = console
    viewer = stack.enter_context(socket.socket(socket.AF_UNIX))
    viewer.connect(str(tmp_path / "console"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    full = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(full) + 1, limits[1]))
    try:
        with suppress(OSError):
            while True:
                full.append(os.dup(0))
        turn(events)
        assert not events._selector.select(0), "the loop has nothing to do"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for one in full:
            os.close(one)
    made.look()
    turn(events, 5)
    os.write(made.output, b"hello\n")
    turn(events, 5)
    viewer.settimeout(60)
    assert viewer.recv(100) == b"hello\n"


def test_the_last_words_are_shown(console: tuple[Console, Events, int]) -> None:
    made, _, reader = console
    os.write(made.output, b"GUEST-DOWN\n")
    made.forget()
    assert drained(reader) == b"GUEST-DOWN\n"


def drained(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    found = b""
    try:
        while data := os.read(descriptor, 1 << 20):
            found += data
    except BlockingIOError:
        pass
    return found
