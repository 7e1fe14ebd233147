"""Images that this host has fetched: each once, whole and verified before it has a name.

<sha256>.<format>    an image, read-only, called by its own content
sources/<id>.json    which image a source was, and the version that its server gave it
partial/<id>...      what is on its way; one launcher at a time has the lock
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from holdfast.dataclass import asdict
from holdfast.errors import HostLacks
from holdfast.machine import Format, Source
from holdfast.runtime.confinement import Identity
from holdfast.runtime.worker import Attend, idle
from holdfast.storage import local
from holdfast.storage.image.cached import Cached
from holdfast.storage.image.partial import FetchRequest, Partial
from holdfast.storage.pathname import Bounds
from holdfast.system import atomic_file


class Cache:
    def __init__(
        self,
        root: Path,
        who: Identity,
        attend: Attend,
        bounds: Bounds,
        fence_off: Callable[[], None] = idle,
    ) -> None:
        self.root = root
        self._bounds = bounds
        self._who = who
        self._attend = attend
        self._fence_off = fence_off

    def image(self, source: Source, *, key: str, limit: int) -> Cached:
        """Find the image of a source, and fetch it if it is not there. What is wrong names `key`; `limit` is in bytes."""
        name = source_id(source)
        partial = Partial(self.root, name)
        with self._locked(partial):
            known = self._known(name)
            if known is not None and source.is_url and source.checksum is not None:
                return known
            with contextlib.ExitStack() as stack:
                opened = self._opened(source, partial, stack, key)
                stamp = "" if source.is_url else stamp_of(opened)
                if known is not None and stamp and known.stamp == stamp:
                    return known
                request = FetchRequest(
                    source=source, key=key, limit=limit, opened=opened, stamp=stamp, known=known
                )
                return self._fetch(request, partial, name)

    def path(self, cached: Cached) -> Path:
        return self.root / cached.name

    def _fetch(self, request: FetchRequest, partial: Partial, name: str) -> Cached:
        from holdfast.storage.image.client import Client  # noqa: PLC0415 - most images are there

        if request.source.is_url:
            self._fence_off()
        new = partial.path(".new")
        new.unlink(missing_ok=True)
        target = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            # The uid that reads it opens it anew; a volume that is on its way has a umask of its own.
            os.fchmod(target, 0o444)
            cached = Client(partial, request, target, self._who, self._attend).run()
            if not request.source.is_url:  # by one that came meanwhile
                local.refuse_written(request.key, request.source.image, request.opened)
            if cached is not request.known:
                os.fsync(target)
                new.rename(self.path(cached))
                self._remember(name, cached)
            partial.forget()
            return cached
        finally:
            os.close(target)
            new.unlink(missing_ok=True)

    # -- what is known of sources

    def _known(self, name: str) -> Cached | None:
        found = read_entry(self.root / "sources" / f"{name}.json")
        return found if found is not None and self.path(found).is_file() else None

    def _remember(self, name: str, cached: Cached) -> None:
        entry = self.root / "sources" / f"{name}.json"
        atomic_file.write(entry, json.dumps(asdict(cached)).encode())

    # -- files

    def _opened(
        self, source: Source, partial: Partial, stack: contextlib.ExitStack, key: str
    ) -> int:
        """A file is opened once: what was checked is what is read."""
        if not source.is_url:
            return stack.enter_context(local.reading(key, source.image, self._bounds))
        descriptor = os.open(partial.path(".part"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, descriptor)
        return descriptor

    @contextlib.contextmanager
    def _locked(self, partial: Partial) -> Iterator[None]:
        """Whoever comes second finds the image, and need not fetch it."""
        try:
            for folder in (self.root, self.root / "sources", self.root / "partial"):
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = os.open(partial.path(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            hint = "mount a volume there, or set image_cache in host.toml"
            raise HostLacks(
                f"{self.root} cannot be written: {error.strerror}", hint=hint
            ) from error
        try:
            while not taken(lock):
                self._attend()
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            from holdfast.system.container import command  # noqa: PLC0415 - only for this advice

            raise HostLacks(
                f"{self.root} is full", hint=command("holdfast image prune")
            ) from error
        finally:
            os.close(lock)


def taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def source_id(source: Source) -> str:
    named = [source.image, source.member, str(source.checksum or ""), str(source.format or "")]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def stamp_of(descriptor: int) -> str:
    found = os.fstat(descriptor)
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def read_entry(path: Path) -> Cached | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Cached(**{**found, "format": Format(found["format"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
