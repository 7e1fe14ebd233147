"""What the process that fetches says to the launcher, which believes none of it."""

import tempfile
from collections.abc import Sequence

from fuzz.inputs import SCRATCH

from holdfast.errors import HoldfastError
from holdfast.machine import Source
from holdfast.runtime.confinement import Identity
from holdfast.runtime.worker import idle
from holdfast.storage.image.client import Client
from holdfast.storage.image.partial import FetchRequest, Partial


class Told(Client):
    """A fetch of which nothing is true but these lines."""

    lines: Sequence[str] = ()

    def _ask(self, _: object) -> dict[str, object]:
        return self._answer(self.lines)


def fetcher(data: bytes) -> None:
    """What the process that fetches says. What is said of it is one short line, and its image is no system."""
    (SCRATCH / "partial").mkdir(exist_ok=True)
    request = FetchRequest(source=Source(image="http://192.0.2.1/"), key="disks/r/source/image",
                           limit=1 << 20, opened=0, stamp="", known=None)  # fmt: skip
    with tempfile.TemporaryFile(dir=SCRATCH) as target:
        target.write(b"<html>")
        target.flush()
        client = Told(
            Partial(SCRATCH, "i"), request, target.fileno(), Identity(uid=1, gid=1), idle
        )
        client.lines = [one.decode(errors="replace") for one in data.split(b"\n")]
        try:
            client.run()
        except HoldfastError as error:
            said = error.lines()
            assert len(said) <= 2
            assert all(len(line) < 2000 and line.isprintable() for line in said), said
            raise
