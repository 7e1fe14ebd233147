"""HTTP/1.1 to one etcd endpoint: a deadline over the whole of a request, and streams without one."""

import contextlib
import math
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from holdfast.config.endpoint import Endpoint
from holdfast.etcd import response
from holdfast.etcd.response import Closed, Head, Reader
from holdfast.runtime.clock import boottime

if TYPE_CHECKING:
    from ssl import SSLContext

SLICE = 64 * 1024
# A watch may be silent for days. A peer that went without a word is found out in this time.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))

Address = tuple[socket.AddressFamily, tuple[Any, ...]]

# Whatever an endpoint can do to a connection.
Broken = (OSError, ValueError)


class Connection:
    """Used by one thread at a time; only `shut` may come from another.

    `resolver` finds the addresses of the endpoint. Raises one of Broken when the connection fails.
    """

    def __init__(
        self, endpoint: Endpoint, resolver: "Resolver", tls: "SSLContext | None", timeout: float
    ) -> None:
        self.endpoint = endpoint
        self._resolver = resolver
        self._tls = tls
        self._ends = boottime() + timeout
        self._socket: socket.socket | None = None
        self._reader = Reader(self._receive)
        self._shut = False

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], ends: float
    ) -> tuple[int, bytes]:
        """Return the answer's status and body, all of it before `ends` (boottime()'s seconds)."""
        self._ends = ends
        head = self._send(path, body, headers)
        answer = response.whole(self._reader, head)
        if head.last:
            self.close()
        return head.status, answer

    def stream(self, path: str, body: bytes, headers: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the answers as they come, one a line."""
        head = self._send(path, body, headers)
        self._ends = math.inf
        if self._shut:
            return
        yield from response.lines(response.body(self._reader, head))

    def shut(self) -> None:
        """End a stream that another thread reads, or is about to read."""
        self._shut = True
        if (connected := self._socket) is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._reader = None, Reader(self._receive)

    def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Head:
        if self._socket is None:
            self._socket = self._connected()
        self._socket.settimeout(self._left())
        self._socket.sendall(_request(self.endpoint, path, body, headers))
        return response.head(self._reader)

    def _receive(self) -> bytes:
        if self._socket is None:
            raise Closed
        self._socket.settimeout(None if self._ends == math.inf else self._left())
        return self._socket.recv(SLICE)

    def _connected(self) -> socket.socket:
        made = self._dial()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        if self._tls:
            made = self._tls.wrap_socket(made, server_hostname=self.endpoint.host)
        return made

    def _dial(self) -> socket.socket:
        addresses = self._resolver.addresses(self._left())
        share = self._left() / len(addresses)
        for number, address in enumerate(addresses, 1):
            try:
                return _dialled(address, share)
            except OSError:
                if number == len(addresses):
                    self._resolver.forget()
                    raise
        raise AssertionError  # there is at least one

    def _left(self) -> float:
        left = self._ends - boottime()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def _request(endpoint: Endpoint, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": f"{endpoint}", "Content-Length": f"{len(body)}", **headers}
    if any("\n" in value or "\r" in value for value in fields.values()):
        raise ValueError("a field of the request has more than one line")
    head = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*head, "", ""]).encode("ascii") + body


def _dialled(address: Address, timeout: float) -> socket.socket:
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
        """Return the addresses, waiting `timeout` seconds at most. Raises OSError."""
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
        except ValueError as error:  # a name that the resolver's codec refuses
            self._error = OSError(f"{error}")
