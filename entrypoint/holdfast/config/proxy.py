"""Proxies, by the variables that everybody knows: for what the operator himself asks for.

A stranger's URL never goes through one: the proxy would look its host up, and lead it where we do not.
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from holdfast.errors import ConfigError
from holdfast.grammar.url import Target, shown

NAMES = ("http_proxy", "https_proxy", "no_proxy")


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Under their small names; they win where both are there."""
    found = {name: environ.get(name) or environ.get(name.upper(), "") for name in NAMES}
    return {name: value for name, value in found.items() if value}


def of(given: Mapping[str, str], target: Target) -> Target | None:
    url = given.get(f"{target.scheme}_proxy", "")
    if not url or is_direct(given.get("no_proxy", ""), target):
        return None
    try:
        found = Target.parsed(url if "://" in url else f"http://{url}")
    except ConfigError as error:
        raise ConfigError(
            f"is to go through {target.scheme}_proxy, which {error.message}"
        ) from None
    if found.scheme != "http":
        raise ConfigError(f"is to go through {shown(url)}, and a proxy must be an http:// one")
    return found


def is_direct(no_proxy: str, target: Target) -> bool:
    """`*`, a name with all below it, an address or a network, each with a port or without."""
    return any(_matches(entry.strip(), target) for entry in no_proxy.split(",") if entry.strip())


def _matches(entry: str, target: Target) -> bool:
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and name.count(":") == 0:
        return int(port) == target.port and _matches(name, target)
    entry = entry.strip("[]").lower().removeprefix("*").lstrip(".")
    if not entry:
        return True
    try:
        return ip_address(target.host) in ip_network(entry, strict=False)
    except ValueError:
        return target.host == entry or target.host.endswith(f".{entry}")


def opening(target: Target, via: Target) -> bytes:
    """The request for a way through to a server that is then spoken to in TLS."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}", *rights(via)]
    return "\r\n".join([*lines, "", ""]).encode()


def rights(via: Target) -> list[str]:
    said = via.headers.get("Authorization", "")
    return [f"Proxy-Authorization: {said}"] if said else []
