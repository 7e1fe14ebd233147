"""How far a long piece of work is: a bar on a terminal, a line now and then in a log."""

import sys
import time
from typing import Self

from holdfast import log
from holdfast.machine import MIB

WIDTH = 30
EVERY = 10.0  # seconds between two lines in a log


class Progress:
    def __init__(self, what: str) -> None:
        self._what = what
        self._bar = sys.stderr.isatty()
        self._told = time.monotonic()
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            log.show(b"\n")

    def tell(self, doing: str, done: int, total: int) -> None:
        """Tell how far it is, in bytes. `total` is 0 where nobody knows it."""
        if self._bar:
            self._draw(f"{doing} {bar(done, total)} {amount(done, total)}")
        elif time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            log.info(f"{doing} {self._what}: {amount(done, total)}")

    def _draw(self, text: str) -> None:
        self._drawn = True
        log.show(f"\r{text}\x1b[K".encode())


def bar(done: int, total: int) -> str:
    full = min(WIDTH, WIDTH * done // total) if total else 0
    return f"[{'#' * full}{' ' * (WIDTH - full)}]"


def amount(done: int, total: int) -> str:
    if not total or done > total:
        return f"{done // MIB} MiB"
    return f"{done // MIB} of {total // MIB} MiB, {100 * done // total}%"
