"""The state of a running TPM: between swtpm's file and the place where it outlives this host."""

import os
import stat
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, Self

from holdfast import log
from holdfast.devices import tpm_record
from holdfast.errors import HostLacks
from holdfast.runtime.child import Child
from holdfast.runtime.confinement import Identity, confined
from holdfast.runtime.thread import Thread
from holdfast.storage import volume_id

STATE = (
    "tpm2-00.permall"  # swtpm's name for all that must be kept; it writes it whole, or not at all
)
PAUSE = 2.0  # seconds between two looks at it where no keep-alive looks


class Vault:
    """`unsaved` may be called from the keep-alive while swtpm runs, and after."""

    def __init__(self, stored: bytes, key: bytes) -> None:
        """Unpack `stored`, which is empty for a VM that has had no TPM yet. Raises ConfigError."""
        self._state, self._sealed = (
            tpm_record.unpack(stored, key) if stored else (b"", tpm_record.fingerprint(key))
        )
        self._key = key if self._sealed else b""
        self._record = self._saved = stored
        self._file: Path | None = None
        self._seen = 0
        self._owner = -1  # the uid of swtpm
        self._told = ""
        if key and not self._sealed:
            log.warning(
                "tpm: its state stays as it was made, before there was a state_key: readable"
            )

    def serve(self, directory: Path, who: Identity, control: int) -> Child:
        """Run swtpm under a uid of its own: who breaks out of QEMU does not find its secrets."""
        from holdfast.runtime import sandbox  # noqa: PLC0415 - for a VM with a TPM
        from holdfast.runtime.seccomp import Filter  # noqa: PLC0415 - likewise

        directory.mkdir(mode=0o700)
        file = directory / STATE
        if self._state:
            file.write_bytes(self._state)
            os.chown(file, who.uid, who.gid)
        os.chown(directory, who.uid, who.gid)
        with ExitStack() as stack:
            key = self._handed(stack)
            passed = [control, *([key] if key is not None else [])]
            seccomp = stack.enter_context(sandbox.handed(Filter()))
            words = tpm_record.command(str(directory), control, key)
            command = confined(words, who, os.getpid(), seccomp)
            child = Child("swtpm", command, [*passed, seccomp])
        self._seen, self._file, self._owner = 0, file, who.uid
        return child

    def _handed(self, stack: ExitStack) -> int | None:
        """Through a pipe: neither arguments nor a file hold the key."""
        if not self._key:
            return None
        reader, writer = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, reader)
        os.write(writer, self._key)
        os.close(writer)
        return reader

    def withdraw(self) -> None:
        """Look a last time: swtpm has ended, and its directory is about to go."""
        self._look()
        self._file = None

    def record(self) -> bytes:
        """Return it as it is now; empty for a TPM that has written nothing yet."""
        self._look()
        return self._record

    def unsaved(self) -> bytes:
        """Return the record to be stored; empty where the stored one is as new."""
        record = self.record()
        return b"" if record == self._saved else record

    def saved(self, record: bytes) -> None:
        self._saved = record

    def _look(self) -> None:
        file = self._file
        if file is None:
            return
        with suppress(OSError):  # not there yet, or just being replaced: there is a next time
            # Whoever has broken out into swtpm may leave a link or a pipe there.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(file, "rb", opener=lambda path, _: os.open(path, flags)) as opened:
                self._read(opened)

    def _read(self, opened: BinaryIO) -> None:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != self._owner:
            self._tell(
                "tpm: what swtpm keeps its state in is no file of its own: it is not stored"
            )
        elif found.st_size > tpm_record.MOST:
            self._tell(f"tpm: its state has more than {tpm_record.MOST} bytes: it is not stored")
        elif found.st_mtime_ns != self._seen:
            self._state = opened.read(tpm_record.MOST)
            self._record = tpm_record.pack(self._state, self._sealed)
            self._seen = found.st_mtime_ns

    def _tell(self, line: str) -> None:
        if line != self._told:
            log.error(line)
        self._told = line


class Shelf(Thread):
    """Without etcd: a file, written whenever the state has changed, and once more at the end."""

    def __init__(self, path: Path, key: bytes) -> None:
        super().__init__("tpm")
        self._path = path
        self._over = threading.Event()
        self.vault = Vault(path.read_bytes() if path.exists() else b"", key)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._keep()

    def work(self) -> None:
        while not self._over.wait(PAUSE):
            self._keep()

    def _keep(self) -> None:
        if record := self.vault.unsaved():
            try:
                replace(self._path, record)
                volume_id.keep(self._path)
            except (OSError, HostLacks) as error:
                log.error(f"tpm: its state cannot be stored in {self._path}: {error}")
                return
            self.vault.saved(record)


def replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    new.replace(path)
