"""Storage pools of host.toml: where the volumes of VMs are made."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from holdfast import grammar
from holdfast.dataclass import dataclass
from holdfast.errors import Fault
from holdfast.grammar import Refused, address, identifier
from holdfast.machine.ceph import ETC_CEPH, MONITOR_PORTS, Access, Monitor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DirectoryPool:
    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class RbdPool:
    """`pool` and `namespace` are Ceph's names."""

    name: str
    pool: str
    namespace: str = ""
    access: Access = ETC_CEPH


Pool = DirectoryPool | RbdPool

NAMES = {
    "directory": ("kind", "path"),
    "rbd": ("kind", "pool", "namespace", "hosts", "user", "keyring", "key_file"),
}


def pool(name: str, given: Mapping[str, Any], faults: list[Fault]) -> Pool | None:
    """None where something is wrong with it; that is added to the faults."""
    reading = _Reading(f"pools.{name}", given, faults)
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in NAMES:
        reading.fault("kind", "must be directory or rbd", kind)
        return None
    before = len(faults)
    reading.refuse_unknown(NAMES[kind])
    made = reading.directory(name) if kind == "directory" else reading.rbd(name)
    return made if len(faults) == before else None


class _Reading:
    def __init__(self, where: str, given: Mapping[str, Any], faults: list[Fault]) -> None:
        self.where = where
        self.given = given
        self.faults = faults

    def directory(self, name: str) -> Pool:
        return DirectoryPool(name=name, path=self.read("path", _folder, needed=True).rstrip("/"))

    def rbd(self, name: str) -> Pool:
        if "key_file" in self.given:
            if "keyring" in self.given:
                self.fault("key_file", "is a second place for the key: keep it or keyring")
            if "user" not in self.given:
                self.fault("key_file", "holds no name: say in user whose key it is")
        return RbdPool(
            name=name,
            pool=self.read("pool", _ceph_name, needed=True),
            namespace=self.read("namespace", _ceph_name),
            access=Access(
                monitors=self.monitors(),
                user=self.read("user", _user),
                keyring=self.read("keyring", identifier.path),
                key_file=self.read("key_file", identifier.path),
            ),
        )

    def read(self, name: str, parse: Callable[[str], str], *, needed: bool = False) -> str:
        value = self.given.get(name)
        if value is None and not needed:
            return ""
        if not isinstance(value, str):
            self.fault(name, "must be a text" if name in self.given else "is missing", value)
            return ""
        return self.parsed(name, value, parse) or ""

    def monitors(self) -> tuple[Monitor, ...]:
        hosts = self.given.get("hosts", [])
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            self.fault("hosts", "must be a list of monitors", hosts)
            return ()
        if not hosts and "hosts" in self.given:
            self.fault("hosts", "names no monitor: without the line, ceph.conf does")
        found = [self.parsed("hosts", host, monitors) or () for host in hosts]
        return tuple(dict.fromkeys(monitor for several in found for monitor in several))

    def parsed(self, name: str, text: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(text)
        except Refused as refused:
            self.fault(name, refused.rule, text)
            return None

    def fault(self, name: str, rule: str, value: object = None) -> None:
        shown = None if value is None else str(value)
        self.faults.append(Fault(key=f"host.toml {self.where}.{name}", value=shown, rule=rule))

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        for name in sorted(self.given.keys() - set(known)):
            rule = f"is none of {', '.join(known)}"
            self.faults.append(Fault(key=f"host.toml {self.where}", value=name, rule=rule))


def monitors(text: str) -> tuple[Monitor, ...]:
    """`host`, `host:port`, `v6`, `[v6]` or `[v6]:port`."""
    if text.startswith(("v1:", "v2:")) or "/" in text:
        raise Refused(
            "must be host, host:port or [v6]:port, without the v1:, v2: and /0 of `ceph mon dump`"
        )
    host, port = _split(text)
    if ":" in host:
        host = str(address.address(host))
    else:
        identifier.host(host)
    if not port:
        # Tried at both, where it names none.
        return tuple(Monitor(host=host, port=one) for one in MONITOR_PORTS)
    return (Monitor(host=host, port=grammar.whole(1, grammar.HIGHEST_PORT)(port)),)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or not (rest == "" or rest[0] == ":"):
            raise Refused("must be host:port, or [v6]:port")
        return host, rest[1:]
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _folder(text: str) -> str:
    identifier.path(text.rstrip("/") or "/.")
    return text


def _ceph_name(text: str) -> str:
    if not identifier.is_rbd_part(text) or "/" in text or "@" in text:
        raise Refused("must be a name of Ceph's, without blanks at the ends, / and @")
    return text


def _user(text: str) -> str:
    """`holdfast`, or as Ceph lists it: `client.holdfast`."""
    name = text.removeprefix("client.")
    if not identifier.consists_of(name, identifier.WORD):
        raise Refused("must be a user of Ceph's such as holdfast")
    return name
