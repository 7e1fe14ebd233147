"""The guest's agent, played by a socket that answers as it does, or as it should not."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.qmp import agent

pytestmark = pytest.mark.processes

Requests = list[dict[str, object]]
Answer = Callable[[Requests], bytes]


class Played:
    """Hears two requests, then says what `answer` makes of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: Requests = []
        self.answer: Answer = lambda heard: b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def plays(self, answer: Answer) -> None:
        self.answer = answer
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client:
            said = b""
            while len(self.heard) < 2:
                said += client.recv(4096)
                self.heard = requests(said)
            client.sendall(self.answer(self.heard))
            client.recv(1)  # until the other side has had enough

    def close(self) -> None:
        self._listener.close()


def requests(said: bytes) -> Requests:
    assert said[:1] == b"\xff", "half a request of an earlier client is dropped first"
    found, text, decoder = [], said[1:].decode(), json.JSONDecoder()
    while text:
        try:
            one, end = decoder.raw_decode(text)
        except ValueError:
            break
        found.append(one)
        text = text[end:]
    return found


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    played = Played(tmp_path / "agent")
    yield played
    played.close()


def greeted(heard: Requests) -> bytes:
    arguments = heard[0]["arguments"]
    assert isinstance(arguments, dict)
    return b"\xff" + json.dumps({"return": arguments["id"]}).encode() + b"\n"


def test_an_answer(played: Played) -> None:
    played.plays(lambda heard: greeted(heard) + b'{"return": {"a": 1}}\n')
    assert agent.ask(played.path, "guest-info") == {"a": 1}
    assert [one["execute"] for one in played.heard] == ["guest-sync-delimited", "guest-info"]


def test_an_earlier_clients_answers_are_passed_over(played: Played) -> None:
    stale = b'{"return": 7}\n\xff{"return": 8}\n{"return": "stale"}\n'
    played.plays(lambda heard: stale + greeted(heard) + b'{"return": "new"}\n')
    assert agent.ask(played.path, "guest-info") == "new"


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\xffnoise\n\n\n", b"[1]\n", b'{"error": {}}\n', b"x" * (agent.LONGEST + 9), b"\n" * 1000,
        b"[" * 200_000 + b"\n", b'{"a":' * 100_000 + b"\n",
    ],
    ids=["nothing", "noise", "a list", "an error", "too much", "lines", "deep", "deep objects"],
)  # fmt: skip
def test_what_is_no_answer(played: Played, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PATIENCE", 0.2)
    played.plays(lambda heard: greeted(heard) + said)
    with pytest.raises(agent.Mute):
        agent.ask(played.path, "guest-info")


def test_an_answer_that_drips_has_one_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "PATIENCE", 0.5)
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()

        def drip() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                while not over.wait(0.05):  # each read is quick
                    client.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(agent.Mute, match=r"too long|timed out"):
            agent.ask(tmp_path / "agent", "guest-info")
        over.set()
        thread.join()


def test_no_thread_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of processes: the power button is pressed in place of the agent."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    mute = threading.Event()
    agent.shut_down(tmp_path / "agent", mute.set)
    assert mute.is_set()


def test_a_fault_of_ours_keeps_no_guest_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise KeyError("return")

    monkeypatch.setattr(agent, "_talk", faulty)
    pressed = threading.Event()
    agent.shut_down(tmp_path / "agent", pressed.set).join(60)
    assert pressed.is_set()
    assert "agent: KeyError" in capsys.readouterr().err


def test_a_shutdown_has_no_answer(played: Played) -> None:
    played.plays(greeted)
    mute = threading.Event()
    agent.shut_down(played.path, mute.set).join(10)
    assert not mute.is_set()
    assert played.heard[1]["execute"] == "guest-shutdown"


def test_who_is_not_there_is_told_of(tmp_path: Path) -> None:
    mute = threading.Event()
    agent.shut_down(tmp_path / "agent", mute.set).join(10)
    assert mute.is_set()
