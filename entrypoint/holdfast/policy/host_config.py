"""host.toml: what the operator of a host allows the VMs' keys to reach. Its values are trusted."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from holdfast.dataclass import dataclass, field
from holdfast.errors import Fault
from holdfast.grammar import Parser, Refused, identifier
from holdfast.machine import Port
from holdfast.machine.ceph import Monitor
from holdfast.policy.network_limits import NetworkLimits, network_limits
from holdfast.policy.pool import DirectoryPool, Pool, RbdPool, pool

if TYPE_CHECKING:
    from holdfast.policy.disk_limits import DiskLimits

NAMES = (
    "image_paths",
    "args_allowlist",
    "emulators_allowlist",
    "bridges",
    "default_pool",
    "image_cache",
    "local_devices",
    "network",
    "open_screens",
    "pci",
    "pools",
    "screen_tls",
    "share_paths",
    "state_key",
    "storage_fence",
    "templates",
    "usb",
    "vms",
)
KEY_BYTES = 32  # AES-256
# Of args_allowlist, beside options: the built-in list, and all that is not refused to everybody.
DEFAULT, ANY = "default", "any"
EMULATOR = "qemu-system-"  # people write the architecture, or the name of the program


@dataclass(frozen=True, kw_only=True)
class HostConfig:
    """`emulators_allowlist` and `bridges` are None where host.toml does not limit them, `args_allowlist` is
    where it leaves it at the built-in list.
    `time_fence` is the operator's consent to disks that only time guards (storage_fence = "time").
    `disks` is None where it has neither [vms] nor [templates].
    """

    image_paths: tuple[str, ...] = ()
    share_paths: tuple[str, ...] = ()
    args_allowlist: tuple[str, ...] | None = None
    emulators_allowlist: tuple[str, ...] | None = None
    bridges: tuple[str, ...] | None = None
    local_devices: tuple[str, ...] = ()
    usb: tuple[str, ...] = ()
    pci: tuple[str, ...] = ()
    time_fence: bool = False
    open_screens: bool = False
    screen_tls: str = ""
    default_pool: str = ""
    state_key: bytes = field(default=b"", repr=False)
    image_cache: str = "/var/lib/holdfast/cache"
    pools: Mapping[str, Pool] = field(default_factory=dict)
    network: NetworkLimits = field(default_factory=NetworkLimits)
    disks: "DiskLimits | None" = None

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        """Of all clusters that have pools here, beside ceph.conf's."""
        pools = [pool for pool in self.pools.values() if isinstance(pool, RbdPool)]
        return tuple(one for pool in pools for one in pool.access.monitors)

    @property
    def limits_vms(self) -> bool:
        return self.disks is not None and self.disks.vms is not None

    def permit_path(self, path: str) -> None:
        """By its text only; whoever opens the file looks where its symlinks lead."""
        if path and not identifier.is_under(path, self.image_paths):
            allowed = ", ".join(self.image_paths) or "names none"
            raise Refused(f"is not under image_paths of host.toml ({allowed})")

    def permit_share(self, path: str) -> None:
        """Not image_paths: the folder of the images would hand a guest the disks of all others."""
        if path not in self.share_paths and not identifier.is_under(path, self.share_paths):
            allowed = ", ".join(self.share_paths) or "names none"
            raise Refused(f"is not under share_paths of host.toml ({allowed})")

    def permit_bridge(self, bridge: str) -> None:
        if self.bridges is not None and bridge not in self.bridges:
            allowed = ", ".join(self.bridges) or "none"
            raise Refused(f"is not one of bridges of host.toml ({allowed})")

    def permit_ports(self, ports: Collection[Port]) -> None:
        self.network.permit_ports(ports)

    def permit_usb(self, usb: str) -> None:
        if not any(PurePosixPath(usb).match(pattern) for pattern in self.usb):
            allowed = ", ".join(self.usb) or "names none"
            raise Refused(f"is not one of usb of host.toml ({allowed})")

    def permit_pci(self, address: str) -> None:
        if address not in self.pci:
            allowed = ", ".join(self.pci) or "names none"
            raise Refused(f"is not one of pci of host.toml ({allowed})")

    def is_local_device(self, *names: str) -> bool:
        """Whether no other host reaches the block device. A `*` of a pattern stops at a slash."""
        return any(
            PurePosixPath(name).match(pattern) for name in names for pattern in self.local_devices
        )

    def permit_emulator(self, arch: str) -> None:
        if self.emulators_allowlist is None:
            return
        allowed = [name.removeprefix(EMULATOR) for name in self.emulators_allowlist]
        if arch not in allowed:
            named = ", ".join(allowed) or "none"
            raise Refused(f"is not one of emulators_allowlist of host.toml ({named})")

    def permit_pool(self, pool: str) -> None:
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
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # of many brackets
        faults.append(Fault(key="host.toml", rule=f"is not TOML: {error}"))
        return HostConfig()
    reading = _Reading(table, faults)
    reading.refuse_unknown(table, NAMES, "host.toml")
    found = reading.host_config()
    if found.share_paths:
        from holdfast.policy.disk_limits import overlaps  # noqa: PLC0415 - for hosts that share folders

        faults += overlaps(found.share_paths, _kept_from_guests(found))
    return found


def _kept_from_guests(found: HostConfig) -> Iterator[tuple[str, str]]:
    """Folders, each with what it is."""
    yield from (("image_paths", path) for path in found.image_paths)
    pools = (one for one in found.pools.values() if isinstance(one, DirectoryPool))
    yield from ((f"the pool {one.name}", one.path) for one in pools)
    yield "image_cache", found.image_cache


class _Reading:
    def __init__(self, table: Mapping[str, Any], faults: list[Fault]) -> None:
        self.table = table
        self.faults = faults

    def host_config(self) -> HostConfig:
        return HostConfig(
            image_paths=self.paths("image_paths"),
            share_paths=tuple(path.rstrip("/") for path in self.paths("share_paths")),
            args_allowlist=self.args_allowlist(),
            emulators_allowlist=self.strings("emulators_allowlist"),
            bridges=self.strings("bridges"),
            local_devices=self.paths("local_devices"),
            usb=self.parsed("usb", identifier.usb_pattern),
            pci=self.parsed("pci", identifier.pci_address),
            time_fence=self.time_fence(),
            open_screens=self.open_screens(),
            screen_tls=self.folder("screen_tls", ""),
            default_pool=self.default_pool(),
            state_key=self.state_key(),
            image_cache=self.folder("image_cache", HostConfig.image_cache),
            pools=self.pools(),
            network=network_limits(self.table.get("network", {}), self.faults),
            disks=self.disks(),
        )

    def disks(self) -> "DiskLimits | None":
        if not self.table.keys() & {"vms", "templates"}:
            return None
        from holdfast.policy.disk_limits import disk_limits  # noqa: PLC0415 - for hosts with tenants

        pools = self.table.get("pools", {})
        return disk_limits(self.table, pools if isinstance(pools, Mapping) else {}, self.faults)

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

    def args_allowlist(self) -> tuple[str, ...] | None:
        listed = self.strings("args_allowlist")
        for text in listed or ():
            if text not in (DEFAULT, ANY) and not text.startswith("-"):
                self.fault("args_allowlist", f'must be an option, "{DEFAULT}" or "{ANY}"', text)
        return listed

    def parsed(self, name: str, parser: Parser[str]) -> tuple[str, ...]:
        found = []
        for text in self.strings(name) or ():
            try:
                found.append(parser(text))
            except Refused as refused:
                self.fault(name, refused.rule, text)
        return tuple(found)

    def paths(self, name: str) -> tuple[str, ...]:
        return tuple(path for path in self.strings(name) or () if self.is_path(name, path))

    def is_path(self, name: str, path: str) -> bool:
        try:
            identifier.path(path.rstrip("/") or "/.")
        except Refused as refused:
            self.fault(name, refused.rule, path)
            return False
        return True

    def time_fence(self) -> bool:
        value = self.table.get("storage_fence")
        if value not in (None, "time"):
            self.fault("storage_fence", 'must be "time", or not be there', value)
        return value == "time"

    def open_screens(self) -> bool:
        value = self.table.get("open_screens", False)
        if not isinstance(value, bool):
            self.fault("open_screens", "must be true or false", value)
        return value is True

    def state_key(self) -> bytes:
        value = self.table.get("state_key", "")
        digits = isinstance(value, str) and identifier.HEX.issuperset(value.lower())
        if digits and len(value) in (0, 2 * KEY_BYTES):
            return bytes.fromhex(value)
        rule = f"must be {2 * KEY_BYTES} hexadecimal digits: openssl rand -hex {KEY_BYTES}"
        self.fault("state_key", rule)
        return b""

    def folder(self, name: str, default: str) -> str:
        path = self.table.get(name, default)
        if not isinstance(path, str):
            self.fault(name, "must be the path of a directory", path)
        elif path == default or self.is_path(name, path):
            return path.rstrip("/")
        return default

    def default_pool(self) -> str:
        name = self.table.get("default_pool", "")
        if name == "" or (isinstance(name, str) and name in self.table.get("pools", {})):
            return str(name)
        self.fault("default_pool", "is not a pool: add [pools.<name>] with kind and path", name)
        return ""

    def pools(self) -> Mapping[str, Pool]:
        table = self.table.get("pools", {})
        if not isinstance(table, dict) or not all(isinstance(one, dict) for one in table.values()):
            self.fault("pools", "must be tables: [pools.<name>]")
            return {}
        found = {name: pool(name, given, self.faults) for name, given in table.items()}
        return {name: made for name, made in found.items() if made is not None}
