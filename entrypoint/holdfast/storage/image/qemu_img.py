"""qemu-img on images of strangers: as an ordinary uid, without capabilities, with limits, and on nothing
but the descriptors that it is given.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast.dataclass import dataclass
from holdfast.errors import ConfigError
from holdfast.machine import Format
from holdfast.runtime import sandbox
from holdfast.runtime.confinement import Identity, confined
from holdfast.runtime.seccomp import Filter
from holdfast.runtime.worker import HOUR, Attend, Overdue, Work

MEMORY = 2 * 1024**3
MOST_WORDS = 1024**2  # characters
SECONDS_TO_LOOK = 10  # of CPU
SECONDS_TO_CONVERT = 3600
LONGEST = 24 * HOUR  # of the clock: storage may be slow
LARGEST = 64 * 1024**4  # bytes; what claims more is no image that anybody wants


@dataclass(frozen=True, kw_only=True)
class Info:
    format: Format
    size: int  # as the guest sees it


def info(descriptor: int, form: Format | None, who: Identity, attend: Attend) -> Info:
    """Examine an image. Raises ConfigError for what may not be used; what it is called is the caller's to say."""
    named = ["-f", form.value] if form else []
    command = ["qemu-img", "info", "--output=json", *named, path(descriptor)]
    said = _run(command, [descriptor], who, attend, SECONDS_TO_LOOK)
    try:
        found = json.loads(said)
        name, size = str(found["format"]), int(found["virtual-size"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ConfigError("is damaged: qemu-img cannot tell what it is") from error
    if name not in tuple(Format):
        raise ConfigError(f"is a {name[:20]} image: convert it to qcow2 or raw with qemu-img")
    if found.get("encrypted"):
        raise ConfigError("is encrypted, which is not supported")
    if "backing-filename" in found or "data-file" in str(found.get("format-specific", "")):
        raise ConfigError("leads to another file: flatten it with qemu-img convert")
    if not 0 < size <= LARGEST:
        raise ConfigError(f"has a size of {size} bytes: an image has from 1 byte to 64 TiB")
    return Info(format=Format(name), size=size)


def convert(
    source: int, was: Format, target: int, form: Format, who: Identity, attend: Attend
) -> None:
    """Convert into `target`, an empty file that belongs to `who`."""
    formats = ["-f", was.value, "-O", form.value]
    command = ["qemu-img", "convert", *formats, path(source), path(target)]
    _run(command, [source, target], who, attend, SECONDS_TO_CONVERT)


def path(descriptor: int) -> str:
    """Name the file behind a descriptor: it is opened anew, by the rights that its owner and mode give."""
    return f"/proc/self/fd/{descriptor}"


def _run(
    command: Sequence[str],
    descriptors: Sequence[int],
    who: Identity,
    attend: Attend,
    seconds: int,
) -> str:
    limits = [f"--as={MEMORY}", f"--cpu={seconds}", "--core=0", "--nofile=64"]
    alone = Identity(uid=who.uid, gid=who.gid)
    with sandbox.handed(Filter()) as seccomp:
        limited = confined(["prlimit", *limits, "--", *command], alone, os.getpid(), seccomp)
        work = Work(limited, [*descriptors, seccomp])
    with contextlib.closing(work):
        try:
            said = _words(work.lines(attend, whole=LONGEST, silent=LONGEST))
        except Overdue as error:
            raise Overdue(f"cannot be read as an image: qemu-img {error.message}") from error
    if work.close():
        own = said.replace("qemu-img: ", "").strip().splitlines()
        reason = (
            own[0].replace(command[-1], "it")[:200] if own else "qemu-img was ended by a limit"
        )
        raise ConfigError(f"cannot be read as an image: {reason}")
    return said


def _words(lines: Iterable[str]) -> str:
    """As much as it has to say; an image that was made for it may have it say more."""
    kept, size = [], 0
    for line in lines:
        if size < MOST_WORDS:
            kept.append(line)
            size += len(line) + 1
    return "\n".join(kept)


def lend(file: Path, who: Identity) -> None:
    """Make a file of ours one that only `who` and root can write."""
    os.chown(file, who.uid, who.gid)
