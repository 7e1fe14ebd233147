"""The fetch against real servers on loopback, most of them hostile.

No test waits for a hostile server to be done: where a limit did not hold, the server would end
its answer well, and the fetch would not fail as it must.
"""

import gzip
import os
import ssl
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET, EAI_AGAIN, EAI_NONAME, SOCK_STREAM, gaierror, socket
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from typing import Any

import pytest
from processes.netns import NEEDS_ROOT, namespaces, run

from holdfast.errors import ConfigError, Unreachable
from holdfast.fetch import deadline, http_get, route
from holdfast.fetch.deadline import MOST_HEAD, Patience
from holdfast.machine import UrlLimits

pytestmark = pytest.mark.processes

Answer = Callable[[socket], None]
KEY = "cloud-config"
SECRET = "hunter2"  # noqa: S105 - looked for in messages


class Server(ThreadingTCPServer):
    """Reads a request's head, keeps it, and lets `answer` do what it likes with the socket."""

    daemon_threads = True

    def __init__(self, answer: Answer, context: ssl.SSLContext | None, host: str) -> None:
        super().__init__((host, 0), BaseRequestHandler)
        self.answer = answer
        self.context = context
        self.requests: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(5)  # who says nothing is hung up on
        try:
            with (
                self.context.wrap_socket(request, server_side=True)
                if self.context
                else request as s
            ):
                head = b""
                while b"\r\n\r\n" not in head and (got := s.recv(4096)):
                    head += got
                self.requests.append(head.decode("latin-1"))
                self.answer(s)
        except OSError:
            pass  # the fetch has seen enough and hung up


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(
        answer: Answer | bytes, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> Server:
        server = Server(answer if callable(answer) else lambda s: s.sendall(answer), context, host)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def http(
    body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def moved(location: str, status: str = "302 Found") -> bytes:
    return http(b"", f"Location: {location}", status=status)


def get(url: str, **limits: Any) -> bytes:
    return http_get.get(url, key=KEY, **{"trusted": True, "seconds": 20, **limits})


def test_the_body_comes_as_it_is(serve: Serve) -> None:
    body = bytes(range(256))
    server = serve(http(body))
    assert get(f"{server.url}a%20b?c=d&e#f") == body
    assert server.requests[0].splitlines()[:2] == [
        "GET /a%20b?c=d&e HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
    ]


def test_a_body_may_come_in_chunks_or_end_with_the_connection(serve: Serve) -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    assert get(serve(chunks).url) == b"abcde"
    assert get(serve(b"HTTP/1.0 200 OK\r\n\r\nabcde").url) == b"abcde"


def test_credentials_of_the_url_are_sent(serve: Serve) -> None:
    server = serve(http())
    get(f"http://me:p%40w@127.0.0.1:{server.port}/")
    assert "Authorization: Basic bWU6cEB3" in server.requests[0].splitlines()


def test_no_proxy_is_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert get(serve(http(b"direct")).url) == b"direct"


def test_no_cookie_is_sent_back(serve: Serve) -> None:
    answers = iter([http(b"", "Location: /", "Set-Cookie: a=b", status="302 Found"), http(b"x")])
    server = serve(lambda s: s.sendall(next(answers)))
    get(server.url)
    assert len(server.requests) == 2
    assert "cookie" not in server.requests[1].lower()


# Size


def endless(head: bytes, piece: bytes) -> Answer:
    def answer(s: socket) -> None:
        s.sendall(head)
        for _ in range(64):
            s.sendall(piece)

    return answer


PIECE = b"x" * 65536


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(http(b"x" * 1001), id="announced"),
        pytest.param(http(b"x" * 1001, length=10 * 1024**3), id="10 GiB announced"),
        pytest.param(endless(b"HTTP/1.0 200 OK\r\n\r\n", PIECE), id="to the connection's end"),
        pytest.param(
            endless(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"10000\r\n" + PIECE + b"\r\n",
            ),
            id="chunks",
        ),
        pytest.param(http(gzip.compress(b"x" * 1001), "Content-Encoding: gzip"), id="gzip"),
    ],
)
def test_a_body_over_the_limit_is_refused(serve: Serve, answer: Answer | bytes) -> None:
    with pytest.raises(ConfigError, match="larger than 1000 bytes"):
        get(serve(answer).url, limit=1000)


@pytest.mark.parametrize("size", [0, 999, 1000])
def test_a_body_within_the_limit_is_taken(serve: Serve, size: int) -> None:
    assert get(serve(http(b"x" * size)).url, limit=1000) == b"x" * size


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP"])
def test_a_gzip_encoding_is_decoded(serve: Serve, name: str) -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    assert get(serve(http(packed, f"Content-Encoding: {name}")).url) == b"one two"


def test_a_gzip_bomb_does_not_go_off(serve: Serve) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1024**2)) for _ in range(128)) + packer.flush()
    server = serve(http(bomb, "Content-Encoding: gzip"))
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
            get(server.url)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "body", "rule"),
    [
        ("gzip", b"not gzip at all", "damaged"),
        ("gzip", gzip.compress(b"x")[:-8] + b"\0" * 8, "damaged"),
        ("br", b"x", "encoding 'br'"),
        ("gzip, gzip", b"x", "encoding 'gzip, gzip'"),
        ("\x1b[31m", b"x", "encoding '"),
    ],
)
def test_an_encoding_that_is_not_understood_is_refused(
    serve: Serve, encoding: str, body: bytes, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule) as error:
        get(serve(http(body, f"Content-Encoding: {encoding}")).url)
    assert "\x1b" not in error.value.message


# Time


def drip(before: bytes, dripped: bytes, after: bytes) -> Answer:
    """An answer that is good, but takes its time for the middle: a byte every 20 ms."""

    def answer(s: socket) -> None:
        s.sendall(before)
        for byte in dripped:
            Event().wait(0.02)
            s.sendall(bytes([byte]))
        s.sendall(after)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(drip(b"", b" " * 100, http(b"x")), id="status line"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 100, b"\r\n\r\nx"), id="header"),
        pytest.param(drip(http(length=100), b"x" * 100, b""), id="body"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100, b""), id="endless body"),
        pytest.param(
            drip(
                http(b"", "Content-Encoding: gzip", length=100), gzip.compress(os.urandom(90)), b""
            ),
            id="gzip",
        ),
        pytest.param(lambda s: Event().wait(2) and None, id="nothing"),
    ],
)
def test_a_slow_server_cannot_extend_the_time(serve: Serve, answer: Answer) -> None:
    with pytest.raises(Unreachable, match=r"no full answer within 0\.3 s"):
        get(serve(answer).url, seconds=0.3)


def test_a_head_has_an_end(serve: Serve) -> None:
    """Each of these answers says that another one follows."""

    def answer(s: socket) -> None:
        for _ in range(MOST_HEAD // 1000):
            s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        s.sendall(http(b"x"))

    with pytest.raises(Unreachable, match="head"):
        get(serve(answer).url, seconds=600)


class Now:
    """The time, as far as it has come."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def waited(now: Now, seconds: float, *, count: int, every: float) -> None:
    """For a server that sends `count` bytes in each pause of `every` seconds."""
    clock = Patience(60)
    while now.seconds < seconds:
        if clock.left() < every:
            raise TimeoutError
        now.seconds += every
        clock.heard(count)


@pytest.mark.parametrize(
    ("count", "every", "kept"),
    [
        pytest.param(1, 59, False, id="a byte a minute"),
        pytest.param(500, 1, False, id="less than a modem"),
        pytest.param(2048, 1, True, id="slow"),
        pytest.param(10**6, 59, True, id="in bursts"),
        pytest.param(10**9, 61, False, id="nothing for a minute"),
    ],
)
def test_a_download_may_take_long_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, count: int, every: float, kept: bool
) -> None:
    now = Now()
    monkeypatch.setattr(deadline, "time", now)
    if kept:
        waited(now, 86400, count=count, every=every)
    else:
        with pytest.raises((Unreachable, TimeoutError)):
            waited(now, 86400, count=count, every=every)
        assert now.seconds < 1300


def test_redirects_do_not_extend_the_time(serve: Serve) -> None:
    server = serve(drip(b"", b"", moved("/")))

    def slowly(s: socket) -> None:
        Event().wait(0.2)
        s.sendall(moved("/"))

    server.answer = slowly
    with pytest.raises(Unreachable, match=r"within 0\.3 s"):
        get(server.url, seconds=0.3)


def test_a_slow_name_service_cannot_extend_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Event()

    def late(*_: Any, **__: Any) -> list[Any]:
        done.wait(5)
        return []

    monkeypatch.setattr(route, "getaddrinfo", late)
    with pytest.raises(Unreachable, match=r"within 0\.2 s"):
        get("http://example.org/", seconds=0.2)
    done.set()


# Redirects


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
def test_a_redirect_is_followed(serve: Serve, status: str) -> None:
    answers = iter([moved("b?c", status), http(b"there")])
    server = serve(lambda s: s.sendall(next(answers)))
    assert get(f"{server.url}a/a") == b"there"
    assert server.requests[1].startswith("GET /a/b?c ")


def test_as_many_redirects_as_allowed_are_followed(serve: Serve) -> None:
    answers = iter([*[moved("/")] * 5, http(b"there")])
    assert get(serve(lambda s: s.sendall(next(answers))).url) == b"there"


def test_a_redirect_loop_ends(serve: Serve) -> None:
    server = serve(moved("/"))
    with pytest.raises(ConfigError, match="redirected more than 5 times"):
        get(server.url)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("file:///etc/passwd", "does not start with http:// or https://"),
        ("ftp://192.0.2.1/", "does not start with http:// or https://"),
        ("http://169.254.169.254/latest/", "a link-local address"),
        ("http://[fd00:ec2::254]/", "a cloud metadata address"),
        ("http://2852039166/", "a link-local address"),
        ("http://[::1]/", "a loopback address"),
        ("http://[", "not a URL"),
        ("http://exam\x1bple.org/", "cannot hold"),
    ],
)
def test_a_redirect_to_where_it_may_not_is_refused(serve: Serve, location: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as error:
        get(serve(moved(location)).url)
    assert "\x1b" not in "".join(error.value.lines())


def test_trust_ends_at_the_server_that_the_operator_named(serve: Serve) -> None:
    other = serve(http(b"etcd, say"))
    with pytest.raises(ConfigError, match=r"is redirected to .* a loopback address"):
        get(serve(moved(other.url)).url)
    assert other.requests == []


def test_a_redirect_without_a_place_is_an_answer_like_others(serve: Serve) -> None:
    with pytest.raises(ConfigError, match="answers 302 Found"):
        get(serve(http(status="302 Found")).url)


# Where a stranger may not lead


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "0",
        "0.0.0.0",  # noqa: S104 - as a URL names it
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "169.254.169.254",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "[64:ff9b::127.0.0.1]",
        "me:pw@127.0.0.1",
        "example.org@127.0.0.1",
    ],
)
def test_a_strangers_url_does_not_lead_here(serve: Serve, host: str) -> None:
    server = serve(http(b"secret"))
    with pytest.raises(ConfigError, match=r"cloud-config: .*leads to .* address") as error:
        get(f"http://{host}:{server.port}/", trusted=False)
    assert "CLOUD_CONFIG" in error.value.hint
    assert server.requests == []


@pytest.fixture
def here() -> Iterator[str]:
    """An address of this host that others know it by, in a network of the test's own."""
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    with namespaces():
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", "10.99.0.1/24", "dev", "lo")
        run("ip", "address", "add", "10.99.0.2/24", "dev", "lo")  # of a subnet the second
        yield "10.99.0.2"


def test_a_strangers_url_does_not_lead_to_an_address_of_this_host(here: str, serve: Serve) -> None:
    server = serve(http(b"secret"), host=here)
    url = f"http://{here}:{server.port}/"
    with pytest.raises(ConfigError, match=f"leads to {here}, an address of this host") as error:
        get(url, trusted=False)
    opened = f"{here}:{server.port}"
    assert f'reachable = ["{opened}"]' in error.value.hint
    with pytest.raises(ConfigError, match="an address of this host"):
        get(url.replace(here, f"[::ffff:{here}]"), trusted=False)
    assert server.requests == []
    assert get(url, trusted=False, reach=UrlLimits(reachable=(opened,))) == b"secret"
    assert get(url) == b"secret"


def rows(*addresses: tuple[str, int]) -> list[Any]:
    return [(AF_INET, SOCK_STREAM, 6, "", address) for address in addresses]


def test_a_name_that_leads_here_too_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(http())
    found = rows(("198.51.100.7", server.port), ("127.0.0.1", server.port))
    monkeypatch.setattr(route, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ConfigError, match=r"leads to 127\.0\.0\.1"):
        get(f"http://example.org:{server.port}/", trusted=False)
    assert server.requests == []


def test_the_address_that_was_checked_is_the_one_connected_to(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = serve(http(b"right")), serve(http(b"wrong"))
    answers = iter([rows(("127.0.0.1", right.port)), rows(("127.0.0.1", wrong.port))])
    monkeypatch.setattr(route, "getaddrinfo", lambda *_, **__: next(answers))
    assert get("http://rebind.example/") == b"right"
    assert "Host: rebind.example" in right.requests[0].splitlines()
    assert wrong.requests == []


def test_the_next_address_is_tried(
    serve: Serve, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rows(("127.0.0.1", closed), ("127.0.0.1", serve(http(b"second")).port))
    monkeypatch.setattr(route, "getaddrinfo", lambda *_, **__: found)
    assert get("http://example.org/") == b"second"


# Servers that are not there, not well, or no HTTP servers


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that refuses connections: bound, so that nobody else gets it, and not listening."""
    with socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


def test_a_refused_connection_may_pass(closed: int) -> None:
    with pytest.raises(Unreachable, match="Connection refused") as error:
        get(f"http://127.0.0.1:{closed}/")
    assert error.value.message.startswith(f"{KEY}: 'http://127.0.0.1:{closed}/': ")
    assert error.value.status == 69


@pytest.mark.parametrize(
    ("number", "error"), [(EAI_NONAME, ConfigError), (EAI_AGAIN, Unreachable)]
)
def test_a_missing_name_is_wrong_and_a_missing_name_server_may_pass(
    number: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> list[Any]:
        raise gaierror(number, "no")

    monkeypatch.setattr(route, "getaddrinfo", fail)
    with pytest.raises(error):
        get("http://example.org/")


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "." * 3])
def test_a_host_that_can_be_no_name_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="host that does not exist"):
        get(f"http://{host}/")


@pytest.mark.parametrize(
    "status", ["401 x", "403 x", "404 x", "410 x", "204 x", "206 x", "304 x", "400 x"]
)
def test_an_answer_that_will_not_change_is_a_fault(serve: Serve, status: str) -> None:
    with pytest.raises(ConfigError, match=f"answers {status[:3]} [A-Z]") as error:
        get(serve(http(b"x", status=status)).url)
    assert error.value.status == 78


@pytest.mark.parametrize("status", ["500 x", "502 x", "503 x", "504 x", "599 x", "429 x", "408 x"])
def test_an_answer_that_may_change_is_not(serve: Serve, status: str) -> None:
    with pytest.raises(Unreachable, match=f"answers {status[:3]}"):
        get(serve(http(b"x", status=status)).url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        http(b"x" * 9, length=10),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        http(gzip.compress(b"x" * 99)[:-9], "Content-Encoding: gzip"),
        http(gzip.compress(b"x" * 99)[:-9], "Content-Encoding: gzip", length=99),
    ],
)
def test_an_early_end_is_never_a_whole_body(serve: Serve, answer: bytes) -> None:
    with pytest.raises(Unreachable):
        get(serve(answer).url)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2 \x1b[31m\r\n",
        b"HTTP/1.1 " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_what_is_not_http_is_said_so_without_its_text(serve: Serve, answer: bytes) -> None:
    with pytest.raises(Unreachable) as error:
        get(serve(answer).url)
    assert SECRET not in error.value.message
    assert "\x1b" not in error.value.message


@pytest.mark.parametrize("status", ["404 x", "500 x"])
def test_an_error_shows_no_secret_of_the_url(serve: Serve, status: str) -> None:
    server = serve(http(status=status))
    with pytest.raises((ConfigError, Unreachable)) as error:
        get(f"http://me:{SECRET}@127.0.0.1:{server.port}/a?token={SECRET}")
    assert SECRET not in "\n".join(error.value.lines())
    assert f"http://127.0.0.1:{server.port}/a" in error.value.message


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    # The key comes first in the file; what trusts the certificate skips it.
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.mark.usefixtures("trusting")
def test_https_is_spoken(serve: Serve, tls: ssl.SSLContext) -> None:
    server = serve(http(b"safe"), tls)
    assert get(f"https://localhost:{server.port}/") == b"safe"


def test_a_certificate_of_nobody_known_is_a_fault(serve: Serve, tls: ssl.SSLContext) -> None:
    server = serve(http(b"safe"), tls)
    with pytest.raises(ConfigError, match="certificate that is not trusted"):
        get(f"https://localhost:{server.port}/")
    assert server.requests == []


@pytest.mark.usefixtures("trusting")
def test_a_certificate_for_another_name_is_a_fault(serve: Serve, tls: ssl.SSLContext) -> None:
    server = serve(http(b"safe"), tls)
    with pytest.raises(ConfigError, match="certificate that is not trusted"):
        get(f"https://127.0.0.1:{server.port}/")


@pytest.mark.usefixtures("trusting")
def test_a_redirect_down_to_http_is_refused(serve: Serve, tls: ssl.SSLContext) -> None:
    plain = serve(http(b"open"))
    server = serve(moved(f"http://localhost:{plain.port}/"), tls)
    with pytest.raises(ConfigError, match="from https down to"):
        get(f"https://localhost:{server.port}/")
    assert plain.requests == []


@pytest.mark.usefixtures("trusting")
def test_a_slow_server_cannot_extend_the_time_by_tls(serve: Serve, tls: ssl.SSLContext) -> None:
    server = serve(drip(http(length=100), b"x" * 100, b""), tls)
    with pytest.raises(Unreachable, match=r"within 0\.3 s"):
        get(f"https://localhost:{server.port}/", seconds=0.3)


def test_a_handshake_that_is_never_answered_ends(serve: Serve) -> None:
    server = serve(http())  # waits for the end of a head, which a TLS hello is not
    with pytest.raises(Unreachable, match=r"within 0\.3 s"):
        get(f"https://127.0.0.1:{server.port}/", seconds=0.3)


# -- proxies, for the operator's own


def test_an_http_url_goes_through_the_proxy(serve: Serve) -> None:
    server = serve(http(b"abc"))
    proxies = {"http_proxy": f"http://me:p%40w@127.0.0.1:{server.port}"}
    assert get("http://images.invalid/a?b", proxies=proxies) == b"abc"
    lines = server.requests[0].splitlines()
    assert lines[0] == "GET http://images.invalid/a?b HTTP/1.1"
    assert "Host: images.invalid" in lines
    assert "Proxy-Authorization: Basic bWU6cEB3" in lines


@pytest.mark.usefixtures("trusting")
def test_an_https_url_goes_through_the_proxy(serve: Serve, tls: ssl.SSLContext) -> None:
    def led_on(sock: socket) -> None:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with tls.wrap_socket(sock, server_side=True) as led:
            assert led.recv(4096).startswith(b"GET /a HTTP/1.1")
            led.sendall(http(b"abc"))

    server = serve(led_on)
    proxies = {"https_proxy": f"127.0.0.1:{server.port}"}
    assert get("https://localhost:4/a", proxies=proxies) == b"abc"
    assert server.requests[0].splitlines()[0] == "CONNECT localhost:4 HTTP/1.1"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\n\r\n", b"", b"x\r\n\r\n", b"a" * 99999])
def test_a_proxy_that_does_not_lead_on(serve: Serve, answer: bytes) -> None:
    server = serve(answer)
    with pytest.raises(Unreachable, match=r"is not led on by the proxy|cannot be reached"):
        get("https://images.invalid/", proxies={"https_proxy": server.url})


def test_a_strangers_url_goes_through_none(serve: Serve) -> None:
    server = serve(http(b"abc"))
    with pytest.raises(ConfigError, match="a loopback address"):
        get("http://127.0.0.1/", trusted=False, proxies={"http_proxy": server.url})
    assert server.requests == []


def test_no_proxy_is_heeded(serve: Serve) -> None:
    server = serve(http(b"abc"))
    proxies = {"http_proxy": "http://proxy.invalid:3128", "no_proxy": "example.org,127.0.0.0/8"}
    assert get(server.url, proxies=proxies) == b"abc"
