"""Files of the user's own as disks: judged by the rule that sources are judged by, grown, and fit for their storage."""

import fcntl
import os
import struct
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from describing import faults, machine

from holdfast.cli.image import Parent
from holdfast.config import settings
from holdfast.errors import LockHeld
from holdfast.machine import Cache, Disk, Format, LocalPath, Volume, aligned
from holdfast.policy.pool import DirectoryPool
from holdfast.storage import directory, image_head, local, qcow2, sectors
from holdfast.storage.image import golden
from holdfast.storage.pathname import ANYWHERE

MIB = 1024**2
SECTOR = b"\xeb\x63\x90\x00" + bytes(506) + b"\x55\xaa"

DISKS = {
    "a boot loader": SECTOR,
    "zeros": bytes(4096),
    "a hybrid ISO": SECTOR + bytes(3584),
    "an Azure VHD": SECTOR + bytes(3584) + b"conectix",
    "LUKS of the guest's": b"LUKS\xba\xbe\0\2" + bytes(4088),
    "XFS": b"XFSB\0\0\x10\0" + bytes(4088),
    "LVM": bytes(512) + b"LABELONE" + bytes(3576),
    "noise": bytes(range(256)) * 16,
    "squashfs": b"hsqs" + bytes(4092),
}
NO_DISKS = {
    "page.img": (b"<!DOCTYPE html>" + b" " * 600, "is text, and no disk: it begins with '<!DOCTYPE html>"),
    "error.xml": (b"\xef\xbb\xbf<?xml version='1.0'?>", "is text"),
    "latin-1": ("<html>Zugriff verweigert für Sie".encode("latin-1"), "is text"),
    "x.vmdk": (b"KDMV" + bytes(508), "is a vmdk image: convert it to qcow2 or raw"),
    "flat.vmdk": (b"# Disk DescriptorFile\nversion=1\n", "is a vmdk image"),
    "x.vdi": (b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe" + bytes(99), "is a vdi image"),
    "x.vhdx": (b"vhdxfile" + bytes(504), "is a vhdx image"),
    "x.vhd": (b"conectix" + bytes(504), "is a vpc image"),
    "x.qed": (b"QED\0" + bytes(508), "is a qed image"),
    "x.hdd": (b"WithouFreSpacExt" + bytes(508), "is a parallels image"),
    "x.img.xz": (b"\xfd7zXZ\0" + bytes(508), "is packed with xz"),
    "x.img.gz": (b"\x1f\x8b\x08" + bytes(508), "is packed with gzip"),
    "x.img.zst": (b"\x28\xb5\x2f\xfd" + bytes(508), "is packed with zstd"),
    "x.img.bz2": (b"BZh91AY" + bytes(508), "is packed with bzip2"),
    "x.zip": (b"PK\3\4" + bytes(508), "is a zip archive"),
    "x.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(508), "is a 7z archive"),
    "x.rar": (b"Rar!\x1a\7" + bytes(508), "is a rar archive"),
    "x.ova": (b"vm.ovf".ljust(257, b"\0") + b"ustar\0" + bytes(249), "is a tar archive"),
    "x.deb": (b"!<arch>\n" + bytes(508), "is a Debian package"),
    "x.rpm": (b"\xed\xab\xee\xdb" + bytes(508), "is an RPM package"),
    "qemu": (b"\x7fELF" + bytes(508), "is a program"),
}  # fmt: skip


def disk(path: Path, **more: object) -> Disk:
    made = Disk(name="root", backend=LocalPath(path=str(path)))
    return replace(made, **more)  # type: ignore[arg-type]


def rules(one: Disk) -> list[str]:
    return [fault.rule for fault in local.check([one], ANYWHERE)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"


@pytest.mark.parametrize("name", DISKS)
def test_what_may_be_a_disk(name: str, file: Path) -> None:
    file.write_bytes(DISKS[name])
    assert image_head.unfit(DISKS[name]) == ""
    assert rules(disk(file, cache=Cache.writeback)) == []


@pytest.mark.parametrize("name", NO_DISKS)
def test_what_is_no_disk(name: str, file: Path) -> None:
    head, said = NO_DISKS[name]
    file.write_bytes(head)
    assert said in image_head.unfit(head)
    (rule,) = rules(disk(file, cache=Cache.writeback))
    assert said in rule
    assert "set disks/root/format to raw" in rule
    assert rules(disk(file, cache=Cache.writeback, format_named=True)) == []


def test_an_encrypted_image_is_told_before_qemu_asks_for_its_key(file: Path) -> None:
    """By the header's words (docs/interop/qcow2): magic, version, no backing file, 64 KiB clusters, size, LUKS."""
    file.write_bytes(struct.pack(">4sIQIIQI", b"QFI\xfb", 3, 0, 0, 16, MIB, 2).ljust(4096, b"\0"))
    (rule,) = rules(disk(file, cache=Cache.writeback, format=Format.qcow2))
    assert "encrypted" in rule


def test_only_files_of_the_users_own_are_judged_so(tmp_path: Path) -> None:
    """A guest may write what it likes onto its volume, and must find it again."""
    (tmp_path / "7-root.raw").write_bytes(b"<html>" * 1000)
    volume = Volume(pool="default", directory=str(tmp_path), name="7-root.raw")
    assert rules(Disk(name="root", backend=volume)) == []


def test_the_keys_say_whether_the_format_was_named() -> None:
    keys = {"disks/root/path": "/images/a"}
    assert not machine(keys).disks[0].format_named
    assert machine({**keys, "disks/root/format": "raw"}).disks[0].format_named


# -- size


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 20_000_002_048), ("20MB", 20_000_768), ("1G", 1024**3), ("1000001k", 1_024_004_096)]
)  # fmt: skip
def test_a_size_is_rounded_up_to_whole_sectors(text: str, size: int) -> None:
    keys = {"disks/root/pool": "default", "disks/root/size": text}
    assert machine(keys).disks[0].size == size == aligned(size)


def test_a_file_grows_to_its_size_and_never_shrinks(file: Path) -> None:
    file.write_bytes(SECTOR)
    assert directory.provide(disk(file), ANYWHERE) == ""
    assert directory.provide(disk(file, size=4 * MIB), ANYWHERE) == "grown"
    assert file.read_bytes() == SECTOR + bytes(4 * MIB - 512)
    assert directory.provide(disk(file, size=2 * MIB), ANYWHERE) == ""
    assert file.stat().st_size == 4 * MIB


def test_a_file_that_a_qemu_has_open_does_not_grow(file: Path) -> None:
    """Another tree's VM may have been quicker since it was looked at. Of qcow2: tests/processes/test_pool_modes.py."""
    file.write_bytes(SECTOR)
    with file.open("rb") as qemus:
        shared = local.FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, local.FIRST_LOCK, 1, 0)
        fcntl.fcntl(qemus.fileno(), fcntl.F_OFD_SETLK, shared)
        with pytest.raises(LockHeld, match="another QEMU holds its lock"):
            directory.provide(disk(file, size=4 * MIB), ANYWHERE)
        assert file.read_bytes() == SECTOR
    assert directory.provide(disk(file, size=4 * MIB), ANYWHERE) == "grown"


def test_an_empty_file_needs_a_size(file: Path) -> None:
    file.touch()
    (rule,) = rules(disk(file))
    assert rule == "is empty: a disk of no size cannot boot; disks/root/size gives it one"
    assert rules(disk(file, size=MIB)) == []
    assert directory.provide(disk(file, size=MIB), ANYWHERE) == "grown"
    assert file.stat().st_size == MIB
    file.write_bytes(b"")
    (rule,) = rules(disk(file, size=MIB, format=Format.qcow2))
    assert "`qemu-img create -f qcow2" in rule


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "cdrom"}, "size: what is read-only, or a lun, is not grown"),
        ({"read_only": "on"}, "size: what is read-only, or a lun, is not grown"),
        ({"kind": "lun"}, "size: what is read-only, or a lun, is not grown"),
    ],
)
def test_a_size_that_does_not_apply_is_refused(more: dict[str, str], said: str) -> None:
    keys = {"disks/a/path": "/images/a", "disks/a/size": "1G"}
    found = faults({**keys, **{f"disks/a/{name}": value for name, value in more.items()}})
    assert [line for line in found if said in line]


@pytest.mark.parametrize("odd", [20_000_000_000, 4194406, 4194816])
def test_a_volume_of_an_older_version_is_made_whole(odd: int, tmp_path: Path) -> None:
    path = tmp_path / "7-root.raw"
    with path.open("wb") as made:
        made.truncate(odd)
    volume = Disk(name="root", backend=Volume(pool="a", directory=str(tmp_path), name=path.name))
    assert directory.provide(replace(volume, read_only=True), ANYWHERE) == ""
    assert directory.provide(volume, ANYWHERE) == "grown"
    assert path.stat().st_size == aligned(odd)
    assert directory.provide(volume, ANYWHERE) == ""


# -- sectors of 4096 bytes


def sector(size: int) -> Callable[[str], int]:
    return lambda _: size


def test_a_file_that_ends_within_a_sector(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(SECTOR + bytes(4194406 - 512))
    monkeypatch.setattr(sectors, "sector_of", sector(4096))
    (rule,) = rules(disk(file))
    assert "has 4194406 bytes, and its storage has sectors of 4096" in rule
    assert f"truncate --size 4198400 {file}, or set disks/root/cache to writeback" in rule
    for fit in (
        disk(file, cache=Cache.writeback),
        disk(file, read_only=True),
        disk(file, size=8 * MIB),
    ):
        assert rules(fit) == []
    assert rules(disk(file, size=MIB)) == [rule], "it does not shrink"
    file.write_bytes(SECTOR + bytes(4194816 - 512))
    monkeypatch.setattr(sectors, "sector_of", sector(512))
    assert rules(disk(file)) == []
    file.write_bytes(SECTOR + bytes(4194406 - 512))
    assert rules(disk(file)) == [], "QEMU takes it, and rounds up"


def test_the_sector_is_found_as_qemu_finds_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(bytes(8192))
    assert sectors.sector_of(str(file)) in sectors.SECTORS
    real = os.preadv

    def strict(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if len(buffers[0]) % 4096:
            raise OSError(22, "Invalid argument")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "O_DIRECT", 0)
    monkeypatch.setattr(os, "preadv", strict)
    assert sectors.sector_of(str(file)) == 4096


# -- headers that a guest has written


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1, 1 << 62, 4096, 0])
def test_a_header_whose_numbers_lead_nowhere(offset: int, tmp_path: Path) -> None:
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", 3, offset, 2**32 - 1, 16, 1 << 20, 0)
    path = tmp_path / "7-root.qcow2"
    path.write_bytes(head + bytes(4096 - len(head)))
    found = qcow2.header(path)
    assert found is not None
    assert found.backing == ("?" if offset else "")
    assert golden.found(tmp_path) == []


def test_a_parent_that_a_qemu_reads_stays(tmp_path: Path) -> None:
    """Its volume's file was removed, or moved, under a VM that runs on."""
    parent = tmp_path / f"golden-{'0' * 64}.qcow2"
    parent.write_bytes(bytes(4096))
    with parent.open("rb") as qemus:
        shared = local.FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, local.FIRST_LOCK, 1, 0)
        fcntl.fcntl(qemus.fileno(), fcntl.F_OFD_SETLK, shared)
        assert not pruned(tmp_path, parent.name, dry_run=True)
        assert not pruned(tmp_path, parent.name, dry_run=False)
        assert parent.exists()
    assert pruned(tmp_path, parent.name, dry_run=True)
    assert pruned(tmp_path, parent.name, dry_run=False)
    assert not parent.exists()


def pruned(pool: Path, name: str, *, dry_run: bool) -> bool:
    parent = Parent(DirectoryPool(name="p", path=str(pool)), name, settings.parse({"VM": "7"}))
    return parent(Namespace(dry_run=dry_run))


def test_a_raw_disk_is_nobodys_child(tmp_path: Path) -> None:
    name = f"golden-{'0' * 64}.qcow2"
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", 3, 512, len(name), 16, 1 << 20, 0)
    for path in ("7-root.raw", "7-root.qcow2", name):
        (tmp_path / path).write_bytes(head.ljust(512, b"\0") + name.encode())
    (parent,) = golden.found(tmp_path)
    assert parent.children == ("7-root.qcow2", name)
