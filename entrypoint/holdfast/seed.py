"""The seed: cloud-init's user-data, read from where it stands, and the NoCloud image.

pycdlib, yaml and http.client stay in memory once imported, some 12 MiB: a caller that lives as
long as the VM does this work in a child.
"""

import os
import stat
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from holdfast.cloudinit import KEY, Documents
from holdfast.errors import ConfigError, Fault, InternalError
from holdfast.machine import UserData

LIMIT = 1024**2
GZIP = b"\x1f\x8b"


def user_data(source: UserData | None) -> str:
    """The text; "" where there is none. The path is one that was found allowed."""
    if source is None:
        return ""
    if source.url:
        from holdfast import fetch, url  # noqa: PLC0415 - 20 ms and 6 MiB that only a URL needs

        raw = fetch.get(source.url, key=KEY, trusted=source.trusted, limit=LIMIT)
        return _text(raw, url.shown(source.url))
    return _text(_read(source.path), source.path) if source.path else source.inline


def image(documents: Documents) -> bytes:
    """An ISO by the name that NoCloud looks for. It holds the time: no two are the same."""
    from pycdlib import PyCdlib  # noqa: PLC0415 - 20 ms that a VM without a seed need not pay

    iso = PyCdlib()
    iso.new(interchange_level=3, vol_ident="cidata", joliet=3, rock_ridge="1.09")
    for name, text in _files(documents).items():
        content = text.encode()
        iso.add_fp(
            BytesIO(content),
            len(content),
            iso_path=f"/{name.upper().replace('-', '_')}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
            file_mode=stat.S_IFREG | 0o400,
        )
    written = BytesIO()
    iso.write_fp(written)
    iso.close()
    return written.getvalue()


def write(image: bytes, path: Path) -> None:
    """Whole or not at all, and for the owner's eyes only: user-data may hold passwords."""
    half = path.with_name(f".{path.name}.new")
    try:
        half.unlink(missing_ok=True)  # of a launcher that was killed here
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(image)
        half.replace(path)
    except OSError as error:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        message = f"the seed {path} cannot be written: {error.strerror}"
        raise InternalError(message, hint=f"is there room in {path.parent}?") from error


def _files(documents: Documents) -> dict[str, str]:
    files = {
        "meta-data": documents.meta_data,
        "user-data": documents.user_data,
        "network-config": documents.network_config,
    }
    return {name: text for name, text in files.items() if text}


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _fault(path, "is not a regular file")
            return file.read(LIMIT + 1)
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror}") from error


def _at_once(path: str, flags: int) -> int:
    # The open of a FIFO would wait for its writer for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _text(raw: bytes, named: str) -> str:
    """Text in gzip is unpacked, as cloud-init would do, but under our limit."""
    plain = _unpacked(raw, named) if raw.startswith(GZIP) else raw
    if max(len(raw), len(plain)) > LIMIT:
        raise _fault(named, f"is larger than {LIMIT} bytes")
    try:
        return plain.decode()
    except UnicodeDecodeError as error:
        raise _fault(named, "is not UTF-8 text") from error


def _unpacked(raw: bytes, named: str) -> bytes:
    import gzip  # noqa: PLC0415 - hardly ever needed
    import zlib  # noqa: PLC0415

    try:
        return gzip.GzipFile(fileobj=BytesIO(raw)).read(LIMIT + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise _fault(named, "is damaged gzip, or larger than the limit") from error


def _fault(value: str, rule: str) -> ConfigError:
    return ConfigError([Fault(key=KEY, value=value, rule=rule)])
