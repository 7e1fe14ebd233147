"""What a key names is what is judged, and what is judged is what is opened: links that change, and whose they are."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from holdfast.devices import seed, virtiofs
from holdfast.errors import ConfigError
from holdfast.machine import Cache as CacheMode
from holdfast.machine import Disk, Document, Format, LocalPath, Share, Source, Volume
from holdfast.policy.host_config import HostConfig, parse
from holdfast.runtime.confinement import Identity
from holdfast.runtime.worker import idle
from holdfast.storage import directory, local, pathname
from holdfast.storage.image.cache import Cache
from holdfast.storage.image.partial import Partial
from holdfast.storage.pathname import Bounds

pytestmark = pytest.mark.processes

SIZE = 8192
GOOD, SECRET = b"good" * (SIZE // 4), b"root" * (SIZE // 4)
TENANT = 12_345
# renameat2(2) with RENAME_EXCHANGE, below AT_FDCWD
SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def exchange(one, other):
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        raise OSError(ctypes.get_errno(), "renameat2")
"""
BOTH = 5  # of each outcome that a race has, to have been one
LONGEST = 120.0  # seconds for it; it takes a blink where nothing else runs


class Folders:
    """`images`, where keys may lead, and a secret beside it."""

    def __init__(self, root: Path) -> None:
        self.images, self.secrets = root / "images", root / "secrets"
        for folder, content in ((self.images / "d", GOOD), (self.secrets, SECRET)):
            folder.mkdir(parents=True)
            (folder / "k").write_bytes(content)
        self.out = self.images / "out"
        self.out.symlink_to(self.secrets)
        self.bounds = Bounds(folders=(str(self.images),))
        self.named = str(self.images / "d" / "k")

    def exchange(self) -> None:
        """A folder and a link that leads out, in one breath."""
        names = [str(self.images / "d"), str(self.out)]
        command = [sys.executable, "-c", f"{SWAP}\nexchange(*sys.argv[1:])", *names]
        subprocess.run(command, check=True)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def disk(path: str, *, read_only: bool = False, size: int | None = None) -> Disk:
    return Disk(
        name="root",
        backend=LocalPath(path=path),
        cache=CacheMode.writeback,
        format_named=True,
        read_only=read_only,
        size=size,
    )


# -- each way by which a key's path is opened: what is read by it


def as_disk(folders: Folders) -> bytes:
    descriptor = local.open_for_qemu(disk(folders.named, read_only=True), folders.bounds)
    try:
        return os.pread(descriptor, SIZE, 0)
    finally:
        os.close(descriptor)


def to_be_written(folders: Folders) -> bytes:
    descriptor = local.open_for_qemu(disk(folders.named), folders.bounds)
    try:
        return os.pread(descriptor, SIZE, 0)
    finally:
        os.close(descriptor)


def grown(folders: Folders) -> bytes:
    """Were it the secret's file, that one would be larger now."""
    directory.provide(disk(folders.named, size=next(SIZES)), folders.bounds)
    return (folders.secrets / "k").read_bytes().replace(SECRET, GOOD)


SIZES = count(2 * SIZE, SIZE)


def as_kernel(folders: Folders) -> bytes:
    with local.reading("kernel", folders.named, folders.bounds) as descriptor:
        return os.pread(descriptor, SIZE, 0)


def as_document(folders: Folders) -> bytes:
    return seed.text(Document(path=folders.named, key="user_data"), folders.bounds).encode()


def as_source(folders: Folders) -> bytes:
    cache = Cache(folders.images.parent / "cache", WHO, idle, folders.bounds)
    with opened_by(cache, folders.named) as descriptor:
        return os.pread(descriptor, SIZE, 0)


WHO = Identity(uid=TENANT, gid=TENANT)


@contextmanager
def opened_by(cache: Cache, path: str) -> Iterator[int]:
    from contextlib import ExitStack  # noqa: PLC0415

    with ExitStack() as stack:
        yield cache._opened(Source(image=path), Partial(cache.root, "name"), stack, "source/image")


def as_share(folders: Folders) -> bytes:
    share = Share(name="s", path=str(folders.images / "d"))
    folder = virtiofs._opened(share, folders.bounds)
    try:
        descriptor = os.open("k", os.O_RDONLY, dir_fd=folder)
        with closing(os.fdopen(descriptor, "rb")) as file:
            return file.read(SIZE)
    finally:
        os.close(folder)


WAYS = [as_disk, to_be_written, grown, as_kernel, as_document, as_source, as_share]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_a_path_that_leads_elsewhere_since_it_was_judged(
    way: Callable[[Folders], bytes], folders: Folders
) -> None:
    """A plan is made long before the files are opened."""
    assert local.check([disk(folders.named)], folders.bounds) == []
    assert way(folders)[:SIZE] == GOOD
    folders.exchange()
    with pytest.raises(
        ConfigError, match=f"is {folders.secrets}.*, which lies outside image_paths"
    ):
        way(folders)
    assert (folders.secrets / "k").read_bytes() == SECRET


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_a_folder_and_a_link_that_take_turns(
    way: Callable[[Folders], bytes], folders: Folders
) -> None:
    """Until both have been met some times: the one is read, the other never."""
    met = {"read": 0, "refused": 0}
    until = time.monotonic() + LONGEST
    with swapping(folders):
        while min(met.values()) < BOTH and time.monotonic() < until:
            try:
                assert way(folders)[:SIZE] == GOOD
                met["read"] += 1
            except ConfigError as error:
                met["refused"] += "lies outside" in error.message
    assert min(met.values()) >= BOTH, met
    assert (folders.secrets / "k").read_bytes() == SECRET


@contextmanager
def swapping(folders: Folders) -> Iterator[None]:
    """By a process of its own, which knows of no moment at which it had better not."""
    command = [sys.executable, "-c", f"{SWAP}\nwhile True: exchange(*sys.argv[1:])"]
    swapper = subprocess.Popen([*command, folders.images / "d", folders.out])
    try:
        yield
        assert swapper.poll() is None
    finally:
        swapper.kill()
        swapper.wait()


def test_what_is_opened_has_no_effect_before_it_is_judged(tmp_path: Path) -> None:
    """A FIFO would wait for its writer for ever; a watchdog would start."""
    os.mkfifo(tmp_path / "fifo")
    bounds = Bounds(folders=(str(tmp_path),))
    for path in (tmp_path / "fifo", tmp_path):
        (fault,) = local.check_file("kernel", str(path), bounds)
        assert "regular file" in fault.rule or "is a folder" in fault.rule
        with pytest.raises(ConfigError, match=r"is neither a regular file|is a folder"):
            local.open_for_qemu(disk(str(path)), bounds)
    (tmp_path / "loop").symlink_to("loop")
    (fault,) = local.check_file("kernel", str(tmp_path / "loop"), bounds)
    assert "cannot be opened: Too many levels" in fault.rule


# -- whose links they are, where host.toml has [vms]


class Ground:
    """/srv of a host: `images` is root's, with a folder for each of the tenants a and b, which they may write to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (
            "images/a",
            "images/b",
            "images/own",
            "big",
            "templates",
            "share/a",
            "share/b",
        ):
            (root / name).mkdir(parents=True)
        for name in (
            "images/a/disk",
            "images/b/disk",
            "images/own/disk",
            "big/disk",
            "templates/t",
        ):
            (root / name).write_bytes(GOOD)
        for vm in ("a", "b"):
            os.chown(root / "images" / vm, TENANT, TENANT)

    def link(self, name: str, target: str, owner: int) -> None:
        (self.root / name).symlink_to(target.replace("ROOT", str(self.root)))
        os.lchown(self.root / name, owner, owner)

    @property
    def config(self) -> HostConfig:
        faults: list[object] = []
        text = f"""
            image_paths = ["{self.root}"]
            [templates]
            paths = ["{self.root}/templates"]
            [vms."*"]
            paths = ["{self.root}/images/{{vm}}", "{self.root}/images/own/{{vm}}-*", "{self.root}/link"]
            [vms.c]
            paths = ["{self.root}/images/a"]
        """
        found = parse(text, faults)  # type: ignore[arg-type]
        assert not faults
        return found


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


LINKS = {
    "as device-mapper's, root's in root's folder": (
        "images/own/a-disk",
        "../../big/disk",
        0,
        True,
    ),
    "a folder of root's that has moved": ("link", "ROOT/big/disk", 0, True),
    "the tenant's own, to what is his": ("images/a/x", "disk", TENANT, True),
    "the same by the whole name": ("images/a/x", "ROOT/images/a/disk", TENANT, True),
    "the tenant's, to another's": ("images/a/x", "../b/disk", TENANT, False),
    "by the whole name": ("images/a/x", "ROOT/images/b/disk", TENANT, False),
    "by way of the root": ("images/a/x", "/.." * 20 + "ROOT/images/b/disk", TENANT, False),
    "to what nobody named": ("images/a/x", "ROOT/big/disk", TENANT, False),
    "root's, in the tenant's folder": ("images/a/x", "../b/disk", 0, False),
    "the tenant's, in root's folder": ("images/own/a-x", "../b/disk", TENANT, False),
    "to a template, for reading": ("images/a/x", "ROOT/templates/t", TENANT, True),
}


@pytest.mark.parametrize("case", LINKS)
def test_a_link_gives_what_its_maker_may_name(case: str, ground: Ground) -> None:
    name, target, owner, good = LINKS[case]
    ground.link(name, target, owner)
    bounds = pathname.of_files(ground.config, "a")
    faults = local.check([disk(f"{ground.root}/{name}", read_only=True)], bounds)
    assert (not faults) is good, faults
    if not good:
        assert 'host.toml does not name that for this VM ([vms."a"])' in faults[0].rule


def test_a_folder_that_others_may_write_to(ground: Ground) -> None:
    """However it came there, and wherever on the way it is."""
    ground.link("images/own/a-x", "../b/disk", 0)
    bounds = pathname.of_files(ground.config, "a")
    one = disk(f"{ground.root}/images/own/a-x", read_only=True)
    assert local.check([one], bounds) == []
    for folder, mode in (("images/own", 0o777), ("images", 0o775), ("images/own", 0o1777)):
        (ground.root / folder).chmod(mode)
        assert bool(local.check([one], bounds)) is (mode != 0o1777), (folder, oct(mode))
        (ground.root / folder).chmod(0o755)


def test_a_pattern_is_not_led_elsewhere_by_the_tenant(ground: Ground) -> None:
    """[vms.c] names the folder of the tenant a itself."""
    (ground.root / "images/a/sub").mkdir()
    (ground.root / "images/a/sub/disk").write_bytes(GOOD)
    bounds = pathname.of_files(ground.config, "c")
    path = f"{ground.root}/images/a/sub/disk"
    assert local.check([disk(path)], bounds) == []
    (ground.root / "images/a/sub").rename(ground.root / "images/a/gone")
    ground.link("images/a/sub", "../b", TENANT)
    assert local.check([disk(path)], bounds)
    # And where root has moved all of it, all goes on.
    (ground.root / "images").rename(ground.root / "moved")
    ground.link("images", "moved", 0)
    assert local.check([disk(f"{ground.root}/images/a/gone/disk")], bounds) == []
    ground.link("images/a/y", "gone/disk", TENANT)
    assert local.check([disk(f"{ground.root}/images/a/y")], bounds) == []
    assert local.check([disk(path)], bounds)


def test_a_template_is_not_written_to_by_a_link(ground: Ground) -> None:
    """Not even by root's, and where there is no [vms]."""
    ground.link("images/own/a-x", "../../templates/t", 0)
    path = f"{ground.root}/images/own/a-x"
    text = f'image_paths = ["{ground.root}"]\n[templates]\npaths = ["{ground.root}/templates"]'
    for config in (ground.config, parse(text, [])):
        bounds = pathname.of_files(config, "a")
        (fault,) = local.check([disk(path)], bounds)
        assert "a template of host.toml, which nobody writes to" in fault.rule
        assert local.check([disk(path, read_only=True)], bounds) == []


def test_a_guest_makes_no_link_out_of_its_share(ground: Ground) -> None:
    """Its root is the host's there: whose a link is says nothing."""
    ground.link("share/a/x", "../b", 0)
    text = f'share_paths = ["{ground.root}/share"]\n[vms."*"]\nshares = ["{ground.root}/share/{{vm}}"]'
    config = parse(text, [])
    path = f"{ground.root}/share/a/x"
    (fault,) = virtiofs.check([Share(name="s", path=path)], pathname.of_shares(config, "a"))[:1]
    assert "host.toml does not name that" in fault.rule
    good = Share(name="s", path=f"{ground.root}/share/a")
    os.close(virtiofs._opened(good, pathname.of_shares(config, "a")))


def test_an_image_in_a_share_by_a_link_of_the_operators(ground: Ground) -> None:
    """The texts of share_paths and image_paths do not overlap, what they lead to does."""
    (ground.root / "share/a/disk").write_bytes(GOOD)
    ground.link("link", "ROOT/share/a", 0)
    text = f'image_paths = ["{ground.root}/link"]\nshare_paths = ["{ground.root}/share"]'
    faults: list[object] = []
    bounds = pathname.of_files(parse(text, faults), "a")  # type: ignore[arg-type]
    assert not faults
    (fault,) = local.check([disk(f"{ground.root}/link/disk")], bounds)
    assert "lies in a folder that guests write to (share_paths)" in fault.rule


def test_a_volume_stays_in_its_pool(ground: Ground) -> None:
    pool = ground.root / "big"
    (pool / "a-root.raw").symlink_to("../images/b/disk")
    volume = Volume(pool="p", directory=str(pool), name="a-root.raw")
    one = Disk(name="root", backend=volume, format=Format.raw, cache=CacheMode.writeback)
    (fault,) = local.check([one], pathname.ANYWHERE)
    assert "which lies outside the pool" in fault.rule
    with pytest.raises(ConfigError, match="outside the pool"):
        local.open_for_qemu(one, pathname.ANYWHERE)
