"""An HTTP/1.1 response, read from whatever gives bytes: the little of RFC 9112 that the client of one server needs.

http.client would be 5 ms of each start, most of them for a parser of mail, and half a MiB beside each VM.
"""

from collections.abc import Callable, Iterable, Iterator

from holdfast.dataclass import dataclass

LONGEST_LINE, MOST_FIELDS = 64 * 1024, 256  # of a head
LARGEST = 16 << 20  # bytes of an answer, or of a line of a stream
PROVISIONAL = range(100, 200)  # the real head follows (RFC 9110, 15.2)


class Closed(ConnectionError):
    def __init__(self) -> None:
        super().__init__("the other end has closed the connection")


class Reader:
    """What comes over a connection, by the line or by the number. `receive` gives b"" at its end.

    Raises Closed, and what `receive` does.
    """

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._waiting = bytearray()

    def line(self) -> bytes:
        """Read a line, without what ends it."""
        while (end := self._waiting.find(b"\n")) < 0:
            if len(self._waiting) > LONGEST_LINE:
                raise ValueError("a line of the answer has no end")
            self._more()
        return self._taken(end + 1).rstrip(b"\r\n")

    def exactly(self, size: int) -> bytes:
        while len(self._waiting) < size:
            self._more()
        return self._taken(size)

    def rest(self) -> Iterator[bytes]:
        """Yield what comes until the connection's end."""
        yield self._taken(len(self._waiting))
        while part := self._receive():
            yield part

    def _more(self) -> None:
        part = self._receive()
        if not part:
            raise Closed
        self._waiting += part

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        return taken


@dataclass(frozen=True, kw_only=True)
class Head:
    """`size` is in bytes; None: the body is chunked, or ends with the connection."""

    status: int
    size: int | None
    chunked: bool
    last: bool  # on this connection


def head(reader: Reader) -> Head:
    """Read the head of an answer. Raises ValueError for what is no HTTP."""
    found = _head(reader)
    while found.status in PROVISIONAL:
        found = _head(reader)
    return found


def _head(reader: Reader) -> Head:
    version, status, *_ = [*reader.line().split(None, 2), b"", b""]
    if not version.startswith(b"HTTP/1."):
        raise ValueError("what answers does not speak HTTP/1")
    fields = dict(_fields(reader))
    chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
    size = None if chunked or b"content-length" not in fields else _size(fields[b"content-length"])
    closes = b"close" in fields.get(b"connection", b"close" if version == b"HTTP/1.0" else b"")
    return Head(
        status=int(status),
        size=size,
        chunked=chunked,
        last=closes or not (chunked or size is not None),
    )


def _fields(reader: Reader) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(MOST_FIELDS):
        if not (line := reader.line()):
            return
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip().lower()
    raise ValueError("the head of the answer has no end")


def whole(reader: Reader, head: Head) -> bytes:
    """Read the body of an answer that is no stream."""
    found = bytearray()
    for part in body(reader, head):
        found += part
        if len(found) > LARGEST:
            raise ValueError("the answer has no end")
    return bytes(found)


def body(reader: Reader, head: Head) -> Iterator[bytes]:
    """Yield the body in parts, as they come."""
    if head.chunked:
        yield from _chunks(reader)
    elif head.size is None:
        yield from reader.rest()
    else:
        yield reader.exactly(head.size)


def _chunks(reader: Reader) -> Iterator[bytes]:
    while size := _size(reader.line().partition(b";")[0], base=16):
        yield reader.exactly(size)
        reader.line()
    for _ in _fields(reader):  # the trailer: nothing in it is for us
        pass


def _size(text: bytes, base: int = 10) -> int:
    size = int(text, base)
    if size < 0:
        raise ValueError("a part of the answer is smaller than nothing")
    if size > LARGEST:
        raise ValueError("a part of the answer is too large")
    return size


def lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each line as soon as it is whole."""
    rest = bytearray()
    for part in parts:
        end, *others = part.split(b"\n")
        rest += end
        for line in others:
            yield bytes(rest)
            rest = bytearray(line)
        if len(rest) > LARGEST:
            raise ValueError("a line of the answer has no end")
    if rest:
        yield bytes(rest)
