"""The guard as a real process; a `sleep` stands for QEMU."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from launcher import alive, gone

from holdfast.ownership import guard_process
from holdfast.ownership.guard import Guard
from holdfast.ownership.keepalive import Finding
from holdfast.runtime.clock import boottime
from holdfast.runtime.events import Events

pytestmark = pytest.mark.processes


@pytest.fixture
def events() -> Iterator[Events]:
    before = {number: signal.getsignal(number) for number in (*signal.valid_signals(),)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with Events() as events:
        yield events
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def qemu() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


Qemu = subprocess.Popen[bytes]


def findings(events: Events) -> list[Finding]:
    """What the guard has told, once it has told something."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := [one for one in events.wait(deadline) if isinstance(one, Finding)]:
            return found
    return []


def test_a_lease_that_runs_out(events: Events, qemu: Qemu) -> None:
    with Guard(qemu.pid, boottime() + 0.2, events):
        assert findings(events) == [Finding.lost]
        assert qemu.wait(10) == -signal.SIGKILL


def test_a_lease_that_is_renewed(events: Events, qemu: Qemu) -> None:
    with Guard(qemu.pid, first := boottime() + 3, events) as guard:
        guard.feed(boottime() + 60)
        while boottime() < first + 0.5:
            assert not [
                one for one in events.wait(time.monotonic() + 0.5) if isinstance(one, Finding)
            ]
        assert alive(qemu.pid)


def test_signals_that_ask_to_stop_are_not_for_the_guard(events: Events, qemu: Qemu) -> None:
    with Guard(qemu.pid, boottime() + 60, events) as guard:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(guard.pid, number)
        guard.feed(boottime())
        assert findings(events) == [Finding.lost]


def test_a_guard_that_is_killed(events: Events, qemu: Qemu) -> None:
    with Guard(qemu.pid, boottime() + 60, events) as guard:
        os.kill(guard.pid, signal.SIGKILL)
        assert findings(events) == [Finding.unguarded]


def test_it_goes_with_qemu(events: Events, qemu: Qemu) -> None:
    with Guard(qemu.pid, boottime() + 60, events) as guard:
        qemu.kill()
        assert gone(guard.pid)
        assert not [one for one in events.wait(time.monotonic()) if isinstance(one, Finding)]


LAUNCHER = """
import sys
from holdfast.runtime.clock import boottime
from holdfast.runtime.events import Events
from holdfast.ownership.guard import Guard
guard = Guard(int(sys.argv[1]), boottime() + 60, Events())
print(guard.pid, flush=True)
sys.stdin.read()
"""


def test_it_outlives_a_launcher_and_qemu_does_not(qemu: Qemu) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(qemu.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout
        guard = int(launcher.stdout.readline())
        launcher.send_signal(signal.SIGKILL)
    assert qemu.wait(10) == -signal.SIGKILL
    assert gone(guard)


def test_a_launcher_that_ends_before_it_has_heard_its_guard(qemu: Qemu) -> None:
    """What is unread at its end resets the connection, in place of ending it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pidfd = os.pidfd_open(qemu.pid)
    command = [sys.executable, "-I", "-S", guard_process.__file__, str(pidfd)]
    with theirs:
        guard = subprocess.Popen(
            [*command, str(boottime() + 600)], stdin=theirs.fileno(), pass_fds=[pidfd]
        )
    os.close(pidfd)
    with guard:
        waiting = select.poll()
        waiting.register(ours, select.POLLIN)
        assert waiting.poll(60_000), "it is there"
        ours.close()
        assert guard.wait(60) == 0
    assert qemu.wait(60) == -signal.SIGKILL
