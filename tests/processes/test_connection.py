"""A connection to an endpoint that is slow without end, or that closes when it likes."""

import contextlib
from collections.abc import Callable, Iterator
from socketserver import StreamRequestHandler, TCPServer
from threading import Event, Thread

import pytest

from holdfast.config.endpoint import Endpoint
from holdfast.etcd import response
from holdfast.etcd.connection import Broken, Connection, Resolver
from holdfast.runtime.clock import boottime

pytestmark = pytest.mark.processes

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
PATIENCE = 30.0
Serve = Callable[[Callable[[StreamRequestHandler], None]], Connection]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """An endpoint whose every connection is handed to a function."""
    servers: list[TCPServer] = []

    def start(handle: Callable[[StreamRequestHandler], None]) -> Connection:
        handler = type("Handler", (StreamRequestHandler,), {"handle": handle})
        servers.append(TCPServer(("127.0.0.1", 0), handler))
        Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        endpoint = Endpoint(host="127.0.0.1", port=servers[-1].server_address[1])
        return Connection(endpoint, Resolver(endpoint), None, PATIENCE)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def request(handler: StreamRequestHandler) -> bytes:
    """The body of a request, when all of it is there."""
    size = 0
    while (line := handler.rfile.readline()).strip():
        if line.lower().startswith(b"content-length:"):
            size = int(line.partition(b":")[2])
    return handler.rfile.read(size)


def test_an_answer_that_drips_has_one_deadline_for_all_of_it(serve: Serve) -> None:
    over = Event()

    def drip(handler: StreamRequestHandler) -> None:
        request(handler)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not over.wait(0.02):  # each read is quick
            handler.wfile.write(b"x")

    connection = serve(drip)
    try:
        with pytest.raises(TimeoutError):
            connection.post("/", b"", {}, boottime() + 0.5)
    finally:
        over.set()
        connection.close()


def test_a_connection_is_used_again(serve: Serve) -> None:
    seen: list[bytes] = []

    def echo(handler: StreamRequestHandler) -> None:
        for _ in range(2):
            seen.append(request(handler))
            handler.wfile.write(OK + b"\r\n" + seen[-1])

    connection = serve(echo)
    for text in (b"ab", b"cd"):
        assert connection.post("/", text, {}, boottime() + PATIENCE) == (200, text)
    with pytest.raises(Broken):  # it has been closed meanwhile
        connection.post("/", b"ef", {}, boottime() + PATIENCE)
    assert seen == [b"ab", b"cd"]
    connection.close()


def test_who_says_that_he_closes_is_dialled_again(serve: Serve) -> None:
    def once(handler: StreamRequestHandler) -> None:
        request(handler)
        handler.wfile.write(OK + b"Connection: close\r\n\r\nok")

    connection = serve(once)
    for _ in range(2):
        assert connection.post("/", b"", {}, boottime() + PATIENCE) == (200, b"ok")


def test_a_stream_that_is_shut_ends(serve: Serve) -> None:
    over = Event()

    def chunk(handler: StreamRequestHandler) -> None:
        request(handler)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        handler.wfile.write(b'8\r\n{"a":1}\n\r\n')
        over.wait(PATIENCE)

    connection = serve(chunk)
    stream = connection.stream("/", b"", {})
    try:
        assert next(stream) == b'{"a":1}'
        connection.shut()
        with pytest.raises(Broken):
            next(stream)
    finally:
        over.set()
        connection.close()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 99999999999",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffff",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
    ],
    ids=["a size", "a chunk", "chunks", "until it is closed"],
)
def test_an_answer_without_end_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(response, "LARGEST", 1 << 20)
    sent = 0

    def flood(handler: StreamRequestHandler) -> None:
        nonlocal sent
        request(handler)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                sent += handler.wfile.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")

    connection = serve(flood)
    try:
        with pytest.raises(ValueError, match=r"no end|too large"):
            connection.post("/", b"", {}, boottime() + PATIENCE)
    finally:
        connection.close()
    assert sent < 64 << 20, "what the sockets hold, and not more"


def test_a_line_of_a_stream_without_end_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "LARGEST", 1 << 20)

    def flood(handler: StreamRequestHandler) -> None:
        request(handler)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")

    connection = serve(flood)
    try:
        with pytest.raises(ValueError, match="no end"):
            next(connection.stream("/", b"", {}))
    finally:
        connection.close()


def test_a_token_cannot_write_a_second_line(serve: Serve) -> None:
    connection = serve(lambda handler: None)
    with pytest.raises(ValueError, match="more than one line"):
        connection.post("/", b"", {"Authorization": "a\r\nHost: b"}, boottime() + PATIENCE)
    connection.close()
