"""Where etcd answers, and how it knows us: ETCD_ENDPOINTS and its companions."""

from enum import StrEnum, auto

from holdfast import grammar
from holdfast.config.environment import Environment
from holdfast.dataclass import dataclass
from holdfast.grammar import Refused, identifier

PORT = 2379


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    host: str
    port: int = PORT
    tls: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


class Protocol(StrEnum):
    """How etcd is spoken to: its JSON gateway, which is the lighter, or gRPC."""

    json = auto()
    grpc = auto()


@dataclass(frozen=True, kw_only=True)
class Access:
    endpoints: tuple[Endpoint, ...]
    cacert: str
    cert: str
    key: str
    username: str
    password_file: str
    protocol: Protocol


def access(environment: Environment) -> Access:
    files = {
        name: environment.read(name, grammar.line(4096), "")
        for name in ("ETCD_CACERT", "ETCD_CERT", "ETCD_KEY", "ETCD_PASSWORD_FILE")
    }
    tls = bool(files["ETCD_CACERT"] or files["ETCD_CERT"])
    local = (Endpoint(host="127.0.0.1", tls=tls),)
    found = Access(
        endpoints=environment.read("ETCD_ENDPOINTS", _endpoints(tls), local),
        cacert=files["ETCD_CACERT"],
        cert=files["ETCD_CERT"],
        key=files["ETCD_KEY"],
        username=environment.read("ETCD_USERNAME", grammar.line(256), ""),
        password_file=files["ETCD_PASSWORD_FILE"],
        protocol=environment.read("ETCD_PROTOCOL", grammar.choice(Protocol), Protocol.json),
    )
    _check(environment, found)
    return found


def _check(environment: Environment, found: Access) -> None:
    for one, other in (("ETCD_CERT", "ETCD_KEY"), ("ETCD_USERNAME", "ETCD_PASSWORD_FILE")):
        given = [name for name in (one, other) if environment.variables.get(name)]
        if len(given) == 1:
            missing = other if given == [one] else one
            environment.refuse(given[0], f"needs {missing} too")
    for endpoint in found.endpoints:
        if endpoint.tls:
            continue
        if found.cacert or found.cert:
            rule = "is without TLS, though ETCD_CACERT or ETCD_CERT is set: use https://"
            environment.refuse("ETCD_ENDPOINTS", rule, f"http://{endpoint}")
        elif found.username and not endpoint.is_loopback:
            rule = (
                "would send ETCD_USERNAME's password over the network in the clear: use https://"
            )
            environment.refuse("ETCD_ENDPOINTS", rule, f"http://{endpoint}")


def _endpoints(tls: bool) -> grammar.Parser[tuple[Endpoint, ...]]:
    def parse(text: str) -> tuple[Endpoint, ...]:
        items = [item for item in text.replace(",", " ").split() if item]
        if not items:
            raise Refused("names no endpoint")
        return tuple(dict.fromkeys(_endpoint(item, tls) for item in items))

    return parse


def _endpoint(item: str, tls: bool) -> Endpoint:
    scheme, separator, rest = item.rpartition("://")
    if separator and scheme.lower() not in ("http", "https"):
        raise Refused("must be http://host:port or https://host:port", part=item)
    if "@" in rest:
        raise Refused("has a password: use ETCD_USERNAME and ETCD_PASSWORD_FILE", hidden=True)
    host, port = _host_and_port(rest.rstrip("/"), item)
    return Endpoint(host=host, port=port, tls=scheme.lower() == "https" if separator else tls)


def _host_and_port(text: str, item: str) -> tuple[str, int]:
    rule = "must be host:port or [v6]:port, with http:// or https:// in front if need be"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        valid = bool(bracket) and _is_ipv6(host) and rest[:1] in ("", ":")
    else:
        host, colon, number = text.partition(":")
        rest = colon + number
        valid = identifier.consists_of(host, identifier.WORD, 253) and host[0] not in "-."
    try:
        port = grammar.whole(1, grammar.HIGHEST_PORT)(rest[1:]) if rest else PORT
    except Refused:
        valid, port = False, PORT
    if not valid:
        raise Refused(rule, part=item)
    return host, port


def _is_ipv6(text: str) -> bool:
    from ipaddress import IPv6Address  # noqa: PLC0415 - few endpoints need it

    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
