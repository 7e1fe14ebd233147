"""Volumes from images and from each other: the cases V6 to V11 of what Nomad's drivers do, on real files.

No guest here: `qemu-img` and the processes that fetch and convert are the real ones.
"""

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import launcher
import pytest

from holdfast.errors import ConfigError, HoldfastError, HostLacks, LockHeld, Unreachable
from holdfast.keys.image_source import checksum
from holdfast.machine import Checksum, Disk, Format, Source, Volume
from holdfast.runtime.child import uid_map_end
from holdfast.runtime.confinement import identity
from holdfast.runtime.worker import idle
from holdfast.storage import local, qcow2
from holdfast.storage.image import client, golden, qemu_img
from holdfast.storage.pathname import ANYWHERE, Bounds
from holdfast.storage.volume import Volumes

pytestmark = pytest.mark.integration

MIB = 1024**2
WHO = identity("nomad", uid_map_end=uid_map_end(), kvm_gid=None)


@dataclass
class Shelf:
    """A pool, a cache and a folder of images."""

    root: Path
    made: list[str] = field(default_factory=list)

    @property
    def pool(self) -> Path:
        return self.root / "pool"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def disk(
        self, name: str, source: Source | None = None, form: str = "raw", **more: object
    ) -> Disk:
        volume = Volume(pool="default", directory=str(self.pool), name=f"{name}.{form}")
        return replace(
            Disk(name="root", backend=volume, format=Format(form), source=source),
            **more,  # type: ignore[arg-type]
        )

    def provide(self, disk: Disk) -> Path:
        self.made.append(Volumes(self.cache, WHO, None, idle, ANYWHERE).provide(disk))
        assert isinstance(disk.backend, Volume)
        return Path(disk.backend.path)

    def files(self) -> list[str]:
        """What is in the pool, but the lock of its parents."""
        return sorted(path.name for path in self.pool.iterdir() if path.name != golden.LOCK)

    def left_over(self) -> list[str]:
        """What is on its way in the cache."""
        partial = self.cache / "partial"
        return (
            [path.name for path in partial.iterdir() if path.suffix != ".lock"]
            if partial.exists()
            else []
        )


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "pool").mkdir()
    # As an operator may have it: only root may look in.
    (tmp_path / "pool").chmod(0o700)
    return Shelf(tmp_path)


CONTENT = b"".join(struct.pack(">Q", number) for number in range(MIB // 8)) + bytes(3 * MIB)


def raw(path: Path, content: bytes = CONTENT) -> Path:
    path.write_bytes(content)
    return path


def as_qcow2(path: Path, content: bytes = CONTENT) -> Path:
    plain = raw(path.with_suffix(".plain"), content)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", plain, path], check=True)
    return path


def guest_sees(path: Path, form: str) -> bytes:
    """What a guest would read."""
    plain = path.with_name("seen")
    subprocess.run(["qemu-img", "convert", "-f", form, "-O", "raw", path, plain], check=True)
    seen = plain.read_bytes()
    plain.unlink()
    return seen


# -- V7: empty, image, clone, clone and grow, chained


@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.parametrize("was", ["raw", "qcow2"])
def test_v7_a_volume_from_an_image(shelf: Shelf, was: str, form: str) -> None:
    make = raw if was == "raw" else as_qcow2
    image = make(shelf.root / "image")
    before = (image.stat().st_mode, image.stat().st_uid)
    disk = shelf.disk("a-root", Source(image=str(image)), form, size=8 * MIB)
    path = shelf.provide(disk)
    assert guest_sees(path, form) == CONTENT + bytes(4 * MIB)
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)
    assert path.stat().st_blocks * 512 < 3 * MIB, "holes stay holes"
    assert (image.stat().st_mode, image.stat().st_uid) == before
    assert shelf.provide(disk) == path
    assert shelf.made == ["created", ""]
    assert (shelf.files(), shelf.left_over()) == ([path.name], [])
    assert local.check([disk], Bounds(folders=(str(shelf.root),))) == []


def test_v7_a_chained_volume_shares_its_parent(shelf: Shelf) -> None:
    image = as_qcow2(shelf.root / "image")
    source = Source(image=str(image))
    disks = [shelf.disk(f"{vm}-root", source, "qcow2", size=8 * MIB, chained=True) for vm in "ab"]
    paths = [shelf.provide(disk) for disk in disks]
    assert len(shelf.files()) == 3
    (parent,) = shelf.pool.glob("golden-*")
    assert parent.name == f"golden-{hashlib.sha256(image.read_bytes()).hexdigest()}.qcow2"
    assert parent.stat().st_mode & 0o777 == 0o400
    assert guest_sees(paths[0], "qcow2") == CONTENT + bytes(4 * MIB)
    assert [qcow2.parent(path) for path in paths] == [parent, parent]
    assert [path.stat().st_blocks * 512 < MIB for path in paths] == [True, True]
    assert local.check(disks, Bounds(folders=())) == []
    for path in paths:
        assert not golden.remove(shelf.pool, parent.name), "somebody sits on it"
        path.unlink()
    assert golden.remove(shelf.pool, parent.name)
    assert shelf.files() == []


def test_v7_a_clone_that_grows(shelf: Shelf) -> None:
    raw(shelf.pool / "a-root.raw")
    path = shelf.provide(shelf.disk("b-root", Source(volume="a-root"), size=16 * MIB))
    assert path.read_bytes() == CONTENT + bytes(12 * MIB)
    assert path.stat().st_blocks * 512 < 5 * MIB


def test_v7_a_clone_of_a_chained_volume_has_the_same_parent(shelf: Shelf) -> None:
    image = as_qcow2(shelf.root / "image")
    first = shelf.provide(shelf.disk("a-root", Source(image=str(image)), "qcow2", chained=True))
    second = shelf.provide(shelf.disk("b-root", Source(volume="a-root.qcow2"), "qcow2"))
    assert qcow2.parent(second) == qcow2.parent(first)
    assert guest_sees(second, "qcow2") == CONTENT


@pytest.mark.parametrize("name", ["nothing", "golden-" + 64 * "0", "link", "a-root.qcow2"])
def test_v7_what_cannot_be_cloned(shelf: Shelf, name: str) -> None:
    raw(shelf.pool / "a-root.raw")
    (shelf.pool / "link.raw").symlink_to("/etc/passwd")
    raw(shelf.pool / f"golden-{64 * '0'}.raw")
    before = shelf.files()
    with pytest.raises(ConfigError, match="there is no such volume in this pool"):
        shelf.provide(shelf.disk("b-root", Source(volume=name)))
    assert shelf.files() == before


def test_v7_a_volume_whose_name_does_not_say_what_it_is(shelf: Shelf) -> None:
    raw(shelf.pool / "focal.img")
    with pytest.raises(ConfigError, match=r"must have a name that ends in \.raw or \.qcow2"):
        shelf.provide(shelf.disk("b-root", Source(volume="focal.img")))
    assert shelf.files() == ["focal.img"]


def test_v7_a_volume_in_use_is_not_cloned(shelf: Shelf) -> None:
    path = raw(shelf.pool / "a-root.raw")
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio",
               "-drive", f"file={path},format=raw,if=virtio"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdout
        assert b"QMP" in qemu.stdout.readline()
        with pytest.raises(LockHeld, match="is in use"):
            shelf.provide(shelf.disk("b-root", Source(volume="a-root")))
        qemu.kill()
    assert shelf.files() == ["a-root.raw"]


@pytest.mark.parametrize("writes", [True, False])
def test_an_image_that_a_guest_writes_to_is_no_source(shelf: Shelf, writes: bool) -> None:
    """One that others only read is a template like any other."""
    path = raw(shelf.root / "image.raw")
    only = "" if writes else ",readonly=on"
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio",
               "-drive", f"file={path},format=raw,if=virtio{only}"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdout
        assert b"QMP" in qemu.stdout.readline()
        disk = shelf.disk("b-root", Source(image=str(path), format=Format.raw))
        if writes:
            with pytest.raises(LockHeld, match=r"disks/root/source/image: .*open for writing"):
                shelf.provide(disk)
        else:
            shelf.provide(disk)
        qemu.kill()
    assert shelf.files() == ([] if writes else ["b-root.raw"])
    assert shelf.left_over() == []


# -- V8: a source larger than the disk, by what the guest would see


@pytest.mark.parametrize("chained", [False, True])
def test_v8_a_source_larger_than_the_disk(shelf: Shelf, chained: bool) -> None:
    image = as_qcow2(shelf.root / "image", bytes(64 * MIB))
    assert image.stat().st_size < MIB
    disk = shelf.disk("a-root", Source(image=str(image)), "qcow2", size=8 * MIB, chained=chained)
    with pytest.raises(
        ConfigError, match=r"disks/root/size: .*is too small for .*image, whose disk has 67108864"
    ):
        shelf.provide(disk)
    assert shelf.files() == []


def test_v8_a_clone_larger_than_the_disk(shelf: Shelf) -> None:
    raw(shelf.pool / "a-root.raw")
    with pytest.raises(ConfigError, match="disks/root/size: "):
        shelf.provide(shelf.disk("b-root", Source(volume="a-root"), size=2 * MIB))
    assert shelf.files() == ["a-root.raw"]


# -- V9: the volume is there already; V10: a failed start leaves none; V11: nothing to delete


def test_v9_a_volume_that_is_there_stays_as_it_is(shelf: Shelf) -> None:
    path = raw(shelf.pool / "a-root.raw", b"mine" + bytes(2 * MIB - 4))
    assert shelf.provide(shelf.disk("a-root", Source(image="/nowhere"), size=MIB)) == path
    assert path.read_bytes() == b"mine" + bytes(2 * MIB - 4)
    shelf.provide(shelf.disk("a-root", Source(image="/nowhere"), size=4 * MIB))
    assert path.read_bytes() == b"mine" + bytes(4 * MIB - 4)
    assert shelf.made == ["", "grown"]


def test_v10_a_stop_leaves_nothing(shelf: Shelf) -> None:
    """In whatever moment it comes."""

    class Stop(Exception):
        pass

    image = as_qcow2(shelf.root / "image")
    disk = shelf.disk("a-root", Source(image=str(image)), "qcow2", chained=True)
    stops = 0
    while not shelf.made:
        attention = iter(range(stops))

        def attend(attention: Iterator[int] = attention) -> None:
            if next(attention, None) is None:
                raise Stop

        try:
            shelf.made.append(Volumes(shelf.cache, WHO, None, attend, ANYWHERE).provide(disk))
        except Stop:
            stops += 1
            assert [name for name in shelf.files() if not name.startswith("golden-")] == []
            assert shelf.left_over() == []
    assert stops > 3
    assert guest_sees(shelf.pool / "a-root.qcow2", "qcow2") == CONTENT


def test_v11_what_is_gone_already(shelf: Shelf) -> None:
    assert not golden.remove(shelf.pool, f"golden-{64 * '0'}.qcow2")
    assert image_command(shelf, "prune") == []


def image_command(shelf: Shelf, *arguments: str) -> list[dict[str, object]]:
    """`holdfast image`, as an operator calls it."""
    toml = shelf.root / "host.toml"
    toml.write_text(
        f'image_cache = "{shelf.cache}"\n[pools.default]\nkind = "directory"\npath = "{shelf.pool}"\n'
    )
    environ = {**launcher.BASE, "HOLDFAST_CONFIG": str(toml)}
    command = [sys.executable, "-P", "-m", "holdfast", "image", *arguments, "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_an_operator_fetches_one_file_of_an_archive(shelf: Shelf) -> None:
    image = as_qcow2(shelf.root / "image")
    archive = shelf.root / "images.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(image, "disk.img")
        tar.add(__file__, "readme")
    checksum = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    (row,) = image_command(
        shelf, "fetch", str(archive), "--member", "disk.img", "--checksum", checksum
    )
    assert (row["where"], row["size"]) == ("cache", 4 * MIB)


def test_an_operator_fetches_lists_and_prunes(shelf: Shelf) -> None:
    image = as_qcow2(shelf.root / "image")
    (row,) = image_command(shelf, "fetch", str(image))
    assert (row["where"], row["place"], row["size"]) == ("cache", str(image), 4 * MIB)
    disk = shelf.disk("a-root", Source(image=str(image)), "qcow2", chained=True)
    path = shelf.provide(disk)
    parent = f"golden-{row['name']}"
    users = {one["name"]: one["users"] for one in image_command(shelf, "ls")}
    assert users == {row["name"]: 0, parent: 1}
    assert [one["name"] for one in image_command(shelf, "prune", "--dry-run")] == [row["name"]]
    assert [one["name"] for one in image_command(shelf, "prune")] == [row["name"]]
    assert [one["name"] for one in image_command(shelf, "ls")] == [parent], "a volume sits on it"
    assert guest_sees(path, "qcow2") == CONTENT
    path.unlink()
    assert [one["name"] for one in image_command(shelf, "prune")] == [parent]
    assert image_command(shelf, "ls") == []


# -- what is published


def tarred(content: bytes, name: str = "./images/disk.raw") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for one, data in (("README", b"hello"), (name, content), ("../../etc/evil", b"x")):
            entry = tarfile.TarInfo(one)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/disk.raw", content)
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=content, capture_output=True, check=True).stdout


MEMBER = "images/disk.raw"
PACKED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("gz", gzip.compress, ""),
    ("xz", lzma.compress, ""),
    ("bz2", bz2.compress, ""),
    ("zst", zstd, ""),
    ("tar", tarred, MEMBER),
    ("tar.gz", lambda content: gzip.compress(tarred(content)), MEMBER),
    ("tar.xz", lambda content: lzma.compress(tarred(content)), MEMBER),
    ("tar.zst", lambda content: zstd(tarred(content)), MEMBER),
    ("zip", zipped, MEMBER),
]


@pytest.mark.parametrize(("name", "pack", "member"), PACKED, ids=[one[0] for one in PACKED])
def test_what_is_packed(
    shelf: Shelf, name: str, pack: Callable[[bytes], bytes], member: str
) -> None:
    data = pack(CONTENT)
    image = raw(shelf.root / f"image.{name}", data)
    proof = Checksum(algorithm="sha512", digest=hashlib.sha512(data).hexdigest())
    source = Source(image=str(image), member=member, checksum=proof)
    assert shelf.provide(shelf.disk("a-root", source)).read_bytes() == CONTENT
    # Cut off, it is refused, and nothing of it stays.
    raw(image, data[: len(data) * 2 // 3])
    with pytest.raises(
        ConfigError, match=r"disks/root/source/image: .*(damaged|has no member|cannot be)"
    ):
        shelf.provide(shelf.disk("b-root", replace(source, checksum=None)))
    assert (shelf.files(), shelf.left_over()) == (["a-root.raw"], [])


# -- hostile images


def huge(path: Path) -> Path:
    as_qcow2(path)
    with path.open("r+b") as file:
        file.seek(24)
        file.write(struct.pack(">Q", 1 << 62))
    return path


def backed(path: Path) -> Path:
    command: list[str | Path] = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-u",
        "-b",
        "/etc/shadow",
        "-F",
        "raw",
        path,
        "4M",
    ]
    subprocess.run(command, check=True)
    return path


def with_data_elsewhere(path: Path) -> Path:
    option = f"data_file={path.with_name('data')}"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", option, path, "4M"], check=True
    )
    return path


def encrypted(path: Path) -> Path:
    command: list[str | Path] = ["qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=x",
               "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", path, "4M"]  # fmt: skip
    subprocess.run(command, check=True)
    return path


def with_a_damaged_header(path: Path) -> Path:
    as_qcow2(path)
    with path.open("r+b") as file:
        file.seek(20)
        file.write(struct.pack(">I", 63))  # cluster_bits
    return path


def with_a_table_out_of_bounds(path: Path) -> Path:
    as_qcow2(path)
    with path.open("r+b") as file:
        file.seek(36)
        file.write(struct.pack(">I", 0x7FFFFFFF))  # l1_size
    return path


def of_another_format(path: Path) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", path, "4M"], check=True)
    return path


def empty(path: Path) -> Path:
    return raw(path, b"")


def an_archive(path: Path) -> Path:
    return raw(path, tarred(CONTENT))


def a_bomb(path: Path) -> Path:
    with lzma.open(path, "wb", preset=1) as file:
        for _ in range(1200):
            file.write(bytes(MIB))
    return path


HOSTILE = [
    (huge, "has a size of|cannot be read as an image"),
    (backed, "leads to another file"),
    (with_data_elsewhere, "leads to another file|cannot be read"),
    (encrypted, "is encrypted"),
    (with_a_damaged_header, "cannot be read as an image"),
    (with_a_table_out_of_bounds, "cannot be read as an image"),
    (of_another_format, "is a vmdk image: convert it"),
    (empty, "is empty"),
    (an_archive, "is a tar archive: name the image in it"),
    (a_bomb, "is larger than .* bytes once it is unpacked"),
]


@pytest.mark.parametrize(("make", "said"), HOSTILE, ids=[one[0].__name__ for one in HOSTILE])
def test_hostile_images(shelf: Shelf, make: Callable[[Path], Path], said: str) -> None:
    image = make(shelf.root / "image")
    with pytest.raises(ConfigError, match=f"disks/root/source/image: '/.*': .*({said})"):
        shelf.provide(shelf.disk("a-root", Source(image=str(image)), size=8 * MIB))
    assert (shelf.files(), shelf.left_over()) == ([], [])
    assert list(shelf.cache.glob("*.*")) == []


def test_a_raw_image_that_looks_like_another_is_read_as_it_is_told(shelf: Shelf) -> None:
    image = backed(shelf.root / "image")
    path = shelf.provide(shelf.disk("a-root", Source(image=str(image), format=Format.raw)))
    assert path.read_bytes().startswith(image.read_bytes())
    (fault,) = local.check([shelf.disk("a-root")], Bounds(folders=()))
    assert "its header says qcow2" in fault.rule


@pytest.mark.parametrize("member", ["link", "nothing", "README/x"])
def test_members_that_are_none(shelf: Shelf, member: str) -> None:
    image = raw(shelf.root / "image", tarred(CONTENT))
    with pytest.raises(ConfigError, match=f"(has no member|its member) {member}"):
        shelf.provide(shelf.disk("a-root", Source(image=str(image), member=member)))
    assert shelf.files() == []


def test_the_wrong_checksum(shelf: Shelf) -> None:
    image = raw(shelf.root / "image")
    source = Source(image=str(image), checksum=checksum("md5:" + 32 * "0"))
    found = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    with pytest.raises(ConfigError, match=f"another checksum than was asked for: md5:{found}"):
        shelf.provide(shelf.disk("a-root", source))
    assert (shelf.files(), shelf.left_over()) == ([], [])


# -- a process that fetches, of which somebody has taken hold


def lying(monkeypatch: pytest.MonkeyPatch, *said: str, kept: list[int] | None = None) -> None:
    """It writes CONTENT, says what is `said`, and leaves what can go on writing in `kept`."""

    class Liar:
        def __init__(self, _: object, descriptors: Sequence[int], request: str = "") -> None:
            with contextlib.suppress(OSError):  # a file of the operator's is for reading
                os.pwrite(descriptors[0], CONTENT[:MIB], 0)
            os.pwrite(descriptors[1], CONTENT, 0)
            if kept is not None:
                kept.append(os.dup(descriptors[1]))

        def lines(self, _: object, **_limits: float) -> Iterator[str]:
            yield from said

        def close(self) -> None: ...

    monkeypatch.setattr(client, "Work", Liar)


def answered(**more: object) -> str:
    return json.dumps({"answer": {"sha256": "0" * 64, "size": 1, "missing": "", **more}})


def test_what_it_calls_its_image_is_not_believed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = raw(shelf.pool / "victim-root.raw", bytes(MIB))
    other = raw(shelf.root / "image", bytes(MIB))
    lying(monkeypatch, answered(sha256="../pool/victim-root"))
    path = shelf.provide(shelf.disk("a-root", Source(image=str(other))))
    assert path.read_bytes() == CONTENT
    assert victim.read_bytes() == bytes(MIB)
    (cached,) = shelf.cache.glob("*.raw")
    assert cached.stem == hashlib.sha256(CONTENT).hexdigest()


def test_a_checksum_that_it_calls_right_is_looked_at(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(monkeypatch, answered())
    source = Source(image="http://192.0.2.1/", checksum=checksum("md5:" + 32 * "0"))
    with pytest.raises(ConfigError, match="another checksum than was asked for: md5:"):
        shelf.provide(shelf.disk("a-root", source))
    assert (shelf.files(), shelf.left_over(), list(shelf.cache.glob("*.*"))) == ([], [], [])


def test_what_it_leaves_behind_writes_to_no_image(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process with the descriptor, which outlives it, could change what was looked at."""
    kept: list[int] = []
    lying(monkeypatch, answered(), kept=kept)
    monkeypatch.setattr(client, "ENDING", 0.1)
    image = raw(shelf.root / "image", bytes(MIB))
    with pytest.raises(HostLacks, match="has left another behind, which can write to the image"):
        shelf.provide(shelf.disk("a-root", Source(image=str(image))))
    os.close(kept[0])
    assert (shelf.files(), shelf.left_over(), list(shelf.cache.glob("*.*"))) == ([], [], [])


@pytest.mark.parametrize(
    ("does", "limit", "said"),
    [
        ("exec sleep 600", "SILENT", "has said nothing for"),
        ("while echo; do sleep 0.1; done", "WHOLE", "has been at work for"),
    ],
)
def test_it_keeps_nobody_waiting_for_ever(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, does: str, limit: str, said: str
) -> None:
    """Neither its VM nor the next one that wants the same image."""
    source = Source(image="http://192.0.2.1/")
    monkeypatch.setattr(client, "confined", lambda *_: ["sh", "-c", does])
    monkeypatch.setattr(client, limit, 1.0)
    with pytest.raises(Unreachable, match=f"source/image: .*the process that fetches {said}"):
        shelf.provide(shelf.disk("a-root", source))
    lying(monkeypatch, answered())
    assert shelf.provide(shelf.disk("b-root", source)).read_bytes() == CONTENT
    assert (shelf.files(), shelf.left_over()) == (["b-root.raw"], [])


def test_qemu_img_keeps_nobody_waiting_for_ever(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit of the CPU's time says nothing of one that sleeps."""
    lying(monkeypatch, answered())
    monkeypatch.setattr(qemu_img, "confined", lambda *_: ["sleep", "600"])
    monkeypatch.setattr(qemu_img, "LONGEST", 1.0)
    with pytest.raises(Unreachable, match=r"source/image: .*qemu-img has been at work for"):
        shelf.provide(shelf.disk("a-root", Source(image=str(raw(shelf.root / "image")))))
    assert shelf.files() == []


@pytest.mark.parametrize("url", [True, False])
def test_it_is_fenced_off_before_it_speaks_to_a_server(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, url: bool
) -> None:
    done: list[str] = []

    def starts(*_: object) -> None:
        done.append("errand")
        raise HostLacks("seen")

    monkeypatch.setattr(client, "Work", starts)
    image = "http://192.0.2.1/" if url else str(raw(shelf.root / "image"))
    disk = shelf.disk("a-root", Source(image=image))
    fence_off = partial(done.append, "fence")
    with pytest.raises(HostLacks, match="seen"):
        Volumes(shelf.cache, WHO, None, idle, ANYWHERE, fence_off).provide(disk)
    assert done == (["fence", "errand"] if url else ["errand"])


@pytest.mark.parametrize(
    "said",
    [
        "Traceback\x1b[2J", "[" * 60_000, "7", "{}", '{"answer":7}', '{"answer":{"missing":7}}',
        '{"progress":["\\u001b[2J",1,2]}', '{"progress":["fetching",-1,99]}', '{"progress":["fetching","a",{}]}', '{"progress":7}',
        '{"started":{"etag":7}}', '{"fault":{"kind":[],"message":7}}',
    ],
    ids=lambda said: repr(said[:20]),
)  # fmt: skip
def test_words_that_are_no_answer(
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str,
) -> None:
    lying(monkeypatch, said, said)
    with pytest.raises(HostLacks, match="the process that fetches has ended") as caught:
        shelf.provide(
            shelf.disk("a-root", Source(image=str(raw(shelf.root / "image", bytes(MIB)))))
        )
    assert len(caught.value.message) < 1000
    assert "\x1b" not in caught.value.message + capsys.readouterr().err
    assert shelf.files() == []


# -- URLs


class Server(ThreadingHTTPServer):
    """A file with ranges and a validator; `cut` breaks the next answers off after so many bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = content
        self.etag = '"1"'
        self.cut: list[int] = []
        self.asked: list[tuple[str, int]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/disk.raw"


class Answer(BaseHTTPRequestHandler):
    server: Server  # type: ignore[mutable-override]

    def do_GET(self) -> None:
        start = 0
        wanted = self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range") == self.server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        status = 206 if start else 200
        if self.headers.get("If-None-Match") == self.server.etag:
            status = 304
        self.server.asked.append((wanted, status))
        body = b"" if status == 304 else self.server.content[start:]
        self.send_response(status)
        self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(len(body)))
        if start:
            whole = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        self.wfile.write(body[: self.server.cut.pop(0)] if self.server.cut else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(CONTENT) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def of(server: Server, **more: object) -> Source:
    """Of the operator's own: a stranger's URL must not lead to this very host."""
    return replace(Source(image=server.url, trusted=True), **more)  # type: ignore[arg-type]


PROOF = Checksum(algorithm="sha256", digest=hashlib.sha256(CONTENT).hexdigest())


def test_a_url_is_fetched_once(shelf: Shelf, server: Server) -> None:
    for vm in "abc":
        path = shelf.provide(shelf.disk(f"{vm}-root", of(server, checksum=PROOF)))
        assert path.read_bytes() == CONTENT
    assert server.asked == [("", 200)]


def test_a_url_without_checksum_is_asked_again(shelf: Shelf, server: Server) -> None:
    for vm in "ab":
        shelf.provide(shelf.disk(f"{vm}-root", of(server)))
    server.content, server.etag = bytes(MIB) + b"new", '"2"'
    path = shelf.provide(shelf.disk("c-root", of(server)))
    assert path.read_bytes()[: MIB + 3] == server.content
    assert [status for _, status in server.asked] == [200, 304, 200]


def test_a_broken_download_goes_on_where_it_was(shelf: Shelf, server: Server) -> None:
    server.cut = [MIB, MIB]
    disk = shelf.disk("a-root", of(server, checksum=PROOF))
    for _ in range(2):
        with pytest.raises(
            Unreachable, match=r"disks/root/source/image: .*(too early|breaks off|cannot)"
        ):
            shelf.provide(disk)
        assert shelf.files() == []
        assert list(shelf.cache.glob("*.raw")) == []
    assert shelf.provide(disk).read_bytes() == CONTENT
    assert [status for _, status in server.asked] == [200, 206, 206]
    assert [asked for asked, _ in server.asked][1] == f"bytes={MIB}-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(shelf: Shelf, server: Server) -> None:
    server.cut = [MIB]
    with pytest.raises(Unreachable):
        shelf.provide(shelf.disk("a-root", of(server)))
    server.content, server.etag = bytes(2 * MIB) + b"new" + bytes(4093), '"2"'
    assert shelf.provide(shelf.disk("a-root", of(server))).read_bytes() == server.content
    assert [status for _, status in server.asked] == [200, 200]


def test_a_url_of_a_stranger_must_not_lead_here(shelf: Shelf, server: Server) -> None:
    with pytest.raises(ConfigError, match=r"leads to 127\.0\.0\.1, a loopback"):
        shelf.provide(shelf.disk("a-root", of(server, trusted=False, checksum=PROOF)))
    assert server.asked == []
    assert shelf.files() == []


def test_two_launchers_fetch_it_once(shelf: Shelf, server: Server) -> None:
    failures: list[HoldfastError] = []

    def run(vm: str) -> None:
        try:
            shelf.provide(shelf.disk(f"{vm}-root", of(server, checksum=PROOF)))
        except HoldfastError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=[vm]) for vm in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(shelf.files()) == 4
    assert server.asked == [("", 200)]


# -- chained over a volume of a directory, which lives on


def starting(path: Path, stack: contextlib.ExitStack) -> Callable[[], None]:
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio",
               "-drive", f"file={path},format=raw,if=virtio"]  # fmt: skip

    def start() -> None:
        qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.enter_context(qemu)
        stack.callback(qemu.kill)
        assert qemu.stdout
        assert b"QMP" in qemu.stdout.readline()

    return start


def once(step: Callable[[], object]) -> Callable[[], None]:
    """What happens while the work is under way."""
    steps = iter([step])

    def attend() -> None:
        next(steps, idle)()

    return attend


@pytest.mark.parametrize("was", ["raw", "qcow2"])
def test_a_volume_chained_over_another(shelf: Shelf, was: str) -> None:
    origin = (raw if was == "raw" else as_qcow2)(shelf.pool / f"a-root.{was}")
    origin.with_suffix(".plain").unlink(missing_ok=True)
    origin.chmod(0o600)
    before, content = origin.stat(), origin.read_bytes()
    source = Source(volume="a-root")
    disks = [shelf.disk("b-root", source, "qcow2", size=8 * MIB, chained=True),
             shelf.disk("c-root", source, "qcow2", chained=True)]  # fmt: skip
    paths = [shelf.provide(disk) for disk in disks]
    (parent,) = shelf.pool.glob("golden-*")
    assert parent.name == f"golden-{hashlib.sha256(content).hexdigest()}.qcow2"
    found = parent.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o400, 0, 0)
    assert [qcow2.parent(path) for path in paths] == [parent, parent]
    assert len(shelf.files()) == 4, "nothing is left of the copy"
    assert local.check(disks, Bounds(folders=())) == []
    after = origin.stat()
    assert (after.st_mode, after.st_uid, after.st_ino) == (
        before.st_mode,
        before.st_uid,
        before.st_ino,
    )
    # What its VM writes from now on is its own.
    raw(origin, b"anew")
    assert guest_sees(paths[0], "qcow2") == CONTENT + bytes(4 * MIB)
    assert guest_sees(paths[1], "qcow2") == CONTENT
    assert not golden.remove(shelf.pool, parent.name), "somebody sits on it"
    for path in paths:
        path.unlink()
    assert golden.remove(shelf.pool, parent.name)


def test_a_volume_chained_over_one_that_sits_on_a_parent(shelf: Shelf) -> None:
    raw(shelf.pool / "a-root.raw")
    first = shelf.provide(shelf.disk("b-root", Source(volume="a-root"), "qcow2", chained=True))
    subprocess.run(["qemu-io", "-c", "write -P 7 0 64k", first], check=True, capture_output=True)
    source = Source(volume="b-root")
    second = shelf.provide(shelf.disk("c-root", source, "qcow2", size=8 * MIB, chained=True))
    (parent,) = shelf.pool.glob("golden-*")
    assert qcow2.parent(second) == parent
    written = 64 * 1024
    assert guest_sees(second, "qcow2") == written * b"\7" + CONTENT[written:] + bytes(4 * MIB)
    parent.unlink()
    with pytest.raises(ConfigError, match=r"source/volume: .*not in the pool any more"):
        shelf.provide(shelf.disk("d-root", source, "qcow2", chained=True))


def elsewhere(path: Path) -> None:
    raw(path.with_name("other"))
    other = ["-b", "other", "-F", "raw"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *other, path], check=True)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a-root.qcow2", elsewhere, "source/volume: .*leads to another file"),
        ("a-root.qcow2", raw, "is not qcow2, which its name says"),
        ("a-root.raw", as_qcow2, "is not raw, which its name says"),
        ("a-root.raw", lambda path: raw(path, b""), "is empty"),
        ("a-root.raw", lambda path: raw(path, bytes(32 * MIB)), "is too small for"),
    ],
)
def test_volumes_that_become_no_parent(
    shelf: Shelf, name: str, make: Callable[[Path], object], said: str
) -> None:
    make(shelf.pool / name)
    before = shelf.files()
    disk = shelf.disk("b-root", Source(volume=name), "qcow2", size=8 * MIB, chained=True)
    with pytest.raises(ConfigError, match=said):
        shelf.provide(disk)
    assert shelf.files() == before


@pytest.mark.parametrize("late", [False, True])
def test_a_volume_in_use_becomes_no_parent(shelf: Shelf, late: bool) -> None:
    """Also where its VM starts while it is read."""
    path = raw(shelf.pool / "a-root.raw")
    disk = shelf.disk("b-root", Source(volume="a-root"), "qcow2", chained=True)
    with contextlib.ExitStack() as stack:
        start = starting(path, stack)
        if not late:
            start()
        attend = once(start) if late else idle
        with pytest.raises(LockHeld, match="is in use"):
            Volumes(shelf.cache, WHO, None, attend, ANYWHERE).provide(disk)
    assert shelf.files() == ["a-root.raw"]


def test_a_volume_that_is_written_to_while_it_is_read(shelf: Shelf) -> None:
    path = raw(shelf.pool / "a-root.raw")
    disk = shelf.disk("b-root", Source(volume="a-root"), "qcow2", chained=True)
    attend = once(lambda: raw(path, CONTENT[8:] + bytes(8)))
    with pytest.raises(LockHeld, match="was written to while it was read"):
        Volumes(shelf.cache, WHO, None, attend, ANYWHERE).provide(disk)
    assert shelf.files() == ["a-root.raw"]


def test_a_stop_while_a_volume_becomes_a_parent(shelf: Shelf) -> None:
    """In whatever moment it comes; what a killed launcher left goes with the next start."""

    class Stop(Exception):
        pass

    raw(shelf.pool / "a-root.raw")
    left = raw(shelf.pool / ".b-root.qcow2.copy.0badcafe.new")
    disk = shelf.disk("b-root", Source(volume="a-root"), "qcow2", chained=True)
    stops = 0
    while not shelf.made:
        attention = iter(range(stops))

        def attend(attention: Iterator[int] = attention) -> None:
            if next(attention, None) is None:
                raise Stop

        try:
            shelf.made.append(Volumes(shelf.cache, WHO, None, attend, ANYWHERE).provide(disk))
        except Stop:
            stops += 1
            assert set(shelf.files()) <= {"a-root.raw", left.name}
    assert stops > 3
    assert not left.exists()
    assert guest_sees(shelf.pool / "b-root.qcow2", "qcow2") == CONTENT


def test_a_volume_without_a_format_in_its_name(shelf: Shelf) -> None:
    raw(shelf.pool / "focal.img")
    with pytest.raises(ConfigError, match=r"source/volume: 'focal\.img': must have a name that"):
        shelf.provide(shelf.disk("b-root", Source(volume="focal.img")))


@pytest.mark.parametrize("odd", [4194406, 4194816])
def test_what_is_made_of_an_odd_image_is_whole(shelf: Shelf, odd: int) -> None:
    image = raw(shelf.root / "image", CONTENT + bytes(odd - len(CONTENT)))
    path = shelf.provide(shelf.disk("a-root", Source(image=str(image))))
    raw(shelf.pool / "b-root.raw", image.read_bytes())
    clone = shelf.provide(shelf.disk("c-root", Source(volume="b-root")))
    for made in (path, clone):
        assert made.stat().st_size == 4198400
        assert made.read_bytes()[:odd] == image.read_bytes()


def test_every_option_of_the_command_is_taken(shelf: Shelf) -> None:
    image = shelf.root / "plain.tar"
    image.write_bytes(tarred(CONTENT, "./disk.raw"))
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    fetched = image_command(
        shelf, "fetch", str(image), "--member", "disk.raw", "--checksum", f"sha256:{digest}"
    )
    assert [row["size"] for row in fetched] == [len(CONTENT)]
    assert [row["name"] for row in image_command(shelf, "ls")] == [fetched[0]["name"]]
    assert len(image_command(shelf, "prune", "--dry-run")) == 1
    assert len(image_command(shelf, "prune")) == 1
    assert image_command(shelf, "ls") == []
