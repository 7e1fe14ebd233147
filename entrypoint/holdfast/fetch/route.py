"""The way to a server: its name looked up and judged, and one of its addresses connected to, by a proxy or without."""

import queue
from ipaddress import ip_address
from socket import EAI_NONAME, SOCK_STREAM, AddressFamily, gaierror, getaddrinfo, socket
from threading import Thread
from typing import Any

from holdfast.config import proxy
from holdfast.errors import ConfigError, Unreachable
from holdfast.fetch.deadline import Clock
from holdfast.grammar.url import Target, forbidden, meant
from holdfast.machine import UrlLimits

LONGEST_HEAD = 64 * 1024  # bytes, of a proxy

# A socket address as getaddrinfo gives it: family and what connect wants.
Found = list[tuple[AddressFamily, tuple[Any, ...]]]


def resolve(target: Target, clock: Clock) -> Found:
    """Look its name up. Raises ConfigError if it does not exist, TimeoutError when late.

    There is no time limit to getaddrinfo, so it runs in a thread, which is left behind if late.
    """
    answers: queue.SimpleQueue[Found | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            rows = getaddrinfo(target.host, target.port, type=SOCK_STREAM)
            answers.put([(row[0], row[4]) for row in rows])
        except (OSError, ValueError) as error:
            answers.put(error)

    Thread(target=look_up, daemon=True).start()
    try:
        answer = answers.get(timeout=clock.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, list):
        return answer
    if isinstance(answer, gaierror) and answer.errno != EAI_NONAME:
        raise answer
    raise ConfigError("names a host that does not exist") from answer


def check(found: Found, reach: UrlLimits) -> None:
    """Raise ConfigError for one forbidden address: names of several are how filters are passed."""
    from holdfast.fetch.destination import refusal, spelled  # noqa: PLC0415 - not for the operator's own

    for _, sockaddr in found:
        address = ip_address(sockaddr[0])
        if kind := forbidden(address):
            raise ConfigError(
                f"leads to {address}, a {kind} address, which a fetched URL may not",
                hint="only a URL of the operator's own, in CLOUD_CONFIG, may lead there",
            )
        if what := refusal(meant(address), sockaddr[1], reach):
            named = spelled(meant(address), sockaddr[1])
            raise ConfigError(
                f"leads to {address}, {what}, which a fetched URL may not",
                hint=f'host.toml opens it: [network] reachable = ["{named}"]',
            )


def connect(found: Found, clock: Clock) -> socket:
    """Connect to the first address that answers; none may use up the time of the others."""
    failure = OSError("no address")
    for number, (family, sockaddr) in enumerate(found):
        sock = socket(family, SOCK_STREAM)
        try:
            sock.settimeout(clock.left() / (len(found) - number))
            sock.connect(sockaddr)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def tunnel(sock: socket, target: Target, via: Target, clock: Clock) -> None:
    """Ask the proxy for a way; its answer ends with an empty line. Raises Unreachable."""
    sock.settimeout(clock.left())
    sock.sendall(proxy.opening(target, via))
    head = b""
    while b"\r\n\r\n" not in head:
        sock.settimeout(clock.left())
        data = sock.recv(4096)
        head += data
        if not data or len(head) > LONGEST_HEAD:
            raise Unreachable("is not led on by the proxy, which ends its answer too early")
    status = head.split(b"\r\n")[0].split(b" ")[1:2]
    if status != [b"200"]:
        said = b"".join(status)[:3].decode("ascii", errors="replace")
        raise Unreachable(
            f"is not led on by the proxy {via.host}:{via.port}, which answers {said}"
        )
