"""From the end of one launcher to the first instruction of the next one's guest."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.lab import Lab
from bench.ways import end, first_instruction

TTL = 5
KILLS = 4
STOPS = 8


def measure(lab: Lab) -> dict[str, list[float]]:
    """Seconds. On a file, and so on one machine: Ceph's part is in docs/reliability.md."""
    return {
        f"killed, TTL {TTL} s": [takeover(lab, signal.SIGKILL) for _ in range(KILLS)],
        "stopped": [takeover(lab, signal.SIGTERM) for _ in range(STOPS)],
    }


def takeover(lab: Lab, number: int) -> float:
    vm = lab.on_file().name
    with launcher(lab, vm) as owner:
        first_instruction(console(owner))
        with launcher(lab, vm) as standby:
            says(standby, "standing by")
            owner.send_signal(number)
            if number == signal.SIGTERM:  # the second one ends a guest that hears no button
                says(owner, "powering the guest down")
                owner.send_signal(number)
            began = time.monotonic()
            return first_instruction(console(standby)) - began


@contextmanager
def launcher(lab: Lab, vm: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        ["holdfast", "run", vm],
        env={**os.environ, **lab.host, "TTL": str(TTL)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        end(process)


def console(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout
    return process.stdout.fileno()


def says(process: "subprocess.Popen[bytes]", words: str) -> None:
    """Wait for words in its log."""
    assert process.stderr
    said = b""
    while words.encode() not in said:
        data = os.read(process.stderr.fileno(), 4096)
        assert data, said.decode(errors="replace")
        said += data
