"""What a file is claimed as is what QEMU is handed, whoever changes places in between; and nothing that lies in a
disk's place, or beside it, holds a launcher up.
"""

import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from interruptions import interruptions

from holdfast.errors import ConfigError, HoldfastError, LockHeld
from holdfast.machine import Cache, Disk, Format, LocalPath, Volume
from holdfast.policy.host_config import HostConfig
from holdfast.storage import directory, local, pathname, pools, qcow2, volume_id
from holdfast.storage.file_claim import ClaimsBeside, claim_of, mark_of
from holdfast.storage.identity import Identities, identities
from holdfast.storage.image import golden, origin
from holdfast.storage.pathname import ANYWHERE, FOLDER_ID
from holdfast.system import mounts

pytestmark = pytest.mark.processes

CONSENT = HostConfig(time_fence=True)
SIZE = 8192


class Folders:
    """Two that may change places, each with a disk; `current` is a link to the first one."""

    def __init__(self, root: Path) -> None:
        self.root, self.own, self.other = root, root / "own", root / "other"
        self.current = root / "current"
        self.current.symlink_to("own")
        for folder in (self.own, self.other):
            folder.mkdir()
            (folder / "disk.raw").write_bytes(folder.name.encode().ljust(SIZE, b"."))

    @property
    def path(self) -> Path:
        return self.own / "disk.raw"

    def exchange(self) -> None:
        away = self.root / "away"
        self.own.rename(away)
        self.other.rename(self.own)
        away.rename(self.other)

    def replace(self) -> None:
        (self.other / "disk.raw").replace(self.path)

    def retarget(self) -> None:
        self.current.unlink()
        self.current.symlink_to("other")

    def link(self) -> None:
        self.path.unlink()
        self.path.symlink_to(self.other / "disk.raw")

    def remount(self) -> None:
        """Another file system than the one that was judged; who may mount is no tenant."""
        mounts.LOCAL = frozenset()  # put back by the fixture

    def copy_id(self) -> None:
        self.exchange()
        (self.own / FOLDER_ID).write_bytes((self.other / FOLDER_ID).read_bytes())

    def rename(self) -> None:
        """The name of another disk of the folder, by which another VM has claimed it."""
        self.path.rename(self.own / "another.raw")
        self.path.symlink_to("another.raw")

    def add_name(self) -> None:
        (self.other / "second").hardlink_to(self.path)

    def forget(self) -> None:
        (self.own / FOLDER_ID).write_text(f"{uuid4()}\n")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(mounts, "LOCAL", mounts.LOCAL)
    return Folders(tmp_path)


@pytest.fixture
def foreign(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """On a file system that other hosts may mount."""
    monkeypatch.setattr(mounts, "LOCAL", frozenset())
    return folders


def disk(path: Path, size: int | None = None) -> Disk:
    return Disk(
        name="root",
        backend=LocalPath(path=str(path)),
        cache=Cache.none,
        format_named=True,
        size=size,
    )


def claimed(path: Path, config: HostConfig = CONSENT) -> Identities:
    return identities([disk(path)], ANYWHERE, config)


@contextmanager
def handed(path: Path, known: Identities) -> Iterator[int]:
    """As QEMU gets it. O_DIRECT is not every test's file system's."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        known.refuse_another(disk(path), descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


LOCAL_SWAPS: list[Callable[[Folders], None]] = [
    Folders.exchange,
    Folders.replace,
    Folders.link,
    Folders.remount,
]


@pytest.mark.parametrize("swap", LOCAL_SWAPS, ids=lambda swap: swap.__name__)
def test_another_file_than_the_one_that_was_claimed_is_handed_to_nobody(
    folders: Folders, swap: Callable[[Folders], None]
) -> None:
    known = claimed(folders.path)
    with handed(folders.path, known) as descriptor:
        assert os.pread(descriptor, 3, 0) == b"own"
    swap(folders)
    with (
        pytest.raises(
            LockHeld, match=r"disks/root: .*/own/disk\.raw leads to another file"
        ) as told,
        handed(folders.path, known),
    ):
        pass
    assert "claimed at the next try" in told.value.hint


def test_a_link_that_leads_to_the_same_file_is_no_change(folders: Folders) -> None:
    known = claimed(folders.current / "disk.raw")
    with handed(folders.own / "disk.raw", known):
        pass
    folders.retarget()
    with (
        pytest.raises(LockHeld, match="leads to another file"),
        handed(folders.current / "disk.raw", known),
    ):
        pass


def test_a_file_of_another_inode_does_not_grow(folders: Folders) -> None:
    known = claimed(folders.path)
    grown = disk(folders.path, 2 * SIZE)
    folders.exchange()
    with pytest.raises(LockHeld, match="leads to another file"):
        directory.provide(grown, ANYWHERE, known=known)
    assert folders.path.stat().st_size == SIZE
    folders.exchange()
    assert directory.provide(grown, ANYWHERE, known=known) == "grown"


def volume(folders: Folders) -> Disk:
    backend = Volume(directory=str(folders.own), pool="p", name="7.raw")
    return Disk(name="root", backend=backend, size=SIZE, cache=Cache.none)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_volume_keeps_the_name_that_it_was_claimed_by_before_it_was_made(
    folders: Folders, swapped: bool
) -> None:
    one = volume(folders)
    known = identities([one], ANYWHERE, HostConfig())
    assert known.files["root"].endswith("/7.raw")
    if swapped:
        folders.exchange()
    assert directory.provide(one, ANYWHERE, known=known) == "created"
    descriptor = local.open_for_qemu(one, ANYWHERE)
    try:
        if swapped:
            with pytest.raises(LockHeld, match="leads to another file"):
                known.refuse_another(one, descriptor)
        else:
            known.refuse_another(one, descriptor)
    finally:
        os.close(descriptor)


SHARED_SWAPS: list[Callable[[Folders], None]] = [
    Folders.exchange,
    Folders.link,
    Folders.rename,
    Folders.add_name,
    Folders.forget,
]


@pytest.mark.parametrize("swap", SHARED_SWAPS, ids=lambda swap: swap.__name__)
def test_a_shared_file_lies_in_the_folder_by_which_it_was_claimed(
    foreign: Folders, swap: Callable[[Folders], None]
) -> None:
    known = claimed(foreign.path)
    assert known.shared["root"].endswith("/disk.raw")
    with handed(foreign.path, known):
        pass
    swap(foreign)
    with pytest.raises(LockHeld, match="leads to another file"), handed(foreign.path, known):
        pass


def test_a_copied_id_of_the_folder_brings_no_claim_along(foreign: Folders) -> None:
    known = claimed(foreign.path)
    ours = ClaimsBeside({foreign.path: ""})
    ours.put("ours")
    with handed(foreign.path, known) as descriptor:
        ours.require(foreign.path, descriptor)
    foreign.copy_id()
    with handed(foreign.path, known) as descriptor:
        with pytest.raises(LockHeld, match="was claimed, and what was opened there is another"):
            ours.require(foreign.path, descriptor)
        mark_of(foreign.path).symlink_to(mark_of(foreign.other / "disk.raw"))
        with pytest.raises(LockHeld, match="was claimed, and what was opened there is another"):
            ours.require(foreign.path, descriptor)


def test_where_no_claim_can_be_put_none_is_asked_for(foreign: Folders) -> None:
    gone = foreign.root / "none" / "disk.raw"
    ours = ClaimsBeside({gone: ""})
    ours.put("ours")
    with handed(foreign.path, claimed(foreign.path)) as descriptor:
        ours.require(gone, descriptor)


@pytest.mark.parametrize("there", ["local", "shared"])
@pytest.mark.parametrize("swap", [Folders.exchange, Folders.link, Folders.replace])
def test_whenever_it_changes_what_is_handed_over_is_what_is_claimed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: str,
    swap: Callable[[Folders], None],
) -> None:
    """Before each opening in turn: it is refused, or claim and file are of one mind."""
    if there == "shared":
        monkeypatch.setattr(mounts, "LOCAL", frozenset())
    outcomes = set()
    for number in range(60):
        (tmp_path / str(number)).mkdir()
        folders = Folders(tmp_path / str(number))
        before = {one: one.stat().st_ino for one in (folders.own, folders.other)}
        with ExitStack() as stack:
            try:
                with interruptions.before(number, lambda: swap(folders)):  # noqa: B023
                    known = claimed(folders.path)
                    descriptor = stack.enter_context(handed(folders.path, known))
            except (ConfigError, LockHeld):
                outcomes.add("refused")
            else:
                outcomes.add("handed")
                assert is_claimed(known, descriptor, folders, before)
        if interruptions.over:
            break
    else:
        pytest.fail("it makes calls without end")
    assert outcomes == {"handed", "refused"}


def is_claimed(
    known: Identities, descriptor: int, folders: Folders, before: dict[Path, int]
) -> bool:
    """A file that was put into another folder is that folder's now."""
    if known.files:
        return known.files["root"].endswith(f"-{os.fstat(descriptor).st_ino}")
    own = os.pread(descriptor, 3, 0) == b"own" or not (folders.other / "disk.raw").exists()
    inode = before[folders.own if own else folders.other]
    (folder,) = (one for one in before if one.stat().st_ino == inode)
    return known.shared["root"].startswith((folder / FOLDER_ID).read_text().strip())


# -- what holds up who opens it


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's name is short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to("fifo")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_device(path: Path) -> None:
    """Root's, or a link to one: to open it may start something."""
    path.symlink_to("/dev/ptmx")


KINDS = [make_fifo, make_socket, make_folder, make_link_to_fifo, make_loop, make_device]


@contextmanager
def at_once() -> Iterator[None]:
    """Who hangs in a call is woken, and has failed."""

    def late(*_: object) -> None:
        raise AssertionError("it was held up")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def as_disk(path: Path) -> None:
    claimed(path)


def beside_disk(path: Path) -> None:
    """As the folder's id."""
    path.rename(path.with_name(FOLDER_ID))
    path.with_name("disk").write_bytes(bytes(SIZE))
    claimed(path.with_name("disk"))


def as_pools_id(path: Path) -> None:
    path.rename(path.with_name(FOLDER_ID))
    pools.of(path.parent, "m")


def as_volumes_id(path: Path) -> None:
    path.rename(volume_id.beside(path))
    volume_id.read(path)


def as_claim(path: Path) -> None:
    folder = mark_of(path)
    folder.mkdir()
    path.rename(folder / "one")
    claim_of(path)


def as_claims(path: Path) -> None:
    path.rename(mark_of(path))
    claim_of(path)
    ClaimsBeside({path: ""}).put("ours")


def as_volume(path: Path) -> None:
    backend = Volume(directory=str(path.parent), pool="p", name=path.name)
    one = Disk(name="root", backend=backend, size=SIZE, format=Format.raw)
    assert local.check([one], ANYWHERE)
    local.in_use(one)
    directory.keep_private(one)
    directory.provide(one, ANYWHERE)


def as_source(path: Path) -> None:
    with origin.still("disks/root/source/volume", path):
        pass


def as_parent(path: Path) -> None:
    qcow2.parent(path)


def as_golden(path: Path) -> None:
    path.rename(path.with_name(f"golden-{64 * 'a'}.qcow2"))
    golden.remove(path.parent, f"golden-{64 * 'a'}.qcow2")


def to_be_grown(path: Path) -> None:
    directory.provide(disk(path, 2 * SIZE), ANYWHERE)


WAYS = [
    as_disk,
    beside_disk,
    as_pools_id,
    as_volumes_id,
    as_claim,
    as_claims,
    as_volume,
    as_source,
    as_parent,
    as_golden,
    to_be_grown,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_lies_there_holds_nobody_up(
    way: Callable[[Path], None], kind: Callable[[Path], None], foreign: Folders
) -> None:
    """A FIFO waits for its writer; a device may start something; a folder and a loop are no files."""
    path = foreign.own / "placed"
    kind(path)
    with at_once(), suppress(HoldfastError, OSError):
        way(path)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_no_uuid_in_a_file_names_no_folder(
    kind: Callable[[Path], None], foreign: Folders
) -> None:
    kind(foreign.own / FOLDER_ID)
    with (
        at_once(),
        pytest.raises(ConfigError, match=r"disks/root.*\.holdfast-id must hold a UUID"),
    ):
        claimed(foreign.path)


def test_a_link_to_another_folders_id_names_none(foreign: Folders) -> None:
    claimed(foreign.other / "disk.raw")
    (foreign.own / FOLDER_ID).symlink_to(foreign.other / FOLDER_ID)
    with pytest.raises(ConfigError, match="must hold a UUID"):
        claimed(foreign.path)


def test_nobody_loses_a_mode_by_a_link_in_a_volumes_place(folders: Folders) -> None:
    (folders.other / "disk.raw").chmod(0o644)
    one = volume(folders)
    Path(str(one.backend)).symlink_to(folders.other / "disk.raw")
    directory.keep_private(one)
    assert (folders.other / "disk.raw").stat().st_mode & 0o777 == 0o644


def test_a_lease_on_a_file_is_not_waited_for(folders: Folders) -> None:
    """Any owner of a file may have one, and holds up who opens it for three quarters of a minute."""
    descriptor = os.open(folders.path, os.O_RDWR)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # as the kernel asks for it back
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with (
            pathname.found(str(folders.path), ANYWHERE) as found,
            pytest.raises(BlockingIOError),
            found.reading(),
        ):
            pass
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)
