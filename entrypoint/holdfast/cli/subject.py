"""The VM a command speaks of, and its keys: from a file, or as they stand in etcd."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.config import settings
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass
from holdfast.errors import UsageError
from holdfast.system.config_file import host_toml, vm_file

if TYPE_CHECKING:
    from holdfast.etcd.store import Store

Raw = Mapping[str, bytes]


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
        return Subject(settings=config, own=vm_file(config.vm_file), defaults={})
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


def from_etcd(config: Settings) -> Subject:
    from holdfast.etcd.store import connect  # noqa: PLC0415 - for those who have an etcd
    from holdfast.etcd.txn import Range  # noqa: PLC0415 - likewise
    from holdfast.launcher.eligibility import Look  # noqa: PLC0415 - likewise
    from holdfast.ownership.names import Names  # noqa: PLC0415 - likewise

    prefixes = (config.vm_prefix, config.defaults_prefix)
    names = Names.of(config.prefix, config.vm, config.lock)
    ranges = [Range(key=prefix, prefix=True) for prefix in prefixes]
    with connect(config) as store:
        seen = store.read(*ranges, Range(key=names.epoch), Range(key=names.pinned))
    look = Look.of(seen, config, names)
    return Subject(settings=config, own=look.own, defaults=look.defaults)
