"""The files that an operator writes: host.toml, and a VM's keys where there is no etcd."""

from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import UsageError, reason

# A host's /etc/holdfast, mounted into a container, would hide a file of the image there.
HOST_TOMLS = ("/etc/holdfast/host.toml", "/usr/lib/holdfast/host.toml")


def host_toml(environ: Mapping[str, str]) -> str | None:
    """Read the one that is named; else the host's own; else the one that came with an image."""
    if named := environ.get("HOLDFAST_CONFIG"):
        return read(named, "HOLDFAST_CONFIG")
    found = next((path for path in HOST_TOMLS if Path(path).is_file()), None)
    return read(found, "host.toml") if found else None


def vm_file(path: str) -> Mapping[str, bytes]:
    """Read a VM's keys."""
    from holdfast.keys.vm_file import raw_from_file  # noqa: PLC0415 - for a VM without etcd

    return raw_from_file(read(path, "the file of keys"))


def read(path: str, what: str) -> str:
    """Read a text. Raises UsageError, which says `what` the file would have been."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what}: {path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what}: {path}: is not UTF-8 text") from error
