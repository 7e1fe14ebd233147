"""URLs that strangers may have written: their parts, and where they may not lead. No name is
resolved here.
"""

import re
from base64 import b64encode
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

from holdfast.dataclass import dataclass, field
from holdfast.errors import ConfigError, shortened

PORTS = {"http": 80, "https": 443}

FORBIDDEN = ("unspecified", "loopback", "link_local", "multicast", "reserved")
# Where clouds answer the instance itself, with its credentials, beside 169.254.169.254.
METADATA = (
    IPv4Address("100.100.100.200"),  # Alibaba
    IPv4Address("168.63.129.16"),  # Azure
    IPv6Address("fd00:ec2::254"),  # Amazon
    IPv6Address("fd20:ce::254"),  # Google
    IPv6Address("fd00:c1::a9fe:a9fe"),  # Oracle
)
NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A URL that can be fetched, in its parts. `authority` is what the Host header says."""

    scheme: str
    host: str
    port: int
    authority: str
    resource: str = field(repr=False)
    credentials: bytes = field(repr=False)

    @classmethod
    def parsed(cls, url: str) -> "Target":
        # urlsplit would silently drop a newline or a tab.
        if not (url.isascii() and url.isprintable() and " " not in url):
            raise ConfigError("has characters that a URL cannot hold: encode them with %")
        try:
            return cls._of(urlsplit(url))
        except ValueError as error:  # its text may quote half a password
            raise ConfigError("is not a URL") from error

    @classmethod
    def _of(cls, parts: SplitResult) -> "Target":
        if parts.scheme not in PORTS:
            raise ConfigError("does not start with http:// or https://")
        if not parts.hostname or parts.port == 0:
            raise ConfigError("names no host, or port 0")
        user, _, authority = parts.netloc.rpartition("@")
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=parts.port or PORTS[parts.scheme],
            authority=authority,
            resource=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            credentials=unquote_to_bytes(user),
        )

    @property
    def origin(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Host": self.authority, "User-Agent": "holdfast", "Accept-Encoding": "identity"}
        if self.credentials:
            headers["Authorization"] = f"Basic {b64encode(self.credentials).decode()}"
        return headers


def redirected(here: str, location: str) -> str:
    try:
        there = urljoin(here, location)
        downgraded = urlsplit(here).scheme == "https" and urlsplit(there).scheme == "http"
    except ValueError as error:
        raise ConfigError("redirects to what is not a URL") from error
    if downgraded:
        raise ConfigError(f"redirects from https down to {shortened(shown(there))}")
    return there


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query.

    >>> shown("https://me:pw@example.org/a?token=1")
    'https://example.org/a'
    """
    scheme, slashes, rest = re.split(r"[?#]", url, maxsplit=1)[0].partition("://")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    # What stands where the port should be may be a password with a / or # in it.
    sound = re.fullmatch(r"(\[[^]]*\]|[^:]*)(:\d*)?", host) and (slashes or "@" not in scheme)
    return f"{scheme}{slashes}{host}{slash}{path}" if sound else "..."


def forbidden(address: IPv4Address | IPv6Address) -> str:
    """Why a stranger's URL may not lead to this address, in a word; "" if it may.

    Private addresses are where users' own servers stand. What only leads to another address,
    as a translated IPv4 one, is judged by that.
    """
    address = meant(address)
    if address in METADATA:
        return "cloud metadata"
    return next((k.replace("_", "-") for k in FORBIDDEN if getattr(address, f"is_{k}")), "")


def meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Where it leads in the end."""
    if isinstance(address, IPv4Address):
        return address
    inner = IPv4Address(address.packed[-4:]) if address in NAT64 else address.ipv4_mapped
    return inner or address.sixtofour or address
