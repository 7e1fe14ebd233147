"""What QEMU tells of again and again, disks that fail above all: what is said of it, and how often."""

MOST = 64  # told apart: the words are QEMU's, and a guest may have broken out into it

PAUSED = "the guest is paused and goes on when the disk does"
# What no waiting mends (strerror).
ADVICE = {
    "No space left on device": "the guest is paused and goes on when there is room",
    "Disk quota exceeded": "the guest is paused and goes on when there is room",
    "Operation not permitted": "the guest is paused until this host may write there: in Ceph, look at the user's "
    "rights to the image's pool and to its data pool",
    "Read-only file system": "the guest is paused until the file system can be written again",
}


class Repeats:
    """A line is worth saying the 1st, 2nd, 4th, 8th ... time."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def heard(self, said: str) -> str:
        """Return the line to be logged now, or ""."""
        if said not in self._times and len(self._times) >= MOST:
            said = "and more of the kind"
        times = self._times[said] = self._times.get(said, 0) + 1
        if times & (times - 1):
            return ""
        return f"{said} ({times} times)" if times > 1 else said

    def forget(self) -> bool:
        """Forget all; tell whether there was anything."""
        was, self._times = self._times, {}
        return bool(was)


class Trouble:
    """QEMU tells of every try."""

    def __init__(self) -> None:
        self._repeats = Repeats()

    def heard(self, node: str, reason: str) -> str:
        """Return the line to be logged now, or ""."""
        return self._repeats.heard(f"disk {node}: {reason}; {ADVICE.get(reason, PAUSED)}")

    def over(self) -> str:
        """Return the line for the end of it, "" where nothing was wrong."""
        return "the disks answer again; the guest runs" if self._repeats.forget() else ""
