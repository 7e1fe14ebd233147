"""HTTP/1.1 to one etcd endpoint: a deadline over the whole of a request, and streams without one."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from holdfast.clock import boottime
from holdfast.endpoint import Endpoint

if TYPE_CHECKING:
    from ssl import SSLContext

SLICE = 64 * 1024
# A watch may be silent for days. A peer that went without a word is found out in this time.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))

Address = tuple[socket.AddressFamily, tuple[Any, ...]]

# Whatever an endpoint can do to a connection.
Broken = (OSError, http.client.HTTPException, ValueError)


class Connection(http.client.HTTPConnection):
    """Used by one thread at a time; only `shut` may come from another.

    `resolver` finds the addresses of the endpoint. Raises one of Broken when the connection fails.
    """

    def __init__(
        self, endpoint: Endpoint, resolver: "Resolver", tls: "SSLContext | None", timeout: float
    ) -> None:
        super().__init__(endpoint.host, endpoint.port)
        self.endpoint = endpoint
        self._resolver = resolver
        self._tls = tls
        self._ends = boottime() + timeout
        self._shut = False

    def connect(self) -> None:
        self.sock = self._dial()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            self.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        if self._tls:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)

    def _dial(self) -> socket.socket:
        addresses = self._resolver.addresses(self._left())
        share = self._left() / len(addresses)
        for number, address in enumerate(addresses, 1):
            try:
                return _connected(address, share)
            except OSError:
                if number == len(addresses):
                    self._resolver.forget()
                    raise
        raise AssertionError  # there is at least one

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], ends: float
    ) -> tuple[int, bytes]:
        """The status and the body of the answer, all of it before `ends` on boottime()'s clock."""
        self._ends = ends
        response = self._send(path, body, headers)
        parts = []
        while part := response.read1(SLICE):
            parts.append(part)
            self._within()
        return response.status, b"".join(parts)

    def stream(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        """The answers as they come, one a line."""
        response = self._send(path, body, headers)
        self.sock.settimeout(None)
        if self._shut:
            return
        while line := response.readline():
            yield json.loads(line)

    def shut(self) -> None:
        """End a stream that another thread reads, or is about to read."""
        self._shut = True
        with contextlib.suppress(OSError, AttributeError):  # no socket yet
            self.sock.shutdown(socket.SHUT_RDWR)

    def _send(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if self.sock is None:
            self.connect()
        self._within()
        self.request("POST", path, body, dict(headers))
        self._within()
        return self.getresponse()

    def _within(self) -> None:
        if self.sock is not None:
            self.sock.settimeout(self._left())

    def _left(self) -> float:
        left = self._ends - boottime()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def _connected(address: Address, timeout: float) -> socket.socket:
    family, where = address
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect(where)
    except BaseException:
        made.close()
        raise
    return made


class Resolver:
    """The addresses of one endpoint, kept as long as they can be connected to.

    getaddrinfo(3) has no deadline, and a name server that is down must not cost a renewal.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._found: list[Address] = []
        self._asking: threading.Thread | None = None
        self._error: OSError | None = None
        self._turn = threading.Lock()

    def addresses(self, timeout: float) -> list[Address]:
        if not self._found:
            self._asked().join(timeout)
        if not (found := self._found):
            raise self._error or TimeoutError("its name is not resolved in time")
        return found

    def _asked(self) -> threading.Thread:
        """One question at a time, however many connections wait for the answer."""
        with self._turn:
            if self._asking is None or not self._asking.is_alive():
                self._asking = threading.Thread(target=self._ask, name="resolver", daemon=True)
                self._asking.start()
            return self._asking

    def forget(self) -> None:
        self._found = []

    def _ask(self) -> None:
        try:
            self._error = None
            # As bytes: for text Python loads its codec for names beyond ASCII, which etcd's has not.
            host = self._endpoint.host.encode("ascii")
            found = socket.getaddrinfo(host, self._endpoint.port, type=socket.SOCK_STREAM)
            self._found = [(family, address) for family, _, _, _, address in found]
        except OSError as error:
            self._error = error
