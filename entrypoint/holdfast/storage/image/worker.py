"""The process that reads what strangers have published: `python3 -m holdfast.storage.image.worker`.

It has neither rights nor a way to call for more (`confinement`, `seccomp`), gets descriptors and a request in
JSON, and answers in lines of JSON: progress, and in the end an answer or a fault. What is fetched is unpacked
without a network.
"""

import json
import os
import resource
import sys
import time
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.fetch import http_get
from holdfast.machine import UrlLimits
from holdfast.runtime import sandbox
from holdfast.runtime.seccomp import Filter
from holdfast.storage import qcow2_extent
from holdfast.storage.image.download import Download, Version
from holdfast.storage.image.unpack import digest, unpack

MEMORY = 1024**3
PAUSE = 0.5  # seconds between two lines of progress


class Fetcher:
    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._told = 0.0

    def run(self) -> dict[str, Any]:
        request = self._request
        if request["url"] and not self._download():
            return {"unchanged": True}
        sandbox.put_on(Filter(processes=True))  # zstd is a program
        total = os.fstat(request["source"]).st_size
        if request["checksum"]:
            algorithm, _, wanted = request["checksum"].partition(":")
            found = digest(
                request["source"], algorithm, lambda done: self._tell("checking", done, total)
            )
            if found != wanted:
                return {"mismatch": f"{algorithm}:{found}"}
        unpack(
            request["source"],
            request["target"],
            request["member"],
            request["limit"],
            lambda done: self._tell("unpacking", done, total),
        )
        missing = qcow2_extent.missing(request["target"])
        return {"missing": missing}

    def _download(self) -> bool:
        request = self._request
        asked = http_get.Asked(
            url=request["url"],
            key=request["key"],
            trusted=request["trusted"],
            proxies=request["proxies"],
            reach=UrlLimits(**{name: tuple(places) for name, places in request["reach"].items()}),
        )
        download = Download(
            asked=asked,
            descriptor=request["source"],
            limit=request["limit"],
            kept=Version(**request["kept"]),
            whole=Version(**request["whole"]),
        )
        return download.run(
            lambda version: say({"started": version.as_json()}),
            lambda done, total: self._tell("fetching", done, total),
        )

    def _tell(self, what: str, done: int, total: int) -> None:
        if (now := time.monotonic()) - self._told > PAUSE:
            self._told = now
            say({"progress": [what, done, total]})


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def confine(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    request = json.load(sys.stdin)
    confine(request["limit"])
    try:
        say({"answer": Fetcher(request).run()})
    except HoldfastError as error:
        fault = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        say({"fault": fault})
    except (OSError, MemoryError) as error:
        message = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        say({"fault": {"kind": "HostLacks", "message": message, "hint": ""}})


if __name__ == "__main__":
    main()
