"""QEMU's monitor, and what a guest that has broken out into QEMU might say there."""

import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from holdfast.qmp import client as module
from holdfast.qmp.client import Disconnected, Qmp, QmpError
from holdfast.qmp.monitor import Monitor
from holdfast.runtime.events import Events

pytestmark = pytest.mark.processes

VERSION = {"qemu": {"major": 10, "minor": 0, "micro": 2}}
GREETING = json.dumps({"QMP": {"version": VERSION}}).encode() + b"\n"
READY = GREETING + b'{"return": {}, "id": 1}\n'


@pytest.fixture
def ends() -> Iterator[tuple[Qmp, socket.socket]]:
    """Ours, and QEMU's."""
    qmp = Qmp()
    theirs = qmp.theirs.dup()
    yield qmp, theirs
    theirs.close()
    qmp.close()


def test_a_greeting(ends: tuple[Qmp, socket.socket]) -> None:
    qmp, theirs = ends
    theirs.sendall(READY)
    qmp.connect(10)
    assert qmp.version == "10.0.2"


WRONG = [
    b"no JSON", b"[]", b"7", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000,
    b'{"event": 7}', b'{"event": []}', b'{"event": "X", "data": []}', b'{"error": "x"}',
    b'{"error": 7}', b'{"QMP": []}',
]  # fmt: skip


@pytest.mark.parametrize("said", WRONG, ids=lambda said: repr(said[:20]))
def test_what_is_no_message_ends_the_talk(ends: tuple[Qmp, socket.socket], said: bytes) -> None:
    qmp, theirs = ends
    # More than a socket holds, perhaps; and who is not listened to any more may break off.
    sender = threading.Thread(target=lambda: saying(theirs, said + b"\n"), daemon=True)
    sender.start()
    with pytest.raises(Disconnected):
        qmp.connect(10)
    qmp.close()
    sender.join()


def saying(theirs: socket.socket, what: bytes) -> None:
    with suppress(OSError):
        theirs.sendall(what)


@pytest.mark.parametrize(
    "greeting", [{}, {"QMP": {}}, {"QMP": {"version": 7}}, {"QMP": {"version": {"qemu": []}}}]
)
def test_a_greeting_that_is_none(
    ends: tuple[Qmp, socket.socket], greeting: dict[str, object]
) -> None:
    qmp, theirs = ends
    theirs.sendall(json.dumps(greeting).encode() + b'\n{"return": {}, "id": 1}\n')
    with pytest.raises(Disconnected):
        qmp.connect(10)


def test_a_refusal_without_words(ends: tuple[Qmp, socket.socket]) -> None:
    qmp, theirs = ends
    theirs.sendall(READY + b'{"error": {}, "id": 2}\n')
    qmp.connect(10)
    with pytest.raises(QmpError):
        qmp.call("x", timeout=10)


def test_a_message_without_end(
    ends: tuple[Qmp, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST", 100_000)
    qmp, theirs = ends
    theirs.setblocking(False)

    def flood() -> None:
        for _ in range(1000):
            with suppress(BlockingIOError):
                theirs.send(b"x" * 10_000)
            qmp.read()

    with pytest.raises(Disconnected, match="without end"):
        flood()


def test_a_monitor_survives_whatever_is_said(ends: tuple[Qmp, socket.socket]) -> None:
    """Events of any shape, answers to what nobody asked, in pieces of any size."""
    qmp, _ = ends
    chance = random.Random(7)  # noqa: S311 - the same at each run
    told: list[str] = []
    with Events() as events:
        monitor = Monitor(qmp, events, lambda event, data: told.append(event))
        monitor.ask("query-status", lambda answer: told.append("answered"))
        values: list[object] = [
            None,
            7,
            "x",
            [],
            {},
            {"reason": []},
            True,
            {"message": "m", "level": 1},
        ]
        names = ["event", "data", "return", "error", "id", "timestamp", "QMP"]
        for _ in range(3000):
            message = {name: chance.choice(values) for name in chance.sample(names, 3)}
            with suppress(Disconnected):
                monitor._heard(module._message(json.dumps(message).encode()))
        monitor._heard({"return": {}, "id": 1})
    assert told.count("answered") == 1


def test_refusals_without_end_are_told_seldom(
    ends: tuple[Qmp, socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    with Events() as events:
        monitor = Monitor(ends[0], events, lambda event, data: None)
        for number in range(5000):
            monitor._heard({"error": {"desc": f"no{number}" + "x" * 5000}, "id": 0})
    said = capsys.readouterr().err.splitlines()
    assert 0 < len(said) < 200
    assert max(map(len, said)) < 1200


def test_a_qemu_that_stands_still_gets_whole_commands_later(
    ends: tuple[Qmp, socket.socket],
) -> None:
    """None waits for it, and none is cut off: half a command would spoil all that come after."""
    qmp, theirs = ends
    sent = [qmp.send("cont")]
    with suppress(Disconnected):
        while True:
            sent.append(qmp.send("cont", text="x" * 1000))
    assert len(sent) > module.MOST_UNSENT // 1100
    theirs.settimeout(60)
    taken = bytearray()
    while taken.count(b"\n") < len(sent):  # it goes on
        taken += theirs.recv(65536)
        theirs.sendall(b'{"return": {}, "id": 0}\n')
        qmp.read()
    sent.append(qmp.send("quit"))
    while taken.count(b"\n") < len(sent):
        taken += theirs.recv(65536)
    assert [json.loads(line)["id"] for line in taken.splitlines()] == sent


def test_much_that_is_no_answer(ends: tuple[Qmp, socket.socket]) -> None:
    qmp, theirs = ends
    event = b'{"event": "X"}\n' * (module.MOST_WAITING + 1)
    sender = threading.Thread(target=lambda: saying(theirs, event * 2), daemon=True)
    sender.start()
    with pytest.raises(Disconnected, match="does not answer quit"):
        qmp.call("quit", timeout=600)
    qmp.close()
    sender.join()
