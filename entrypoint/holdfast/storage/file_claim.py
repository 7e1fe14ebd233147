"""The claim on a file that several hosts share: a file beside it, for what no etcd of ours can see.

Made by link(2), which never replaces anything, so of two trees of keys that come at once one has it. Within a
tree the VM's lock in etcd lets one launcher at a time replace it.
"""

import contextlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from holdfast import log
from holdfast.errors import LockHeld, Unreachable

LONGEST = 64 * 1024  # bytes; more was not written by us, and is shown as damaged


class ClaimsBeside:
    """Of one VM's files, with what stood beside each when it was looked at."""

    def __init__(self, found: Mapping[Path, str]) -> None:
        self._found = dict(found)
        self._ours = ""

    def put(self, claim: str) -> None:
        """Raises LockHeld where somebody else was quicker."""
        self._ours = claim
        for path, old in self._found.items():
            if put_claim(path, old, claim) != claim:
                raise LockHeld(f"{path} was claimed meanwhile: {mark_of(path)} says by whom")

    def drop(self) -> None:
        """Only what is ours."""
        for path in self._found:
            drop_claim(path, self._ours)


def mark_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.holdfast-claim")


def claim_of(path: Path) -> str:
    """The claim as it stands there; "" for none."""
    try:
        with mark_of(path).open("rb") as file:
            return file.read(LONGEST).decode(errors="replace") or "empty"
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Unreachable(f"{mark_of(path)} cannot be read: {error.strerror}") from error


def put_claim(path: Path, old: str, new: str) -> str:
    """Put `new` in the place of `old`, "" for none. Returns what stands there then. Where root may not write
    beside the disk there is no claim, and the log says what that leaves open.
    """
    unfinished = mark_of(path).with_name(f"{mark_of(path).name}.{uuid.uuid4()}")
    try:
        _write(unfinished, new)
        with contextlib.suppress(FileExistsError):
            if old and claim_of(path) == old:
                unfinished.replace(mark_of(path))
            elif not old:
                os.link(unfinished, mark_of(path))
        return claim_of(path)
    except OSError as error:
        log.warning(
            f"{mark_of(path)} cannot be written ({error.strerror}): nothing keeps another etcd, or another tree of "
            "keys, from this disk"
        )
        return new
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def drop_claim(path: Path, claim: str) -> None:
    """Only if it is this one."""
    with contextlib.suppress(OSError):
        if claim_of(path) == claim:
            mark_of(path).unlink()


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
