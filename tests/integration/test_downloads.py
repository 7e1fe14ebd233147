"""Files as people download them, by their shapes: each is taken with the content that a guest would see, or
refused with a reason. They are made here, small; the processes that read them are the real ones.
"""

import bz2
import gzip
import io
import lzma
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.machine import Format, Source
from holdfast.runtime.child import uid_map_end
from holdfast.runtime.confinement import identity
from holdfast.runtime.worker import idle
from holdfast.storage.image.cache import Cache
from holdfast.storage.pathname import ANYWHERE

pytestmark = pytest.mark.integration

MIB = 1024**2
WHO = identity("downloads", uid_map_end=uid_map_end(), kvm_gid=None)
SECTOR = b"\xeb\x63\x90\x00" + bytes(506) + b"\x55\xaa"  # of a boot loader
DISK = SECTOR + b"".join(struct.pack(">Q", n) for n in range(MIB // 8 - 64)) + bytes(2 * MIB)
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n" * 2000

Make = Callable[[Path], bytes]


def qcow2(folder: Path, *options: str, content: bytes = DISK, form: str = "qcow2") -> bytes:
    plain, made = folder / "plain", folder / "made"
    plain.write_bytes(content)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", form, *options, plain, made], check=True
    )
    return made.read_bytes()  # fmt: skip


def tarred(content: bytes, name: str, mode: str = "w", form: int = tarfile.GNU_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def sparse_tar(folder: Path) -> bytes:
    """As Google's `gcloud compute images export` makes it."""
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.write(DISK[:MIB])
        file.truncate(len(DISK))
    command = ["tar", "--format=oldgnu", "-Sczf", "-", "-C", str(folder), "disk.raw"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def zipped(content: bytes, name: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return written.getvalue()


def by_method(method: int, flags: int = 0) -> bytes:
    """A zip of Windows Explorer's (Deflate64), or with a password."""
    made = bytearray(zipped(DISK, "disk.raw"))
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = made.index(magic)
        struct.pack_into("<HH", made, at + place, flags, method)
    return bytes(made)


def zstd(content: bytes, *options: str) -> bytes:
    command = ["zstd", "-qc", *options]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def gpt() -> bytes:
    """No boot code: the first sector is zeros up to its one partition, of the type EE."""
    mbr = bytes(446) + b"\0\0\2\0\xee\xff\xff\xff" + struct.pack("<II", 1, 8191) + bytes(48)
    return mbr + b"\x55\xaa" + b"EFI PART\0\0\1\0" + bytes(500) + DISK


def backed(folder: Path) -> bytes:
    (folder / "base").write_bytes(DISK)
    made = folder / "thin"
    base = str(folder / "base")
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", str(made)]
    subprocess.run(command, check=True)
    return made.read_bytes()


def encrypted(folder: Path) -> bytes:
    made = folder / "locked"
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    command = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        options,
    ]
    subprocess.run([*command, made, "4M"], check=True)
    return made.read_bytes()


TAKEN: dict[str, tuple[Make, Format, str]] = {
    "cloudimg.qcow2, compressed": (lambda f: qcow2(f, "-c"), Format.qcow2, ""),
    "cloudimg.qcow2 of today": (lambda f: qcow2(f, "-o", "compression_type=zstd", "-c"), Format.qcow2, ""),
    "cloudimg.qcow2 of 2012": (lambda f: qcow2(f, "-o", "compat=0.10"), Format.qcow2, ""),
    "extended.qcow2": (lambda f: qcow2(f, "-o", "extended_l2=on"), Format.qcow2, ""),
    "whole.qcow2": (lambda f: qcow2(f, "-o", "preallocation=full"), Format.qcow2, ""),
    "metadata.qcow2": (lambda f: qcow2(f, "-o", "preallocation=metadata"), Format.qcow2, ""),
    "small-clusters.qcow2": (lambda f: qcow2(f, "-o", "cluster_size=512"), Format.qcow2, ""),
    "odd.qcow2": (lambda f: qcow2(f, content=DISK + SECTOR), Format.qcow2, ""),
    "empty.qcow2": (lambda f: qcow2(f, content=bytes(4 * MIB)), Format.qcow2, ""),
    "cloudimg.qcow2.xz": (lambda f: lzma.compress(qcow2(f)), Format.qcow2, ""),
    "disk.img.zst": (lambda f: zstd(DISK), Format.raw, ""),
    "disk.img.gz, two members": (
        lambda f: gzip.compress(DISK[:MIB]) + gzip.compress(DISK[MIB:]), Format.raw, "",
    ),
    "disk.img.bz2": (lambda f: bz2.compress(DISK), Format.raw, ""),
    "gce.tar.gz": (sparse_tar, Format.raw, "disk.raw"),
    "azure.vhd, fixed": (lambda f: DISK + b"conectix" + bytes(504), Format.raw, ""),
    "hybrid.iso": (
        lambda f: SECTOR + bytes(0x8000 - 512) + b"\1CD001\1" + bytes(2 * MIB), Format.raw, "",
    ),
    "pxe.img, 512 bytes odd": (lambda f: DISK + SECTOR, Format.raw, ""),
    "debian.tar.xz": (lambda f: tarred(DISK, "./disk.raw", "w:xz"), Format.raw, "disk.raw"),
    "gpt.img, protective MBR": (lambda f: gpt(), Format.raw, ""),
    "image.zip": (lambda f: zipped(DISK, "a/disk.raw"), Format.raw, "a/disk.raw"),
    "old.tar": (lambda f: tarred(DISK, "disk.raw", form=tarfile.USTAR_FORMAT), Format.raw, "disk.raw"),
}  # fmt: skip

REFUSED: dict[str, tuple[Make, str, str]] = {
    "page.qcow2": (lambda f: PAGE, "is text, and no disk", ""),
    "s3-error.img": (lambda f: b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "is text", ""),
    "lfs-pointer.img": (lambda f: b"version https://git-lfs.github.com/spec/v1\n", "is text", ""),
    "SHA256SUMS": (lambda f: b"0" * 64 + b"  debian.qcow2\n", "is text", ""),
    "utf-16.img": (lambda f: "﻿<html>".encode("utf-16"), "is text", ""),
    "cut.qcow2": (lambda f: qcow2(f)[:-65000], "is cut off: it has", ""),
    "cut-short.qcow2": (lambda f: qcow2(f)[:300000], "is cut off: it has", ""),
    "cut-by-one.qcow2": (lambda f: qcow2(f)[:-1], "is cut off: it has", ""),
    "cut-packed.qcow2": (lambda f: qcow2(f, "-c")[:100000], "is cut off: it has", ""),
    "cut-packed.qcow2.xz": (lambda f: lzma.compress(qcow2(f)[:-70000]), "is cut off: it has", ""),
    "cut.qcow2.xz": (lambda f: lzma.compress(qcow2(f))[:-20], "is damaged", ""),
    "vm.ova": (lambda f: tarred(b"<ovf/>", "vm.ovf"), "is a tar archive: name the image in it", ""),
    "vm.zip": (lambda f: zipped(DISK, "disk.raw"), "is a zip archive: name the image in it", ""),
    "vm.7z": (lambda f: b"7z\xbc\xaf\x27\x1c" + bytes(2 * MIB), "is a 7z archive, and no disk", ""),
    "vm.7z with a member": (lambda f: b"7z\xbc\xaf\x27\x1c" + bytes(999), "is a 7z archive: source/member", "a"),
    "disk.img with a member": (lambda f: DISK, "is no archive: source/member", "disk.raw"),
    "twice.img.gz.xz": (lambda f: lzma.compress(gzip.compress(DISK)), "is packed with gzip", ""),
    "disk.img.lz4": (lambda f: b"\x04\x22\x4d\x18" + bytes(2 * MIB), "is packed with lz4", ""),
    "firmware.deb": (lambda f: b"!<arch>\ndebian-binary   " + bytes(2 * MIB), "is a Debian package", ""),
    "disk.vmdk": (lambda f: qcow2(f, form="vmdk"), "is a vmdk image: convert it", ""),
    "stream.vmdk": (lambda f: qcow2(f, "-o", "subformat=streamOptimized", form="vmdk"), "is a vmdk image", ""),
    "flat.vmdk": (lambda f: b"# Disk DescriptorFile\nversion=1\nRW 8 FLAT 'a-flat.vmdk'\n", "is a vmdk image", ""),
    "disk.vdi": (lambda f: qcow2(f, form="vdi"), "is a vdi image", ""),
    "disk.vhdx": (lambda f: qcow2(f, form="vhdx"), "is a vhdx image", ""),
    "disk.vhd, dynamic": (lambda f: qcow2(f, form="vpc"), "is a vpc image", ""),
    "disk.qed": (lambda f: qcow2(f, form="qed"), "is a qed image", ""),
    "thin.qcow2": (backed, "leads to another file: flatten it", ""),
    "apart.qcow2": (
        lambda f: qcow2(f, "-o", f"data_file={f}/data,data_file_raw=on"), "leads to another file", "",
    ),
    "locked.qcow2": (encrypted, "is encrypted, which is not supported", ""),
    "appliance.ova": (
        lambda f: tarred(qcow2(f, form="vmdk"), "disk1.vmdk"), "is a vmdk image: convert it", "disk1.vmdk",
    ),
    "parallels.hds": (lambda f: qcow2(f, form="parallels"), "is a parallels image", ""),
    "nothing.img": (lambda f: b"", "is empty", ""),
    "one-sector.img": (lambda f: SECTOR, "has 512 bytes, too few for a system", ""),
    "explorer.zip": (lambda f: by_method(9), "method Deflate64, which is not supported", "disk.raw"),
    "secret.zip": (lambda f: by_method(8, flags=1), "behind a password", "disk.raw"),
    "unheard-of.zip": (lambda f: by_method(77), "zip's method 77", "disk.raw"),
    "patched.zip": (lambda f: by_method(8, flags=0x20), "is damaged", "disk.raw"),
    "long.img.zst": (lambda f: zstd(DISK, "--long=31", "--ultra", "-22"), "without --long", ""),
}  # fmt: skip


def image(
    folder: Path, make: Make, member: str, form: Format | None = None
) -> tuple[Format, Path]:
    source = folder / "download"
    source.write_bytes(make(folder))
    cache = Cache(folder / "cache", WHO, idle, ANYWHERE)
    wanted = Source(image=str(source), member=member, format=form)
    found = cache.image(wanted, key="disks/root/source/image", limit=64 * MIB)
    return found.format, cache.path(found)


@pytest.mark.parametrize("case", TAKEN)
def test_what_people_download(case: str, tmp_path: Path) -> None:
    make, form, member = TAKEN[case]
    found, path = image(tmp_path, make, member)
    assert found is form
    plain = tmp_path / "seen"
    subprocess.run(["qemu-img", "convert", "-f", form.value, "-O", "raw", path, plain], check=True)
    own = {"empty.qcow2": bytes(4 * MIB), "gpt.img, protective MBR": gpt()}
    expected = own.get(case) or (make(tmp_path) if case == "hybrid.iso" else DISK)
    assert plain.read_bytes()[: len(expected)] == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_people_did_not_mean_to_download(case: str, tmp_path: Path) -> None:
    make, said, member = REFUSED[case]
    if case == "long.img.zst":
        big = tmp_path / "big"
        with big.open("wb") as file:
            file.truncate(600 * MIB)
        made = subprocess.run(["zstd", "-qc1", "--long=31", big], check=True, capture_output=True)
        make = lambda _: made.stdout  # noqa: E731
    with pytest.raises(ConfigError, match=r"^disks/root/source/image: '/.*': ") as caught:
        image(tmp_path, make, member)
    assert said in caught.value.message
    partial = tmp_path / "cache" / "partial"
    assert [path for path in partial.iterdir() if path.suffix != ".lock"] == []


def test_who_means_it_may_say_so(tmp_path: Path) -> None:
    found, path = image(tmp_path, lambda _: PAGE, "", Format.raw)
    assert (found, path.read_bytes()) == (Format.raw, PAGE)


def test_a_hostile_table_is_read_once(tmp_path: Path) -> None:
    """Each entry of the first table leads to the same second one, and that to the end of all numbers."""
    head = bytearray(qcow2(tmp_path))
    entries = 4 * MIB
    struct.pack_into(">IQ", head, 36, entries, len(head))
    table = struct.pack(">Q", 0x20000) * entries
    with pytest.raises(ConfigError, match=r"cannot be read as an image|cut off|damaged"):
        image(tmp_path, lambda _: bytes(head) + table, "")
