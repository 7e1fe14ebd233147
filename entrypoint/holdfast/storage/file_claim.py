"""The claim on a file that several hosts share: a folder beside it, for what no etcd of ours can see.

All hosts see one folder, but there is no lock that all file systems have, and a host that was paused has lost its locks
when it wakes. So the claim is a file whose name nobody else ever uses, in a folder that is there for no other end; each
step is one call of the kernel's that fails where the claim has changed since it was looked at:

- *none -> ours*: rename(2) of a whole folder. It replaces an empty one, and no other.
- *an earlier owner's -> ours*: ours is put beside it, then his goes by unlink(2), which succeeds for one caller. Within
  a tree only, where the VM's lock in etcd lets one launcher at a time do so.
- *ours -> none*: unlink(2) of our own name.
"""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from holdfast import log
from holdfast.errors import LockHeld, Unreachable
from holdfast.etcd.record import Unreadable
from holdfast.storage.image_claim import decode_claim
from holdfast.storage.pathname import OpenPath, Site, Unfit, regular, site

LONGEST = 64 * 1024  # bytes; more was not written by us, and is shown as damaged
MOST = 64  # claims in one folder; one is what there should be
# Somebody is there; ENOENT: a server was asked twice, and has done it the first time.
TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.ENOENT})
MAY_NOT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT})


class ClaimsBeside:
    """Of one VM's files, with what stood beside each when it was looked at."""

    def __init__(self, found: Mapping[Path, str]) -> None:
        self._found = dict(found)
        self._name = str(uuid.uuid4())
        self._standing: set[Path] = set()

    def put(self, claim: str) -> None:
        """Put our claim beside each file. Raises LockHeld where somebody else was quicker.

        Where root may not write beside the disk there is no claim, and the log says what that leaves open.
        """
        for path, old in self._found.items():
            try:
                won = _put(mark_of(path), self._name, old, claim)
            except OSError as error:
                _refused(mark_of(path), error)
                continue
            if not won:
                raise LockHeld(f"{path} was claimed meanwhile: {mark_of(path)} says by whom")
            self._standing.add(path)

    def require(self, path: Path, descriptor: int) -> None:
        """Raise LockHeld where our claim does not stand beside what was opened, wherever its path leads by now: a
        folder can be swapped, and its `.holdfast-id` copied.
        """
        if path not in self._standing:
            return
        try:
            with site(OpenPath(descriptor)) as opened:
                stands = _stands(opened, self._name)
        except Unfit:
            stands = False
        if not stands:
            raise LockHeld(
                f"{path} was claimed, and what was opened there is another file, or its claim {mark_of(path)} was taken "
                "away",
                hint="What is there now is claimed at the next try.",
            )

    def drop(self) -> None:
        """Drop only what is ours."""
        for path in self._found:
            _drop(mark_of(path), self._name)


def mark_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.holdfast-claim")


def claim_of(path: Path) -> str:
    """Read the claim as it stands there, sense or not; "" for none. Raises Unreachable."""
    mark = mark_of(path)
    try:
        texts = list(_texts(mark).values())
    except NotADirectoryError:
        return "no folder"  # of somebody else's making
    except OSError as error:
        raise Unreachable(f"{mark} cannot be read: {error.strerror}") from error
    return _newest(texts) if len(texts) > 1 else "".join(texts)


def _newest(texts: list[str]) -> str:
    """One launcher has died between two calls, or several try at once. They are of one tree."""
    with contextlib.suppress(Unreadable):
        claims = {text: decode_claim(text) for text in texts}
        if len({claim.tree for claim in claims.values()}) == 1:
            return max(claims, key=lambda text: claims[text].epoch)
    return "\n".join(texts)


def _texts(mark: Path) -> dict[str, str]:
    """By the name of the file."""
    with contextlib.suppress(FileNotFoundError), _opened(mark) as there:
        return _texts_in(there)
    return {}


def _texts_in(there: int) -> dict[str, str]:
    found = {}
    with os.scandir(there) as entries:
        names = [entry.name for entry in islice(entries, MOST)]
    for name in sorted(names):
        with contextlib.suppress(FileNotFoundError):
            found[name] = _text(name, there)
    return found


def _text(name: str, there: int) -> str:
    """Who may write to the folder may have put anything there: a FIFO would hold us for ever, and what a link
    leads to would be shown.
    """
    try:
        with regular(name, there) as file:
            return os.read(file, LONGEST).decode(errors="replace") or "empty"
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return "no file"


@contextmanager
def _opened(mark: Path) -> Iterator[int]:
    """The folder itself, and none that a link in its place leads to."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(mark, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stands(opened: Site, name: str) -> bool:
    """Neither the folder of the claims nor the claim is reached by a link."""
    if opened.folder is None:
        return False
    try:
        with _opened(mark_of(Path(opened.folder.path, opened.name))) as there:
            os.stat(name, dir_fd=there, follow_symlinks=False)
    except OSError:
        return False
    return True


def _put(mark: Path, name: str, old: str, new: str) -> bool:
    """Whether the claim is ours."""
    return _replace(mark, name, old, new) if old else _begin(mark, name, new)


def _refused(mark: Path, error: OSError) -> None:
    if error.errno not in MAY_NOT:
        raise Unreachable(f"{mark} cannot be written: {error.strerror}") from error
    log.warning(
        f"{mark} cannot be written ({error.strerror}): nothing keeps another etcd, or another tree of "
        "keys, from this disk"
    )


def _begin(mark: Path, name: str, new: str) -> bool:
    with _folder(mark, name, new) as folder:
        try:
            folder.rename(mark)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
    return (mark / name).exists()


def _replace(mark: Path, name: str, old: str, new: str) -> bool:
    """Both stand there for a moment: never is there none."""
    try:
        with _opened(mark) as there, _folder(mark, name, new) as folder:
            return _replace_in(there, folder / name, old)
    except (FileNotFoundError, NotADirectoryError):
        # It has gone meanwhile, and the VM's lock as well.
        with contextlib.suppress(OSError):
            mark.rmdir()  # not while anybody is in it
        return False


def _replace_in(there: int, ours: Path, old: str) -> bool:
    before = _texts_in(there)
    theirs = next((one for one, text in before.items() if text == old), "")
    os.rename(ours, ours.name, dst_dir_fd=there)
    try:
        os.unlink(theirs or "none", dir_fd=there)
    except FileNotFoundError:
        os.unlink(ours.name, dir_fd=there)
        raise
    for one in before.keys() - {theirs}:
        # Of launchers of this VM that have died on the line above.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(one, dir_fd=there)
    return True


def _drop(mark: Path, name: str) -> None:
    with contextlib.suppress(OSError):
        (mark / name).unlink()
        mark.rmdir()  # not while anybody else is in it


@contextmanager
def _folder(mark: Path, name: str, text: str) -> Iterator[Path]:
    """A folder with our claim in it, and on the disk."""
    folder = mark.with_name(f"{mark.name}.{name}")
    folder.mkdir(mode=0o700)
    try:
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield folder
    finally:
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
            folder.rmdir()
