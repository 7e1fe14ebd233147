"""Three etcd members at the suite's bridge."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaos.network import Network, run
from etcd import Client, Etcd


class Members(Client):
    """The cluster, with the same ways to read and write as a single etcd."""

    def __init__(self, network: Network, directory: Path, options: Sequence[str] = ()) -> None:
        self.members = [
            Etcd(directory / name, address=network.address, name=name)
            for name in ("m0", "m1", "m2")
        ]
        super().__init__(",".join(member.url for member in self.members))
        self.ports = [member.port for member in self.members]
        self.cluster = ",".join(f"{one.name}={one.peer}" for one in self.members)
        for member in self.members:
            member.flags = [f"--initial-cluster={self.cluster}", *options]

    def start(self) -> None:
        for member in self.members:
            member.launch()
        self.serves()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def leader(self) -> Etcd:
        statuses = json.loads(self.ctl("endpoint", "status", "--write-out=json"))
        for one in statuses:
            if one["Status"]["leader"] == one["Status"]["header"]["member_id"]:
                return next(m for m in self.members if m.url == one["Endpoint"])
        raise AssertionError(f"no leader among {statuses}")

    def revision(self) -> int:
        found = json.loads(self.ctl("get", "x", "--write-out=json"))
        return int(found["header"]["revision"])

    def lease_of(self, key: str) -> str:
        """The lease that a key is bound to, in the form that etcdctl takes."""
        found = json.loads(self.ctl("get", key, "--write-out=json"))
        return f"{found['kvs'][0]['lease']:x}"

    def snapshot(self, path: Path) -> None:
        self.members[0].ctl("snapshot", "save", str(path))

    def restore(self, path: Path) -> None:
        """All members from one snapshot, as an operator does after a disaster."""
        self.stop()
        for member in self.members:
            shutil.rmtree(member.data)
            run(
                *("etcdctl", "snapshot", "restore", path, f"--data-dir={member.data}"),
                *(f"--name={member.name}", f"--initial-cluster={self.cluster}"),
                f"--initial-advertise-peer-urls={member.peer}",
            )
        self.start()

    def wipe(self) -> None:
        """Started with empty directories, by mistake."""
        self.stop()
        for member in self.members:
            shutil.rmtree(member.data)
        self.start()


@contextmanager
def serving(network: Network, directory: Path, *options: str) -> Iterator[Members]:
    directory.mkdir(exist_ok=True)
    members = Members(network, directory, options)
    try:
        members.start()
        yield members
    finally:
        members.stop()
        shutil.rmtree(directory, ignore_errors=True)
