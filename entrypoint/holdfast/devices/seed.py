"""The seed: cloud-init's user-data, read from where it stands, and the NoCloud image.

pycdlib, yaml and http.client stay in memory once imported, some 12 MiB: a caller that lives as
long as the VM does this work in a child.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from holdfast.cloudinit import document, nocloud, user_data
from holdfast.cloudinit.nocloud import Documents
from holdfast.config.settings import Settings
from holdfast.dataclass import replace
from holdfast.errors import ConfigError, Fault, InternalError
from holdfast.grammar import Refused
from holdfast.machine import Document, Machine
from holdfast.storage import local, pathname
from holdfast.storage.pathname import ANYWHERE, Bounds

T = TypeVar("T")

LIMIT = 1024**2
GZIP = b"\x1f\x8b"


def documents(machine: Machine, settings: Settings) -> Documents:
    guest = machine.guest
    own = "cloud-config" in settings.overrides  # CLOUD_CONFIG
    text = _document(guest.user_data, settings, own=own)
    if text.strip() and guest.user_data and not guest.user_data.inline:
        _judged(guest.user_data, text, user_data.judge)
    network = _document(guest.network_config, settings)
    if network:
        _judged(guest.network_config, network, document.mapping)
    meta_data = _document(guest.meta_data, settings)
    return nocloud.documents(
        machine,
        text,
        meta_data=_judged(guest.meta_data, meta_data, document.mapping) if meta_data else {},
        network_config=network,
    )


def _document(source: Document | None, settings: Settings, *, own: bool = False) -> str:
    """A URL from etcd must not reach this host's own services; the operator's own may."""
    if source is None:
        return ""
    config = settings.host_config
    trusted, reach = own or bool(settings.vm_file), config.network.reach
    bounds = ANYWHERE if own else pathname.of_files(config, settings.vm)
    return text(replace(source, trusted=trusted, reach=reach), bounds)


def _judged(source: Document | None, text: str, judge: Callable[[str], T]) -> T:
    """What its own key names: it stands somewhere else than the text does."""
    try:
        return judge(text)
    except Refused as refused:
        assert source  # noqa: S101 - it has a text
        fault = Fault(key=source.key, value=place(source), rule=refused.rule)
        raise ConfigError([fault]) from refused


class _Unfit(Exception):
    pass


def text(source: Document, bounds: Bounds) -> str:
    """Read the text; a path may lead anywhere within the bounds. Raises ConfigError."""
    if source.inline:
        return source.inline
    try:
        return _text(_fetched(source) if source.url else _read(source, bounds))
    except _Unfit as unfit:
        fault = Fault(key=source.key, value=place(source), rule=str(unfit))
        raise ConfigError([fault]) from unfit


def place(source: Document) -> str | None:
    """Name it as it may be shown; None for a text in the key, which may not."""
    from holdfast.grammar import url  # noqa: PLC0415 - for what is not in the key itself

    return url.shown(source.url) if source.url else source.path or None


def _fetched(source: Document) -> bytes:
    from holdfast.config import proxy  # noqa: PLC0415 - 20 ms and 6 MiB that only a URL needs
    from holdfast.fetch import http_get  # noqa: PLC0415 - 20 ms and 6 MiB that only a URL needs

    proxies = proxy.variables(os.environ)
    return http_get.get(
        source.url,
        key=source.key,
        trusted=source.trusted,
        limit=LIMIT,
        proxies=proxies,
        reach=source.reach,
    )


def image(documents: Documents) -> bytes:
    """Make an ISO by the name that NoCloud looks for. It holds the time: no two are the same."""
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
    """Write it whole or not at all, for the owner only: it may hold passwords. Raises
    InternalError.
    """
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
        "vendor-data": documents.vendor_data,
        "network-config": documents.network_config,
    }
    return {name: text for name, text in files.items() if text}


def _read(source: Document, bounds: Bounds) -> bytes:
    try:
        with (
            local.reading(source.key, source.path, bounds) as descriptor,
            os.fdopen(descriptor, "rb", closefd=False) as file,
        ):
            return file.read(LIMIT + 1)
    except OSError as error:
        raise _Unfit(f"cannot be read: {error.strerror}") from error


def _text(raw: bytes) -> str:
    """Text in gzip is unpacked, as cloud-init would do, but under our limit."""
    plain = _unpacked(raw) if raw.startswith(GZIP) else raw
    if max(len(raw), len(plain)) > LIMIT:
        raise _Unfit(f"is larger than {LIMIT} bytes")
    try:
        return plain.decode()
    except UnicodeDecodeError as error:
        raise _Unfit("is not UTF-8 text") from error


def _unpacked(raw: bytes) -> bytes:
    import gzip  # noqa: PLC0415 - hardly ever needed
    import zlib  # noqa: PLC0415 - likewise

    try:
        return gzip.GzipFile(fileobj=BytesIO(raw)).read(LIMIT + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise _Unfit("is damaged gzip, or larger than the limit") from error
