"""host.toml: what the operator of a host allows the VMs' keys to reach. Its values are trusted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast import identifier
from holdfast.errors import Fault
from holdfast.grammar import Refused

NAMES = ("image_paths", "args_allowlist", "bridges", "default_pool", "pools")
# What host.toml knows and this version has no use for: each permits something not built yet.
LATER = ("emulators_allowlist", "usb", "pci", "state_key", "storage_fence")
POOL_NAMES = ("kind", "path", "pool", "namespace", "hosts", "user", "keyring", "key_file")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A directory of volumes."""

    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class HostConfig:
    """`args_allowlist` and `bridges` are None where host.toml does not limit them.

    `later_pools` are the names of pools whose kind this version does not support.
    """

    image_paths: tuple[str, ...] = ()
    args_allowlist: tuple[str, ...] | None = None
    bridges: tuple[str, ...] | None = None
    default_pool: str = ""
    pools: Mapping[str, Pool] = field(default_factory=dict)
    later_pools: tuple[str, ...] = ()

    def permit_path(self, path: str) -> None:
        """By its text only; whoever opens the file looks where its symlinks lead."""
        if path and not identifier.is_under(path, self.image_paths):
            allowed = ", ".join(self.image_paths) or "names none"
            raise Refused(f"is not under image_paths of host.toml ({allowed})")

    def permit_bridge(self, bridge: str) -> None:
        if self.bridges is not None and bridge not in self.bridges:
            allowed = ", ".join(self.bridges) or "none"
            raise Refused(f"is not one of bridges of host.toml ({allowed})")

    def permit_pool(self, pool: str) -> None:
        if pool in self.later_pools:
            raise Refused("is a pool whose kind is not supported by this version")
        if pool not in self.pools:
            known = ", ".join(self.pools) or "none"
            raise Refused(f"is not a pool of host.toml ({known})")


def parse(text: str | None, faults: list[Fault]) -> HostConfig:
    """Faults are added to the list. Without a host.toml all is at its default."""
    if not text:
        return HostConfig()
    import tomllib  # noqa: PLC0415 - 7 ms that a host without host.toml need not pay

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(key="host.toml", rule=f"is not TOML: {error}"))
        return HostConfig()
    reading = _Reading(table, faults)
    reading.refuse_unknown(table, (*NAMES, *LATER), "host.toml")
    return reading.host_config()


class _Reading:
    def __init__(self, table: Mapping[str, Any], faults: list[Fault]) -> None:
        self.table = table
        self.faults = faults

    def host_config(self) -> HostConfig:
        pools = self.pools()
        return HostConfig(
            image_paths=self.paths("image_paths"),
            args_allowlist=self.strings("args_allowlist"),
            bridges=self.strings("bridges"),
            default_pool=self.default_pool(),
            pools={pool.name: pool for pool in pools if pool.path},
            later_pools=tuple(pool.name for pool in pools if not pool.path),
        )

    def fault(self, name: str, rule: str, value: object = None) -> None:
        shown = None if value is None else str(value)
        self.faults.append(Fault(key=f"host.toml {name}", value=shown, rule=rule))

    def refuse_unknown(self, table: Mapping[str, Any], known: Collection[str], where: str) -> None:
        """A misspelt limit would limit nothing."""
        for name in table.keys() - set(known):
            rule = f"is none of {', '.join(known)}"
            self.faults.append(Fault(key=where, value=name, rule=rule))

    def strings(self, name: str) -> tuple[str, ...] | None:
        value = self.table.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fault(name, "must be a list of strings", value)
            return ()
        return tuple(value)

    def paths(self, name: str) -> tuple[str, ...]:
        return tuple(path for path in self.strings(name) or () if self.is_path(name, path))

    def is_path(self, name: str, path: str) -> bool:
        try:
            identifier.path(path.rstrip("/") or "/.")
        except Refused as refused:
            self.fault(name, refused.rule, path)
            return False
        return True

    def default_pool(self) -> str:
        name = self.table.get("default_pool", "")
        if name == "" or (isinstance(name, str) and name in self.table.get("pools", {})):
            return str(name)
        self.fault("default_pool", "is not a pool: add [pools.<name>] with kind and path", name)
        return ""

    def pools(self) -> list[Pool]:
        table = self.table.get("pools", {})
        if not isinstance(table, dict) or not all(
            isinstance(pool, dict) for pool in table.values()
        ):
            self.fault("pools", "must be tables: [pools.<name>]")
            return []
        return [pool for name, given in table.items() if (pool := self.pool(name, given))]

    def pool(self, name: str, given: Mapping[str, Any]) -> Pool | None:
        where = f"pools.{name}"
        self.refuse_unknown(given, POOL_NAMES, f"host.toml {where}")
        kind, path = given.get("kind"), given.get("path")
        if kind == "rbd":
            return Pool(name=name, path="")
        if kind != "directory":
            self.fault(f"{where}.kind", "must be directory or rbd", kind)
        elif not isinstance(path, str):
            self.fault(f"{where}.path", "must be the path of a directory", path)
        elif self.is_path(f"{where}.path", path):
            return Pool(name=name, path=path.rstrip("/"))
        return None
