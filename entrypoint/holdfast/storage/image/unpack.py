"""What was published, unpacked: out of gz, xz, bz2 and zst, and out of a tar or zip archive.

All of it may be hostile, and is read in a process without rights. Nothing of an archive becomes a
name on this host: one member's bytes go into one descriptor.
"""

import bz2
import gzip
import hashlib
import lzma
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from holdfast.errors import ConfigError
from holdfast.storage import image_head

CHUNK = 1024**2
MAGIC = {
    b"\x1f\x8b": "gz",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zst",
}
ZIP = b"PK\x03\x04"
MOST_MEMBERS = 100_000
ENCRYPTED, DEFLATE64 = 1, 9
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What Python's modules say of archives that others have damaged on purpose is of many kinds.
DAMAGED = (
    *(OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError, zipfile.BadZipFile),
    *(NotImplementedError, RuntimeError, ValueError, ArithmeticError, LookupError, struct.error),
)


def digest(descriptor: int, algorithm: str, progress: Callable[[int], None]) -> str:
    # md5 is what some still publish; the key says so.
    found = hashlib.new(algorithm, usedforsecurity=False)
    with _reading(descriptor) as file:
        while data := file.read(CHUNK):
            found.update(data)
            progress(file.tell())
    return found.hexdigest()


def unpack(
    source: int, target: int, member: str, limit: int, progress: Callable[[int], None]
) -> None:
    """Write the image into `target`, which is empty; `limit` is in bytes. Raises ConfigError."""
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(_plain(source))
            if member:
                stream = stack.enter_context(_member(stream, member))
            _copy(stream, target, limit, progress)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ConfigError(f"cannot be unpacked: {error.strerror}") from error
        raise ConfigError("is damaged: it cannot be unpacked") from error
    except MemoryError as error:
        rule = "needs more than 1 GiB to be unpacked: pack it with a smaller dictionary (xz -9)"
        raise ConfigError(rule) from error


@contextmanager
def _reading(descriptor: int) -> Iterator[IO[bytes]]:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        yield file


@contextmanager
def _plain(descriptor: int) -> Iterator[Any]:
    with _reading(descriptor) as file:
        head = file.read(8)
        file.seek(0)
        kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")
        stream: Any
        match kind:
            case "gz":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream
            case "bz2":
                with bz2.BZ2File(file) as stream:
                    yield stream
            case "xz":
                with lzma.LZMAFile(file) as stream:
                    yield stream
            case "zst":
                with _zstd(file) as stream:
                    yield stream
            case _:
                yield file


@contextmanager
def _zstd(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Python has it from 3.14 on. The program has no more rights than we have."""
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # where Python's own buffer is, it cannot know
    command = ["zstd", "-dcq", "--memory=256MB"]
    with subprocess.Popen(
        command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout  # noqa: S101 - a pipe was asked for
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            raise
        if process.stdout.read(1):
            process.kill()  # nobody wants the rest
        elif process.wait():
            assert process.stderr  # noqa: S101 - likewise
            said = process.stderr.read(1000).lower()
            if b"memory" in said or b"window" in said:
                raise ConfigError("needs more than 256 MiB to be unpacked: pack it without --long")
            raise ConfigError("is damaged: zstd cannot unpack it")


@contextmanager
def _member(stream: Any, name: str) -> Iterator[Any]:
    head = _peek(stream)
    if head.startswith(ZIP):
        with zipfile.ZipFile(stream) as archive, archive.open(_of_zip(archive, name)) as file:
            yield file
        return
    with _tar(stream, head) as table:
        for number, entry in enumerate(table):
            if number > MOST_MEMBERS:
                raise ConfigError(f"has more than {MOST_MEMBERS} members")
            if entry.name.removeprefix("./") == name:
                if not entry.isreg():
                    raise ConfigError(f"its member {name} is no file")
                yield table.extractfile(entry)
                return
    raise ConfigError(f"has no member {name}")


def _tar(stream: Any, head: bytes) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r:" if stream.seekable() else "r|")
    except tarfile.ReadError as error:
        kind = image_head.archive(head)
        if kind == "tar":
            raise
        found = f"is a {kind} archive" if kind else "is no archive"
        rule = f"{found}: source/member names a file in a tar or zip archive"
        raise ConfigError(rule) from error


def _of_zip(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    for entry in archive.infolist()[:MOST_MEMBERS]:
        if entry.filename.removeprefix("./") == name and not entry.is_dir():
            _refuse_method(entry)
            return entry
    raise ConfigError(f"has no member {name}")


def _refuse_method(entry: zipfile.ZipInfo) -> None:
    if entry.flag_bits & ENCRYPTED:
        raise ConfigError("has its member behind a password: pack it again without")
    if entry.compress_type not in METHODS:
        kind = "Deflate64" if entry.compress_type == DEFLATE64 else str(entry.compress_type)
        rule = f"has its member packed by zip's method {kind}, which is not supported"
        raise ConfigError(rule, hint="pack it again, as .zip with Deflate, as .xz or .zst")


def _peek(stream: Any) -> bytes:
    if not stream.seekable():
        return b""
    head = bytes(stream.read(512))
    stream.seek(0)
    return head


def _copy(stream: Any, target: int, limit: int, progress: Callable[[int], None]) -> None:
    """Zeros become holes: a bomb of them takes no room."""
    size = 0
    while data := stream.read(CHUNK):
        if size == 0:
            _refuse_archive(data)
        if size + len(data) > limit:
            raise ConfigError(f"is larger than {limit} bytes once it is unpacked")
        if data.strip(b"\0"):
            os.pwrite(target, data, size)
        size += len(data)
        progress(size)
    os.ftruncate(target, size)


def _refuse_archive(head: bytes) -> None:
    if (kind := image_head.archive(head)) in ("tar", "zip"):
        raise ConfigError(f"is a {kind} archive: name the image in it with source/member")
