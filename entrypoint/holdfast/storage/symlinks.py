"""The links on a path, and whose they are.

Where tenants may write keys, a link is as good as what made it: one of root's, in a folder that root alone can
change, is the operator's (/dev/mapper, /dev/disk/by-id, a folder of images that has moved). One that a tenant or a guest
may have put there gives no right to what it leads to.
"""

import os
import stat
from collections.abc import Iterable

from holdfast.policy.disk_limits import VM, holds
from holdfast.storage.pathname import MOST_LINKS, Bounds, Unfit, lies_in, where


def followed(path: str, guests: Iterable[str]) -> tuple[int, bool]:
    """Open what the path leads to (O_PATH), and tell whether all links on the way are the
    operator's. Raises Unfit.
    """
    walk = _Walk(guests)
    try:
        walk.to(path)
        return walk.folders.pop(), walk.trusted
    except OSError as error:
        raise Unfit(f"cannot be opened: {error.strerror}") from error
    finally:
        walk.close()


def name(patterns: Iterable[str], real: str, bounds: Bounds) -> bool:
    return holds([_led(one, bounds) for one in patterns], real, bounds.vm)


def _led(pattern: str, bounds: Bounds) -> str:
    """The pattern, with the operator's links in what comes before its first `*` followed."""
    parts = pattern.rstrip("/").split("/")
    whole = next((place for place, part in enumerate(parts) if "*" in part), len(parts))
    start = "/".join(parts[:whole]).replace(VM, bounds.vm)
    try:
        descriptor, trusted = followed(start or "/", bounds.guests)
    except Unfit:
        return pattern
    try:
        return "/".join([where(descriptor), *parts[whole:]]) if trusted else pattern
    finally:
        os.close(descriptor)


class _Walk:
    """From folder to folder by descriptors, so that nobody can put another one in between."""

    def __init__(self, guests: Iterable[str]) -> None:
        self.guests = tuple(guests)
        self.trusted = True
        self.links = 0
        self.folders = [os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        self.roots = [self.is_roots(self.folders[0])]  # of each folder, and all above it

    def to(self, path: str) -> None:
        left = _parts(path)
        while left:
            left = self.step(left.pop(0)) + left

    def step(self, part: str) -> list[str]:
        """Walk one part. Returns what is to be walked because of a link."""
        if part == "..":
            self.leave(max(1, len(self.folders) - 1))
            return []
        found = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folders[-1])
        self.folders.append(found)
        if not stat.S_ISLNK(os.fstat(found).st_mode):
            self.roots.append(self.roots[-1] and self.is_roots(found))
            return []
        return self.follow(found)

    def follow(self, link: int) -> list[str]:
        self.links += 1
        if self.links > MOST_LINKS:
            raise Unfit("is a link that leads to itself, or one of too many")
        own = self.roots[-1] and os.fstat(link).st_uid in _roots()
        self.trusted &= own and not lies_in(where(self.folders[-2]), self.guests)
        target = os.readlink("", dir_fd=link)
        self.leave(1 if target.startswith("/") else len(self.folders) - 1)
        return _parts(target)

    def leave(self, depth: int) -> None:
        while len(self.folders) > depth:
            os.close(self.folders.pop())
        del self.roots[depth:]

    def is_roots(self, folder: int) -> bool:
        """Nobody else can put a link there, or another folder in its place."""
        found = os.fstat(folder)
        others = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        return found.st_uid in _roots() and not others

    def close(self) -> None:
        self.leave(0)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _roots() -> frozenset[int]:
    return frozenset({0, os.geteuid()})
