"""Volumes in a directory pool: made when they are missing, grown when they are too small."""

import fcntl
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.errors import ConfigError, Fault, HostLacks
from holdfast.machine import Disk, Format, RbdImage, Volume, aligned
from holdfast.runtime.confinement import kept
from holdfast.storage import local, pathname, qcow2, volume_id
from holdfast.storage.identity import UNCLAIMED, Identities
from holdfast.storage.pathname import Bounds, Unfit
from holdfast.system.atomic_file import settle

Fill = Callable[[Path, Disk], None]


def provide(
    disk: Disk, bounds: Bounds, fill: Fill | None = None, known: Identities = UNCLAIMED
) -> str:
    """See to it that a volume is there and has its size. Returns what was done, "" for nothing.

    Raises LockHeld where it is another one than `known` has it; ConfigError, HostLacks.
    """
    if isinstance(disk.backend, RbdImage):
        return ""
    if create(disk, fill or allocate):
        return "created"
    path = disk.backend.path
    try:
        with pathname.found(path, local.bounds_of(disk, bounds), writable=disk.writable) as place:
            known.refuse_another(disk, place.descriptor)
            return "grown" if grow(disk, Path(place.path), place.descriptor) else ""
    except Unfit as unfit:
        raise ConfigError([Fault(key=disk.key, value=path, rule=str(unfit))]) from unfit
    except OSError as error:
        raise HostLacks(f"{disk.key}: {path} cannot be grown: {error.strerror}") from error


def create(disk: Disk, fill: Fill) -> bool:
    """Make a missing volume, whole or not at all. True if it was made. Raises HostLacks."""
    if not isinstance(disk.backend, Volume) or os.path.lexists(disk.backend.path):
        return False
    path = Path(disk.backend.path)
    try:
        with unfinished(path) as new:
            fill(new, disk)
            _sync(new)
            if disk.mark:
                volume_id.write(path, disk.mark)
            # Unlike a rename it never replaces a volume that came in between.
            os.link(new, path)
        settle(path.parent)
    except OSError as error:
        raise HostLacks(
            f"{disk.key}: the volume {path} cannot be created: {error.strerror}"
        ) from error
    return True


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Find a name for a file that is on its way; whatever has it goes in the end. A launcher that was paused over
    its own must not give the volume's name to what another one has begun.

    Whoever makes it, qemu-img too, makes it for root alone: all QEMUs may look at the pool.
    """
    _clear_away(path)
    new, lock = _begun(path)
    before = os.umask(0o077)
    try:
        yield new
    finally:
        os.umask(before)
        new.unlink(missing_ok=True)
        _lock_of(new).unlink(missing_ok=True)
        os.close(lock)


def _begun(path: Path) -> tuple[Path, int]:
    """The name is taken for as long as the lock beside it is held. On the file itself it would be in qemu-img's
    way: over NFS they are of one kind.
    """
    while True:
        new = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")
        lock = os.open(_lock_of(new), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _taken(lock) is not False and os.fstat(lock).st_nlink:
            return new, lock
        os.close(lock)  # somebody who clears away was quicker


def _clear_away(path: Path) -> None:
    """What killed makers have left. One that lives, on another host perhaps, holds its lock; one of an older
    launcher has none, and cannot be told from a dead one.
    """
    for one in path.parent.glob(f".{path.name}.*.lock"):
        with suppress(FileNotFoundError):
            lock = os.open(one, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            if _taken(lock):
                one.with_suffix(".new").unlink(missing_ok=True)
                one.unlink(missing_ok=True)
            os.close(lock)
    for left in (*path.parent.glob(f".{path.name}.new"), *path.parent.glob(f".{path.name}.*.new")):
        if not _lock_of(left).exists():
            left.unlink(missing_ok=True)


def _lock_of(new: Path) -> Path:
    return new.with_suffix(".lock")


def _taken(lock: int) -> bool | None:
    """None: nobody can say, there are no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def keep_private(disk: Disk) -> None:
    """Take from others what was made before volumes were root's alone, and from nobody what a link leads to."""
    if isinstance(disk.backend, Volume):
        # OSError: another owner's, on a server that knows no root
        with suppress(OSError, Unfit), pathname.found(disk.backend.path, _pool(disk)) as place:
            mode = stat.S_IMODE(place.stat.st_mode)
            if mode & 0o077 and place.is_file:
                Path(place.path).chmod(mode & 0o700)


def _pool(disk: Disk) -> Bounds:
    return local.bounds_of(disk, pathname.ANYWHERE)


def _sync(path: Path) -> None:
    """qemu-img does not, and a record that says `made` outlives a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def allocate(path: Path, disk: Disk) -> None:
    assert disk.size is not None  # noqa: S101 - check() has seen to it
    if disk.format is Format.raw:
        with path.open("xb") as file:
            if disk.sparse is False:
                os.posix_fallocate(file.fileno(), 0, disk.size)
            if disk.template:
                file.write(Path(disk.template).read_bytes().rstrip(b"\0"))
            file.truncate(disk.size)
            os.fsync(file.fileno())
        return
    whole = ["-o", "preallocation=falloc"] if disk.sparse is False else []
    command = ["qemu-img", "create", "-q", "-f", disk.format.value, *whole]
    run(disk, [*command, str(path), str(disk.size)])


def grow(disk: Disk, path: Path, *handed: int) -> bool:
    """Give the file its size in bytes. True: it has grown.

    A smaller size than it has is no request to shrink: that would cut data off. `handed` are the descriptors by
    which the path leads to it. Raises LockHeld where a QEMU has it open.
    """
    wanted = wanted_size(disk, path)
    if not wanted:
        return False
    from holdfast.storage import image_lock  # noqa: PLC0415 - few starts grow a disk

    if disk.format is Format.raw:
        with image_lock.locked_out(path, disk.backend) as file:
            # Unlike truncate() it never cuts off: a launcher that was paused here, on storage that
            # other hosts reach too, may come after one that has grown the volume further.
            os.posix_fallocate(file, wanted - 1, 1)
    else:
        image_lock.refuse_held(path, disk.backend)
        command = ["qemu-img", "resize", "-q", "-f", disk.format.value]
        run(disk, [*command, str(path), str(wanted)], handed)
    return True


def wanted_size(disk: Disk, path: Path) -> int:
    """Return the size to grow to, in bytes; 0 for none. What a source left, or an older version
    made, may end within a block; a file of the user's own is grown only where `size` says so.
    """
    ours = isinstance(disk.backend, Volume) and disk.format is Format.raw and disk.writable
    if disk.size is None and not ours:
        return 0
    found = size_of(disk, path)
    wanted = max(found, disk.size or 0)
    if ours and not disk.template:
        wanted = aligned(wanted)
    return wanted if wanted > found else 0


def size_of(disk: Disk, path: Path) -> int:
    if disk.format is Format.raw:
        return path.stat().st_size
    header = qcow2.header(path)
    return header.size if header else 0


def run(disk: Disk, command: list[str], handed: Sequence[int] = ()) -> None:
    """Run it as root, for the file may be in anybody's folder, but with no other right: a
    broken-out QEMU may have written its header. Raises HostLacks.
    """
    from holdfast.runtime import sandbox  # noqa: PLC0415 - few starts make or grow a qcow2
    from holdfast.runtime.seccomp import Filter  # noqa: PLC0415 - likewise
    from holdfast.system import capability  # noqa: PLC0415 - few starts make or grow a qcow2

    anywhere = capability.Capability.DAC_OVERRIDE in capability.effective()
    rights = ["dac_override"] if anywhere else []
    with sandbox.handed(Filter()) as seccomp:
        done = subprocess.run(
            kept(command, rights, os.getpid(), seccomp),
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[seccomp, *handed],
        )
    if done.returncode:
        raise HostLacks(f"{disk.key}: {done.stderr.strip()}")
