"""A file system that hosts share, as far as one kernel can tell: FUSE, mounted once for each host.

Each mount is a device of its own, and the locks that one takes are not seen through another.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

FUSE = Path("/dev/fuse")


@contextlib.contextmanager
def mounted(source: Path, point: Path) -> Iterator[Path]:
    """`source`, as seen through FUSE at `point`."""
    with contextlib.suppress(FileExistsError):
        os.mknod(FUSE, 0o600 | 0o020000, os.makedev(10, 229))
    point.mkdir(parents=True, exist_ok=True)
    daemon = subprocess.Popen(["bindfs", "-f", source, point], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not point.is_mount():
            assert daemon.poll() is None, daemon.communicate()[1]
            assert time.monotonic() < deadline, "FUSE does not come up"
            time.sleep(0.02)
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=False)
        daemon.terminate()
        daemon.communicate()
