"""Fetching one image: another process reads what strangers wrote, this one believes none of it."""

import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from holdfast.config import proxy
from holdfast.dataclass import asdict
from holdfast.errors import ConfigError, Fault, HoldfastError, HostLacks, Unreachable, legible
from holdfast.machine import Checksum, Format
from holdfast.runtime import sandbox
from holdfast.runtime.confinement import Identity, confined
from holdfast.runtime.progress import Progress
from holdfast.runtime.seccomp import Filter
from holdfast.runtime.worker import HOUR, Attend, Overdue, Work
from holdfast.storage import image_head
from holdfast.storage.image import qemu_img
from holdfast.storage.image.cached import NOTHING, Cached, place_of
from holdfast.storage.image.origin import digest
from holdfast.storage.image.partial import FetchRequest, Partial

LONGEST = 500  # characters of what the process says
MOST = 2**63  # bytes
ENDING = 5.0  # seconds
WHOLE = 24 * HOUR  # of one fetch; the next goes on where a download stopped
SILENT = HOUR  # from one word to the next; a server has ten minutes (`fetch.deadline`)
KINDS: dict[str, type[HoldfastError]] = {
    kind.__name__: kind for kind in (ConfigError, HostLacks, Unreachable)
}


class Client:
    """`target` is the empty file that the image goes into."""

    def __init__(
        self, partial: Partial, wanted: FetchRequest, target: int, who: Identity, attend: Attend
    ) -> None:
        self._partial = partial
        self._wanted = wanted
        self._target = target
        self._who = who
        self._attend = attend

    def run(self) -> Cached:
        """Fetch it. Raises Unreachable, ConfigError or HostLacks."""
        try:
            return self._run()
        except Overdue as error:
            raise Unreachable(str(self._fault(error.message))) from error

    def _run(self) -> Cached:
        answer = self._heard(self._request())
        self._keep_alone()
        if answer.get("unchanged") and self._wanted.known is not None:
            return self._wanted.known
        return self._judged(answer)

    def _keep_alone(self) -> None:
        """From here on nobody can write to the image: who has broken out into the process that fetches may have left
        another one, with the descriptor that it was given. A lease is granted only where nobody has it (fcntl(2)).
        """
        alone = os.open(f"/proc/self/fd/{self._target}", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(alone, self._target, inheritable=False)  # nor we
        os.close(alone)
        until = time.monotonic() + ENDING
        while not is_alone(self._target):
            if time.monotonic() > until:
                rule = "the process that fetches has left another behind, which can write to the image"
                raise HostLacks(f"{self._wanted.key}: {rule}")
            self._attend()
            time.sleep(0.05)  # it ends with its parent, a moment later

    def _request(self) -> dict[str, Any]:
        wanted, source = self._wanted, self._wanted.source
        return {
            "key": wanted.key,
            "url": source.image if source.is_url else "",
            "trusted": source.trusted,
            "reach": asdict(source.reach),
            # Not in its environment, which others of its uid can read: there may be a password.
            "proxies": proxy.variables(os.environ) if source.trusted else {},
            "source": wanted.opened,
            "target": self._target,
            "member": source.member,
            "checksum": str(source.checksum or ""),
            "limit": wanted.limit,
            "kept": self._partial.version(),
            "whole": wanted.known.version if wanted.known else NOTHING,
        }

    def _heard(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._ask(request)
        except Overdue as error:
            raise Overdue(f"the process that fetches {error.message}") from error

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        command = [sys.executable, "-P", "-m", "holdfast.storage.image.worker"]
        alone = Identity(uid=self._who.uid, gid=self._who.gid)
        with sandbox.handed(Filter(network=bool(request["url"]), processes=True)) as seccomp:
            passed = [request["source"], request["target"], seccomp]
            work = Work(
                confined(command, alone, os.getpid(), seccomp), passed, json.dumps(request)
            )
        with contextlib.closing(work):  # also where what it says is a reason to end
            return self._answer(work.lines(self._attend, whole=WHOLE, silent=SILENT))

    def _answer(self, lines: Iterable[str]) -> dict[str, Any]:
        last = ""
        with Progress(place_of(self._wanted.source)) as progress:
            for line in lines:
                match heard(line):
                    case {
                        "progress": [
                            "fetching" | "checking" | "unpacking" as doing,
                            int(done),
                            int(total),
                        ]
                    } if 0 <= done <= MOST and 0 <= total <= MOST:
                        progress.tell(doing, done, total)
                    case {"started": {"etag": str(etag), "modified": str(modified)}}:
                        self._partial.note({"etag": etag, "modified": modified})
                    case {"fault": {"kind": str(), "message": str(), "hint": str()} as fault}:
                        raise self._error(fault)
                    case {"answer": dict(answer)}:
                        return answer
                    case _:
                        last = line
        raise self._ended(last)

    def _ended(self, last: str) -> HostLacks:
        said = legible(last, LONGEST)
        return HostLacks(f"{self._wanted.key}: the process that fetches has ended: {said}")

    def _error(self, fault: dict[str, str]) -> HoldfastError:
        kind = KINDS.get(fault["kind"], ConfigError)
        if kind is not Unreachable:
            self._partial.forget()  # what is there is no good beginning
        message, hint = (legible(fault[word], LONGEST) for word in ("message", "hint"))
        named = message.startswith(self._wanted.key)
        return kind(message if named else str(self._fault(message)), hint=hint)

    def _judged(self, answer: dict[str, Any]) -> Cached:
        """What it says of the image is looked at again: by its sha256 other VMs know it, and by its name root."""
        source = self._wanted.source
        match answer:
            case {"mismatch": str(found)}:
                raise self._mismatch(legible(found, LONGEST))
            case {"missing": str(missing)}:
                self._verify(source.checksum)
            case _:
                raise self._ended("")
        if not os.fstat(self._target).st_size:
            raise self._refused("is empty")
        try:
            info = self._examined(source.format, legible(missing, LONGEST))
        except ConfigError as error:
            raise self._refused(error.message, error.hint) from error
        return Cached(
            sha256=digest(self._target, self._attend),
            format=info.format,
            size=info.size,
            place=place_of(source),
            version=self._partial.version() if source.is_url else NOTHING,
            stamp=self._wanted.stamp,
        )

    def _verify(self, wanted: Checksum | None) -> None:
        """Of a file that the process has read only, it has looked before it could be led astray."""
        if wanted is None or not self._wanted.source.is_url:
            return
        found = digest(self._wanted.opened, self._attend, wanted.algorithm)
        if found != wanted.digest:
            raise self._mismatch(f"{wanted.algorithm}:{found}")

    def _mismatch(self, found: str) -> ConfigError:
        return self._refused(f"has another checksum than was asked for: {found}")

    def _examined(self, insisted: Format | None, missing: str) -> qemu_img.Info:
        """What nobody calls raw is not taken for it because it is nothing else."""
        head = os.pread(self._target, image_head.HEAD, 0)
        if insisted is None and (rule := image_head.unfit(head)):
            hint = "where it is meant to be the disk's content: source/format=raw"
            raise ConfigError(rule, hint=hint)
        info = qemu_img.info(self._target, insisted, self._who, self._attend)
        if missing and info.format is Format.qcow2:
            raise ConfigError(missing)
        if info.format is Format.raw and insisted is None and info.size < image_head.LEAST:
            rule = f"has {info.size} bytes, too few for a system"
            raise ConfigError(rule, hint="where they are all of it: source/format=raw")
        return info

    def _refused(self, rule: str, hint: str = "") -> ConfigError:
        self._partial.forget()
        return ConfigError([self._fault(rule)], hint=hint)

    def _fault(self, rule: str) -> Fault:
        return Fault(key=self._wanted.key, value=place_of(self._wanted.source), rule=rule)


def is_alone(reader: int) -> bool:
    """Tell whether nobody can write to it; True where there are no leases (NFS, some FUSE)."""
    try:
        fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EBUSY)
    fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def heard(line: str) -> dict[str, Any]:
    """Read a message; what is none is nothing: a traceback, or the word of who has broken out into it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
