"""Images in Ceph as the suite sees them: their sectors, who has them open, and who is shut out."""

import json
import threading
import time
from typing import Any, Self

from ceph import Ceph
from chaos import journal
from chaos.watcher import Sighting

PERIOD = 0.2  # seconds between two looks at who has the images open


class Cluster:
    """A client of the suite's own. It opens images read-only, and so is no watcher itself."""

    def __init__(self, ceph: Ceph) -> None:
        import rados  # noqa: PLC0415 - only the distribution's Python has it

        self._rados = rados.Rados(conffile=str(ceph.conf), name="client.admin")
        self._rados.connect()
        self._io = self._rados.open_ioctx("rbd")

    def close(self) -> None:
        self._io.close()
        self._rados.shutdown()

    def image(self, name: str) -> Any:
        import rbd  # noqa: PLC0415

        return rbd.Image(self._io, name, read_only=True)

    def blocklist(self) -> set[str]:
        # A list of addresses, and behind it one of ranges.
        answer = self._ask(prefix="osd blocklist ls", format="json")
        entries, _ = json.JSONDecoder().raw_decode(answer)
        return {entry["addr"] for entry in entries}

    def expire(self, entry: str, seconds: float) -> None:
        """As if the entry had been made for so long only. The tool `ceph` takes a second for each call."""
        self._ask(prefix="osd blocklist", blocklistop="rm", addr=entry)
        self._ask(prefix="osd blocklist", blocklistop="add", addr=entry, expire=seconds)

    def _ask(self, **request: str | float) -> str:
        status, answer, said = self._rados.mon_command(json.dumps(request), b"")
        assert status == 0, said
        return str(answer.decode())


class RbdDisk:
    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.name = name

    def read(self) -> bytes:
        with self._cluster.image(self.name) as image:
            data: bytes = image.read(0, image.size())
            return data

    def block(self, sector: int) -> bytes:
        with self._cluster.image(self.name) as image:
            data: bytes = image.read(sector * journal.SECTOR, journal.SECTOR)
            return data


class Clients(threading.Thread):
    """Writes down which clients have an image open for writing, and answers the watcher's question.

    A host of the suite's has an address of its own, so a client's address says whose it is: no
    record of a launcher's is needed to judge it.
    """

    def __init__(self, cluster: Cluster, addresses: dict[int, str]) -> None:
        super().__init__(name="clients", daemon=True)
        self.cluster = cluster
        self._addresses = addresses  # of the hosts, by the inode of their network namespace
        self._seen: dict[str, dict[str, float]] = {}
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.join()

    def watch(self, image: str) -> None:
        self._seen[image] = {}

    def forget(self, image: str) -> None:
        del self._seen[image]

    def run(self) -> None:
        while not self._closed.wait(PERIOD):
            for name, seen in list(self._seen.items()):
                with self.cluster.image(name) as image:
                    for watcher in image.watchers_list():
                        seen[watcher["addr"]] = time.monotonic()

    def fenced(self, qemu: Sighting) -> bool:
        """Every client of its host that was seen while it ran is on Ceph's blocklist, and one was."""
        address = self._addresses[qemu.namespace]
        seen = self._seen.get(qemu.vm, {})
        clients = {
            client
            for client, when in seen.items()
            if client.startswith(f"{address}:") and when >= qemu.since
        }
        return bool(clients) and clients <= self.cluster.blocklist()
