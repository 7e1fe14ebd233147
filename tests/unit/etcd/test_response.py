"""HTTP/1.1 as etcd, and what stands before it, may answer: whole, in pieces, cut off, or something else."""

import pytest

from holdfast.etcd.response import MOST_FIELDS, Closed, Head, Reader, body, head, lines

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 7\r\n\r\npayload"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\npay\r\n4;name=value\r\nload\r\n0\r\n\r\n"


def reader(text: bytes, *, step: int = 1 << 20) -> Reader:
    parts = [text[start : start + step] for start in range(0, len(text), step)]
    return Reader(lambda: parts.pop(0) if parts else b"")


def answer(text: bytes, *, step: int = 1 << 20) -> tuple[Head, bytes]:
    source = reader(text, step=step)
    found = head(source)
    return found, b"".join(body(source, found))


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "last"),
    [
        pytest.param(SIZED, False, id="sized"),
        pytest.param(CHUNKED, False, id="chunked"),
        pytest.param(CHUNKED[:-2] + b"Grpc-Trailer-X: 1\r\n\r\n", False, id="with a trailer"),
        pytest.param(OK + b"\r\npayload", True, id="until it is closed"),
        pytest.param(SIZED.replace(b"\r\n", b"\n"), False, id="lines without CR"),
        pytest.param(SIZED.replace(b"Content-Length: ", b"content-length:"), False, id="spelling"),
        pytest.param(
            SIZED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), True, id="close"
        ),
        pytest.param(SIZED.replace(b"HTTP/1.1", b"HTTP/1.0"), True, id="1.0"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED, False, id="a provisional head"),
        pytest.param(SIZED.replace(b"200 OK", b"200"), False, id="no reason"),
    ],
)
def test_an_answer(text: bytes, last: bool, step: int) -> None:
    found, content = answer(text, step=step)
    assert (found.status, content, found.last) == (200, b"payload", last)


def test_answers_on_one_connection_are_kept_apart() -> None:
    source = reader(CHUNKED + SIZED + OK + b"Content-Length: 0\r\n\r\n")
    assert [b"".join(body(source, head(source))) for _ in range(3)] == [
        b"payload",
        b"payload",
        b"",
    ]


@pytest.mark.parametrize("text", [SIZED, CHUNKED])
def test_an_answer_that_is_cut_off_is_none(text: bytes) -> None:
    for end in range(len(text)):
        with pytest.raises(Closed):
            answer(text[:end])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"\r\n", "does not speak HTTP"),
        (b"HTTP/2 200\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 fine\r\n\r\n", "invalid literal"),
        (OK + b"Content-Length: -7\r\n\r\npayload", "smaller than nothing"),
        (OK + b"Content-Length: 7, 7\r\n\r\npayload", "invalid literal"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "smaller than nothing"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nlarge\r\n", "invalid literal"),
        (OK + b"x: y\r\n" * MOST_FIELDS, "has no end"),
        (OK + b"x" * 100_000, "has no end"),
    ],
)
def test_what_is_no_answer_is_refused(text: bytes, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        answer(text)


def test_a_line_comes_as_soon_as_it_is_whole() -> None:
    parts = iter([b'{"a"', b":1}\n{", b"}\n", b"last"])
    seen = lines(parts)
    assert next(seen) == b'{"a":1}'
    assert next(parts) == b"}\n", "it was not waited for"
    assert list(lines([b"a\nb\n", b"c"])) == [b"a", b"b", b"c"]
