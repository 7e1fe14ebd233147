"""/run/holdfast/<vm>: the files that one running VM needs, private to the launcher and its QEMU."""

import fcntl
import os
import socket
from pathlib import Path
from typing import Self

from holdfast.errors import HostLacks, LockHeld
from holdfast.runtime.confinement import Identity

ROOT = Path("/run/holdfast")
HEALTH = ROOT / "health"
BEAT = 20.0  # seconds between two signs of life; the image's health check allows three times that


class RunDirectory:
    """Owned by root, readable by QEMU's group. It goes with the VM."""

    def __init__(self, vm: str, who: Identity) -> None:
        self.path = ROOT / vm
        self._who = who
        self._lock = -1

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            _open_way(ROOT)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(f"another launcher runs this VM here: it holds {self.path}") from error
        except OSError as error:
            raise HostLacks(
                f"{self.path} cannot be made: {error.strerror}",
                hint="With `--read-only`, add `--tmpfs /run` to docker run.",
            ) from error
        self.empty()
        os.chown(self.path, -1, self._who.gid)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.empty()
            self.path.rmdir()
        except OSError:
            import shutil  # noqa: PLC0415 - ten modules that a stop can do without

            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def empty(self, *keep: str) -> None:
        """Remove what a killed launcher has left, or a QEMU that is started again."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                _remove(entry)
            elif entry.name not in keep:
                entry.unlink(missing_ok=True)  # the status is written meanwhile

    def secret(self, name: str, text: str) -> str:
        """Write a file that only QEMU and root can read."""
        return self._file(name, text.encode(), 0o400)

    def readable(self, name: str, data: bytes) -> str:
        return self._file(name, data, 0o440)

    def folder(self, name: str) -> Path:
        """Make a folder for files that are known by it."""
        made = self.path / name
        made.mkdir(mode=0o750)
        os.chown(made, -1, self._who.gid)
        return made

    def copy(self, name: str, source: int, shown: str) -> str:
        """Copy a file, so that QEMU's uid can read it wherever the original lies: a descriptor,
        and what it is called. Raises HostLacks where that fails.
        """
        import shutil  # noqa: PLC0415 - only for a kernel that is booted directly

        target = self.path / name
        try:
            with (
                os.fdopen(source, "rb", closefd=False) as original,
                target.open("xb") as duplicate,
            ):
                shutil.copyfileobj(original, duplicate)
        except OSError as error:
            raise HostLacks(
                f"{shown} cannot be copied to {self.path}: {error.strerror}",
                hint="It takes as much room under /run as the file is large.",
            ) from error
        target.chmod(0o440)
        os.chown(target, -1, self._who.gid)
        return str(target)

    def listen(self, name: str) -> socket.socket:
        """Open a socket for root, served by QEMU through the descriptor."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path / name))
        (self.path / name).chmod(0o600)
        listener.listen(1)
        return listener

    def _file(self, name: str, data: bytes, mode: int) -> str:
        target = self.path / name
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchown(descriptor, self._who.uid, self._who.gid)
            os.fchmod(descriptor, mode)
        return str(target)


def _open_way(folder: Path) -> None:
    """QEMU's uid, and swtpm's, must get through. A sign of life while a volume is made has made it for root alone:
    the umask of that is the process's.
    """
    mode = folder.stat().st_mode
    if mode & 0o011 != 0o011:  # noqa: PLR2004 - to pass, for group and others
        folder.chmod(mode & 0o7777 | 0o011)


def _remove(folder: Path) -> None:
    """That of swtpm is its own: whoever has broken out into it may make folders there."""
    try:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    except OSError:
        import shutil  # noqa: PLC0415 - half a megabyte that the VM's life can do without

        shutil.rmtree(folder)


def beat(*, well: bool = True) -> None:
    """Give the sign of life that the image's health check looks for; take it away where something
    ails.
    """
    try:
        if well:
            ROOT.mkdir(parents=True, exist_ok=True)
            HEALTH.touch()
        else:
            HEALTH.unlink(missing_ok=True)
    except OSError:
        pass  # a full or read-only /run must not end a VM
