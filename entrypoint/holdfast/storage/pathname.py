"""Pathname resolution: what a key names is opened once, and judged by where the kernel says that it lies.

Whoever may write to a folder on the way can make a path lead elsewhere between a look at it and its opening. So it
is opened first, in a way that has no effect on what it leads to (O_PATH); the descriptor is asked what it is and where
it lies; and all that reads or writes it is opened by that descriptor (/proc/self/fd), never by the path again.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.dataclass import dataclass, replace
from holdfast.policy.host_config import HostConfig

MOVED = "was moved while it was looked at, or something else was put in its place"
FOLDER_ID = (
    ".holdfast-id"  # in a folder that several hosts reach: what they all know it by (`shared`)
)
MOST_LINKS = 40  # as the kernel's own walk has it (path_resolution(7))


class Unfit(Exception):
    """The rule that the path, or what it leads to, breaks."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Where paths may lead: into `folders`, which host.toml calls `name`.

    `guests` are folders that guests may write to. `named` are the patterns of [vms] for this VM, None where there
    are none; `templates` those of what nobody writes to.
    """

    folders: tuple[str, ...]
    name: str = "image_paths"
    guests: tuple[str, ...] = ()
    named: tuple[str, ...] | None = None
    templates: tuple[str, ...] = ()
    vm: str = ""


ANYWHERE = Bounds(folders=("/",))  # for the operator's own words


def of_files(config: HostConfig, vm: str) -> Bounds:
    paths = Bounds(folders=config.image_paths, guests=config.share_paths)
    if config.disks is None:
        return paths
    templates = config.disks.templates.paths
    named = (*config.disks.of(vm).paths, *templates) if config.limits_vms else None
    return replace(paths, named=named, templates=templates, vm=vm)


def of_shares(config: HostConfig, vm: str) -> Bounds:
    named = config.disks.of(vm).shares if config.disks and config.limits_vms else None
    shares = config.share_paths
    return Bounds(folders=shares, name="share_paths", guests=shares, named=named, vm=vm)


class OpenPath:
    """What a path has led to. It may be looked at, and opened, as often as needed: it is always the same file."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.stat = os.fstat(descriptor)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.stat.st_mode)

    @property
    def is_block_device(self) -> bool:
        return stat.S_ISBLK(self.stat.st_mode)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def path(self) -> str:
        """A name for this process, and for one that has inherited the descriptor."""
        return f"/proc/self/fd/{self.descriptor}"

    def opened(self, flags: int) -> int:
        return os.open(self.path, flags | os.O_CLOEXEC)

    @property
    def identity(self) -> str:
        """What the kernel of this machine knows it by: a device's number; device and inode of anything else."""
        if self.is_block_device:
            return f"block-{_number(self.stat.st_rdev)}"
        return f"inode-{_number(self.stat.st_dev)}-{self.stat.st_ino}"

    @contextmanager
    def reading(self) -> Iterator[int]:
        """Open it to be read. A file that somebody has a lease on (fcntl(2)) is not waited for."""
        descriptor = self.opened(os.O_RDONLY | (os.O_NONBLOCK if self.is_file else 0))
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class Site:
    """Where a file lies, or is going to: the folder as it was opened, and the file's name in it.

    `file` is None for a volume that is still to be made; a device has a `file` only.
    """

    def __init__(
        self, file: OpenPath | None, folder: OpenPath | None = None, name: str = ""
    ) -> None:
        self.file = file
        self.folder = folder
        self.name = name

    @property
    def place(self) -> OpenPath:
        """The file; the folder of one that is still to be made."""
        place = self.file or self.folder
        assert place is not None  # noqa: S101 - one of them is given
        return place

    def has(self, name: str) -> bool:
        """Tell whether something of that name lies beside it."""
        if self.folder is None:
            return False
        try:
            os.stat(name, dir_fd=self.folder.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True


def _number(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


@contextmanager
def site(place: OpenPath) -> Iterator[Site]:
    """Open the folder of what was opened. Raises Unfit where it does not lie there any more."""
    if place.is_block_device:
        yield Site(place)
        return
    folder, name = os.path.split(where(place.descriptor))
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Unfit(f"{MOVED} ({error.strerror})") from error
    try:
        _check_there(place, name, descriptor)
        yield Site(place, OpenPath(descriptor), name)
    finally:
        os.close(descriptor)


def _check_there(place: OpenPath, name: str, folder: int) -> None:
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        raise Unfit(f"{MOVED} ({error.strerror})") from error
    if not os.path.samestat(there, place.stat):
        raise Unfit(MOVED)


@contextmanager
def regular(name: str | Path, folder: int | None = None, *, follow: bool = False) -> Iterator[int]:
    """Open a file to be read, where others may write to the folder: a FIFO or a device in its place is not opened, nor
    what a link leads to unless `follow` says so. Raises OSError, for what is no file (EINVAL), too.
    """
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        if not (place := OpenPath(descriptor)).is_file:
            raise OSError(errno.EINVAL, "Not a regular file", str(name))
        with place.reading() as file:
            yield file
    finally:
        os.close(descriptor)


@contextmanager
def found(path: str, bounds: Bounds, *, writable: bool = False) -> Iterator[OpenPath]:
    """Open what the path leads to (O_PATH). Raises Unfit where nothing is there, or what may not be used."""
    descriptor, trusted = _opened(path), True
    try:
        if bounds.named is not None and where(descriptor) != path:
            from holdfast.storage import symlinks  # noqa: PLC0415 - for tenants whose path has some

            os.close(descriptor)
            descriptor = -1  # should the next line raise
            descriptor, trusted = symlinks.followed(path, bounds.guests)
        _judge(path, where(descriptor), bounds, trusted=trusted, writable=writable)
        yield OpenPath(descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def where(descriptor: int) -> str:
    """Tell where the kernel says that it lies: without a link."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError as error:
        link = Path(path).is_symlink()
        raise Unfit("is a link to nothing" if link else "does not exist on this host") from error
    except OSError as error:
        raise Unfit(f"cannot be opened: {error.strerror}") from error


def _judge(path: str, real: str, bounds: Bounds, *, trusted: bool, writable: bool) -> None:
    if not lies_in(real, bounds.folders):
        there = f"is {real}, which lies" if real != path else "lies"
        raise Unfit(f"{there} outside {bounds.name} ({', '.join(bounds.folders) or 'none'})")
    if real == path:
        return  # what its text may name was judged when the keys were read
    if lies_in(real, set(bounds.guests).difference(bounds.folders)):
        raise Unfit(f"is {real}, which lies in a folder that guests write to (share_paths)")
    if bounds.templates and writable and _names(bounds.templates, real, bounds):
        raise Unfit(f"is {real}, a template of host.toml, which nobody writes to: set read_only")
    if not trusted and not _names(bounds.named or (), real, bounds):
        raise Unfit(
            f"is {real} by a link that is not root's alone to change, and host.toml does not name that "
            f'for this VM ([vms."{bounds.vm}"])'
        )


def _names(patterns: tuple[str, ...], real: str, bounds: Bounds) -> bool:
    from holdfast.storage import symlinks  # noqa: PLC0415 - for hosts with tenants

    return symlinks.name(patterns, real, bounds)


def lies_in(real: str, folders: Iterable[str]) -> bool:
    """Tell whether it lies in one of the folders, which are the operator's words: links in them are followed."""
    roots = (os.path.realpath(folder).rstrip("/") for folder in folders)
    return any(real == root or real.startswith(f"{root}/") for root in roots)
