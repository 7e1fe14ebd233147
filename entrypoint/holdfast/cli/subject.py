"""The VM a command speaks of, and its keys: from a file, or as they stand in etcd."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.config import settings
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass
from holdfast.errors import UsageError, reason

if TYPE_CHECKING:
    from holdfast.etcd.store import Store

Raw = Mapping[str, bytes]
# A host's /etc/holdfast, mounted into a container, would hide a file of the image there.
HOST_TOMLS = ("/etc/holdfast/host.toml", "/usr/lib/holdfast/host.toml")


@dataclass(frozen=True, kw_only=True)
class Subject:
    settings: Settings
    own: Raw
    defaults: Raw


def subject(vm: str | None, file: str | None, environ: Mapping[str, str]) -> Subject:
    """`file` stands in for etcd: of the variables, those of etcd and the lock are left aside."""
    known = dict(environ)
    if file:
        known = {name: value for name, value in known.items() if name != "LOCK"} | {
            "VM_FILE": file
        }
    if vm:
        known["VM"] = vm
        known.pop("INSTANCE", None)
    config = settings.parse(known, host_toml=host_toml(environ))
    if config.vm_file:
        return Subject(settings=config, own=from_file(config.vm_file), defaults={})
    if not config.endpoints:
        raise UsageError("no VM is named", hint="Name one, or give its keys with --file vm.yaml.")
    return from_etcd(config)


@contextmanager
def connected(vm: str | None, environ: Mapping[str, str]) -> "Iterator[tuple[Settings, Store]]":
    """The settings and the etcd of a VM; without one, those of the whole tree."""
    from holdfast.etcd.store import connect  # noqa: PLC0415 - for those who have an etcd

    # Only to reach the tree: no VM has this name.
    named = {"VM": vm or "any", "INSTANCE": "", "VM_FILE": "", "EXEC": ""}
    known = {name: value for name, value in environ.items() if name != "LOCK" or vm is None}
    config = settings.parse({**known, **named}, host_toml=host_toml(environ))
    with connect(config) as store:
        yield config, store


def host_toml(environ: Mapping[str, str]) -> str | None:
    """The one that is named; else the host's own; else the one that came with an image."""
    if named := environ.get("HOLDFAST_CONFIG"):
        return read(named, "HOLDFAST_CONFIG")
    found = next((path for path in HOST_TOMLS if Path(path).is_file()), None)
    return read(found, "host.toml") if found else None


def from_file(path: str) -> Raw:
    from holdfast.keys.vm_file import raw_from_file  # noqa: PLC0415 - for a VM without etcd

    return raw_from_file(read(path, "the file of keys"))


def read(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what}: {path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what}: {path}: is not UTF-8 text") from error


def from_etcd(config: Settings) -> Subject:
    from holdfast.etcd.store import connect  # noqa: PLC0415 - for those who have an etcd
    from holdfast.etcd.txn import Range  # noqa: PLC0415 - likewise
    from holdfast.ownership import legacy  # noqa: PLC0415 - likewise
    from holdfast.ownership.names import Names  # noqa: PLC0415 - likewise

    prefixes = (config.vm_prefix, config.defaults_prefix)
    names = Names.of(config.prefix, config.vm, config.lock)
    ranges = [Range(key=prefix, prefix=True) for prefix in prefixes]
    with connect(config) as store:
        seen = store.read(*ranges, Range(key=names.epoch), Range(key=names.pinned))
    own, defaults = (
        {
            key.removeprefix(prefix): item.value
            for key, item in seen.items.items()
            if key.startswith(prefix)
        }
        for prefix in prefixes
    )
    return Subject(settings=config, own=legacy.keys(own, seen, names), defaults=defaults)
