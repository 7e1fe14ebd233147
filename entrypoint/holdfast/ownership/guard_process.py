"""The last resort: kills QEMU when its lease is not renewed any more and nobody else has.

It runs by itself, without the rest of Holdfast, so that whatever holds the launcher up - SIGSTOP, a
hung file system, a fault of its own - does not hold this up. Its stdin is a socket to the launcher. On
it come packets: until when the lease is good, on CLOCK_BOOTTIME; their end is the launcher's end.
Back go three words.
"""

import os
import select
import signal
import sys
import time

PAUSE = (
    500  # milliseconds. poll() does not count suspend, the lease does: look again soon after it
)
READY, GONE, KILLED = b"ready", b"gone", b"killed"


def main(qemu: int, deadline: float) -> None:
    """`qemu` is a pidfd."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a stop is the launcher's business: QEMU still runs
    say(READY)
    if outlived(qemu, deadline):
        say(KILLED)  # first: a launcher that wakes up finds the reason together with the exit
        signal.pidfd_send_signal(qemu, signal.SIGKILL)
        select.select([qemu], [], [])
    say(GONE)


def say(word: bytes) -> None:
    try:
        os.write(0, word)
    except OSError:
        pass  # the launcher has ended


def heard() -> bytes:
    try:
        return os.read(0, 64)
    except ConnectionResetError:  # the launcher has ended with a word of ours unread
        return b""


def outlived(qemu: int, deadline: float) -> bool:
    """Waits until QEMU has ended, or has outlived its lease or its launcher."""
    events = select.poll()
    events.register(0, select.POLLIN)
    events.register(qemu, select.POLLIN)
    while True:
        left = 1000 * (deadline - time.clock_gettime(time.CLOCK_BOOTTIME))
        ready = [descriptor for descriptor, _ in events.poll(max(0, min(left, PAUSE)))]
        if qemu in ready:
            return False
        if 0 in ready:
            word = heard()
            if not word:
                return True
            deadline = float(word)
        elif left <= 0:
            return True


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
