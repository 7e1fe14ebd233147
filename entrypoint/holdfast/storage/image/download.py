"""The file behind a URL, into a descriptor: what is there already is kept, if the server still has that."""

import os
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

from holdfast.dataclass import asdict, dataclass
from holdfast.errors import ConfigError, Unreachable
from holdfast.fetch import http_get
from holdfast.fetch.deadline import Patience

PARTIAL, UNMODIFIED, UNSATISFIABLE = 206, 304, 416
PAGES = ("text/html", "application/xhtml+xml")
STALL = 60.0  # seconds without a byte
CHUNK = 1024**2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Version:
    """What tells one state of a file on a server from another (RFC 9110, validators)."""

    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, response: HTTPResponse) -> "Version":
        etag = response.getheader("ETag", "")
        # A weak one says "alike", which is not enough for bytes.
        strong = "" if etag.startswith("W/") else etag
        return cls(etag=strong, modified=response.getheader("Last-Modified", ""))

    @property
    def validator(self) -> str:
        return self.etag or self.modified

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Download:
    """`kept` is the version of what the descriptor holds of an earlier try; `whole` the one that a cache
    has, and that need not be sent again.
    """

    asked: http_get.Asked
    descriptor: int
    limit: int
    kept: Version
    whole: Version

    def run(self, started: Callable[[Version], None], progress: Progress) -> bool:
        """Download the image. False: the cache's version is still the newest. `started` is told before the first byte."""
        have = os.fstat(self.descriptor).st_size if self.kept.validator else 0
        headers = {}
        if have:
            headers = {"Range": f"bytes={have}-", "If-Range": self.kept.validator}
        elif self.whole.etag:
            headers = {"If-None-Match": self.whole.etag}
        elif self.whole.modified:
            headers = {"If-Modified-Since": self.whole.modified}
        asked = http_get.Asked(**{**vars(self.asked), "headers": headers, "seconds": STALL})

        def read(response: HTTPResponse) -> bool:
            return self._read(response, have, started, progress)

        return http_get.follow(asked, Patience(STALL), read)

    def _read(
        self,
        response: HTTPResponse,
        have: int,
        started: Callable[[Version], None],
        progress: Progress,
    ) -> bool:
        if response.status == UNMODIFIED and self.whole.validator:
            return False
        if response.status == UNSATISFIABLE and have:
            return True  # all of it was there
        if response.status not in (http_get.OK, PARTIAL):
            http_get.refuse(response)
        if response.status == PARTIAL and not response.getheader("Content-Range", "").startswith(
            f"bytes {have}-"
        ):
            raise ConfigError("sends another part than was asked for")
        if response.headers.get_content_type() in PAGES:
            # Of a log-in, an error or an index; no server says this of an image.
            raise ConfigError("answers with a page of HTML, and not with a file")
        start = have if response.status == PARTIAL else 0
        os.ftruncate(self.descriptor, start)
        os.lseek(self.descriptor, start, os.SEEK_SET)
        started(Version.of(response))
        self._copy(response, start, progress)
        return True

    def _copy(self, response: HTTPResponse, start: int, progress: Progress) -> None:
        total = start + (response.length or 0)
        done = start
        try:
            while data := response.read(CHUNK):
                done += len(data)
                if done > self.limit:
                    raise ConfigError(f"is larger than {self.limit} bytes")
                write_all(self.descriptor, data)
                progress(done, total)
        except IncompleteRead as error:
            raise Unreachable("ends its answer too early") from error
        except HTTPException as error:
            raise Unreachable(f"breaks off: {type(error).__name__}") from error
        if response.length:
            raise Unreachable("ends its answer too early")


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
