"""One GET over http or https, of a URL that a stranger may have written, from a server that may
be hostile: everything is limited, and only the address that was checked is connected to.
"""

import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from gzip import BadGzipFile, GzipFile
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead, responses
from socket import socket
from typing import NoReturn, TypeVar, cast

from holdfast.config import proxy
from holdfast.dataclass import dataclass, field
from holdfast.errors import ConfigError, Fault, Unreachable, shortened
from holdfast.fetch import route
from holdfast.fetch.deadline import Clock, Wire
from holdfast.grammar.url import Target, redirected, shown
from holdfast.machine import UrlLimits

T = TypeVar("T")

OK = 200
NOWHERE = UrlLimits()  # nothing is opened
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429)  # with 5xx: another try may do


def get(  # noqa: PLR0913 - a limit each
    url: str,
    *,
    key: str,
    trusted: bool = False,
    limit: int = 1024**2,
    seconds: float = 10,
    redirects: int = 5,
    proxies: Mapping[str, str] | None = None,
    reach: UrlLimits = NOWHERE,
) -> bytes:
    """Return the decoded body, as `follow` finds it, of at most `limit` bytes."""
    asked = Asked(
        url=url,
        key=key,
        trusted=trusted,
        redirects=redirects,
        seconds=seconds,
        proxies=proxies or {},
        reach=reach,
    )
    return follow(asked, Clock(seconds), lambda response: _read(response, limit))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is wrong names `key`, which holds the URL.

    `trusted` is for a URL of the operator's, whose server may be this very host. A redirect from
    there to another server is that server's word, and is checked like a stranger's.
    """

    url: str
    key: str
    trusted: bool = False
    redirects: int = 5
    seconds: float = 10
    headers: Mapping[str, str] = field(default_factory=dict)
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # for a trusted one only
    reach: UrlLimits = NOWHERE  # for all others


def follow(asked: Asked, clock: Clock, read: Callable[[HTTPResponse], T]) -> T:
    """Return what `read` makes of the answer, wherever it comes from in the end.

    Raises ConfigError for what another try does not mend, Unreachable for what it may.
    """
    here, first = asked.url, None
    for _ in range(asked.redirects + 1):
        with _naming(asked.key, asked.url, here, asked.seconds):
            target = Target.parsed(here)
            first = first or target
            own = asked.trusted and target.origin == first.origin
            via = proxy.of(asked.proxies, target) if own else None
            found = route.resolve(via or target, clock)
            if not own:
                route.check(found, asked.reach)
            headers = {**target.headers, **asked.headers}
            answer = _answer((target, via), found, clock, headers, read)
            if not isinstance(answer, _Moved):
                return answer
            here = redirected(here, answer.to)
    rule = f"is redirected more than {asked.redirects} times"
    raise ConfigError([Fault(key=asked.key, value=shown(asked.url), rule=rule)])


@dataclass(frozen=True)
class _Moved:
    to: str


@contextmanager
def _naming(key: str, url: str, here: str, seconds: float) -> Iterator[None]:
    """Say where it went wrong, and tell what may pass from what will not."""
    named = shortened(shown(here))
    way = "" if here == url else f"is redirected to {named}, which "

    def fault(rule: str) -> Fault:
        return Fault(key=key, value=shown(url), rule=way + rule)

    try:
        yield
    except ConfigError as error:
        raise ConfigError([fault(error.message)], hint=error.hint) from error
    except ssl.SSLCertVerificationError as error:
        rule = f"has a certificate that is not trusted: {error.verify_message}"
        raise ConfigError([fault(rule)], hint="is its CA installed where this runs?") from error
    except (Unreachable, OSError, HTTPException) as error:
        hint = f"can this host reach {named}, and is that server well?"
        raise Unreachable(str(fault(_reason(error, seconds))), hint=hint) from error


def _reason(error: Exception, seconds: float) -> str:
    match error:
        case Unreachable():
            return error.message
        case TimeoutError():
            return f"gives no full answer within {seconds:g} s"
        case OSError():
            return f"cannot be reached: {error.strerror or error}"
        case _:  # not its text, which is the server's
            return f"does not answer as HTTP wants it: {type(error).__name__}"


def _answer(
    way: tuple[Target, Target | None],
    found: route.Found,
    clock: Clock,
    headers: Mapping[str, str],
    read: Callable[[HTTPResponse], T],
) -> T | _Moved:
    target, via = way
    resource = target.resource
    with ExitStack() as stack:
        sock = stack.enter_context(route.connect(found, clock))
        if via is not None and target.scheme == "http":
            resource = f"http://{target.authority}{resource}"
            headers = {**headers, **dict(line.split(": ", 1) for line in proxy.rights(via))}
        elif via is not None:
            route.tunnel(sock, target, via, clock)
        if target.scheme == "https":
            context = ssl.create_default_context()
            tls = context.wrap_socket(
                sock, server_hostname=target.host, do_handshake_on_connect=False
            )
            sock = stack.enter_context(tls)
            tls.settimeout(clock.left())
            tls.do_handshake()
        connection = HTTPConnection(target.host, target.port)
        wire = Wire(sock, clock)
        connection.sock = cast("socket", wire)
        connection.request("GET", resource, headers=headers)
        response = connection.getresponse()
        wire.in_head = False
        if wire.ended:  # http.client takes a head that is cut off for a whole one
            raise Unreachable("ends its answer too early")
        location = response.getheader("Location")
        if response.status in REDIRECTS and location is not None:
            return _Moved(location)
        return read(response)


def refuse(response: HTTPResponse) -> NoReturn:
    """Raise Unreachable for a status that may pass, ConfigError for any other."""
    answer = f"answers {response.status} {responses.get(response.status, '')}".rstrip()
    if response.status in PASSING or response.status >= 500:  # noqa: PLR2004 - 5xx
        raise Unreachable(answer)
    raise ConfigError(answer)


def _read(response: HTTPResponse, limit: int) -> bytes:
    if response.status != OK:
        refuse(response)
    return _body(response, limit)


def _body(response: HTTPResponse, limit: int) -> bytes:
    encoding = response.getheader("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise ConfigError(f"is sent in the encoding {encoding[:16]!r}, which was not asked for")
    try:
        stream = response if encoding == "identity" else GzipFile(fileobj=response)
        body = stream.read(limit + 1)
    except (BadGzipFile, zlib.error) as error:
        raise ConfigError("is sent as gzip that is damaged") from error
    except (EOFError, IncompleteRead) as error:
        raise Unreachable("ends its answer too early") from error
    if len(body) > limit:
        raise ConfigError(f"is larger than {limit} bytes")
    if response.length:  # http.client does not mind when a body is shorter than announced
        raise Unreachable("ends its answer too early")
    return body
