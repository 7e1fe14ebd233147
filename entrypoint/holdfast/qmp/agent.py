"""The guest's agent (docs/interop/qemu-ga-ref), over the socket that QEMU serves to one client at a time."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast import log
from holdfast.runtime.thread import described

PATIENCE = (
    2.0  # for all that is said: it may not be installed, and QEMU serves one client at a time
)
LONGEST = 1 << 20  # what a guest says is taken in up to here


class Mute(Exception):
    """Nobody answers there, or not as an agent would. What it says is the guest's word, and not trusted."""


def ask(path: Path, command: str) -> Any:
    """Ask the agent; return its answer. Raises Mute, also where it refuses."""
    answer = _talk(path, {"execute": command}, lines=2)[1]
    if not isinstance(answer, dict) or "return" not in answer:
        raise Mute(f"the agent refuses {command}")
    return answer["return"]


def shut_down(path: Path, otherwise: Callable[[], None]) -> threading.Thread:
    """Shut the guest down in a thread, which calls `otherwise` if nobody answers: the supervisor's
    loop has a lease to mind.
    """

    def run() -> None:
        try:
            # There is no answer to a shutdown, only to the greeting before it.
            _talk(path, {"execute": "guest-shutdown"}, lines=1)
            log.info("the guest's agent shuts the guest down")
        except Mute as mute:
            log.warning(str(mute))
            otherwise()
        except Exception as error:  # noqa: BLE001 - the guest is to hear of the stop, whatever this is
            log.error(f"agent: {described(error)}")
            otherwise()

    asking = threading.Thread(target=run, name="agent", daemon=True)
    try:
        asking.start()
    except RuntimeError:  # no thread to be had: a limit of processes
        otherwise()
    return asking


def _talk(path: Path, request: dict[str, object], *, lines: int) -> list[Any]:
    number = int.from_bytes(os.urandom(4), "big")
    greeting = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    # 0xff makes the agent drop half a request that somebody before us has left.
    requests = b"\xff" + json.dumps(greeting).encode() + json.dumps(request).encode()
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            until = time.monotonic() + PATIENCE
            agent.settimeout(PATIENCE)
            agent.connect(str(path))
            agent.sendall(requests)
            return _answers(agent, number, lines, until)
    except (OSError, ValueError, RecursionError) as error:
        raise Mute(f"the guest's agent does not answer: {error}") from error


def _answers(agent: socket.socket, number: int, count: int, until: float) -> list[Any]:
    """From the one on that repeats our number: an earlier client's may come before."""
    said = bytearray()
    while len(said) < LONGEST:
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError("it takes too long")
        agent.settimeout(left)
        if not (data := agent.recv(65536)):
            break
        said += data
        if b"\n" not in data:
            continue  # no line has become whole: nothing to look at again
        _, delimiter, ours = said.rpartition(b"\xff")
        lines = ours.split(b"\n", count)
        if delimiter and len(lines) > count:
            answers = [json.loads(line) for line in lines[:count]]
            if isinstance(answers[0], dict) and answers[0].get("return") == number:
                return answers
    raise ValueError("it does not know our greeting")
