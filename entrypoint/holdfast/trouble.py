"""Disks that fail while the guest runs: what is said of each, and how often."""

PAUSED = "the guest is paused and goes on when the disk does"
# What no waiting mends (strerror).
ADVICE = {
    "No space left on device": "the guest is paused and goes on when there is room",
    "Disk quota exceeded": "the guest is paused and goes on when there is room",
    "Operation not permitted": "the guest is paused until this host may write there: in Ceph, look at the user's "
    "rights to the image's pool and to its data pool",
    "Read-only file system": "the guest is paused until the file system can be written again",
}


class Trouble:
    """QEMU tells of every try. Each disk's reason is said once, then at the 2nd, 4th, 8th ... time."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def heard(self, node: str, reason: str) -> str:
        """The line to be logged now, or ""."""
        said = f"disk {node}: {reason}"
        times = self._times[said] = self._times.get(said, 0) + 1
        if times & (times - 1):
            return ""
        again = f" ({times} times)" if times > 1 else ""
        return f"{said}; {ADVICE.get(reason, PAUSED)}{again}"

    def over(self) -> str:
        """The line for the end of it, "" where nothing was wrong."""
        was, self._times = self._times, {}
        return "the disks answer again; the guest runs" if was else ""
