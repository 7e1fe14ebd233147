"""Three etcd members at the suite's bridge."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaos.network import Network, run
from etcd import Etcd


class Member:
    """One process. Killed and started again, it keeps its data."""

    def __init__(self, number: int, network: Network, directory: Path) -> None:
        self.name = f"m{number}"
        self.port = network.free_port()
        self.url = f"http://{network.address}:{self.port}"
        self.peer = f"http://{network.address}:{network.free_port()}"
        self.data = directory / self.name
        self._log = directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str, options: Sequence[str]) -> None:
        command = [
            "etcd",
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self.peer}",
            f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={cluster}",
            "--unsafe-no-fsync",
            *options,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


class Members(Etcd):
    """The cluster, with the same ways to read and write as a single etcd."""

    def __init__(self, network: Network, directory: Path, options: Sequence[str] = ()) -> None:
        self.members = [Member(number, network, directory) for number in range(3)]
        self.ports = [member.port for member in self.members]
        self.url = ",".join(member.url for member in self.members)
        self.peers = ",".join(f"{one.name}={one.peer}" for one in self.members)
        self.client: list[str] = []
        self._options = options

    def start(self) -> None:
        for member in self.members:
            self.start_member(member)
        self.serves()

    def start_member(self, member: Member) -> None:
        member.start(self.peers, self._options)

    def serves(self, timeout: float = 30) -> None:
        """Wait until a majority commits."""
        deadline = time.monotonic() + timeout
        while not self.commits():
            assert time.monotonic() < deadline, "etcd does not come up"
            time.sleep(0.1)

    def commits(self) -> bool:
        done = subprocess.run(
            ["etcdctl", f"--endpoints={self.url}", "--command-timeout=1s", "get", "x"],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def stop(self) -> None:
        for member in self.members:
            member.kill()

    def pause(self) -> None:
        for member in self.members:
            member.pause()

    def resume(self) -> None:
        for member in self.members:
            member.resume()

    def leader(self) -> Member:
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
        run("etcdctl", f"--endpoints={self.members[0].url}", "snapshot", "save", path)

    def restore(self, path: Path) -> None:
        """All members from one snapshot, as an operator does after a disaster."""
        self.stop()
        for member in self.members:
            shutil.rmtree(member.data)
            run(
                *("etcdctl", "snapshot", "restore", path, f"--data-dir={member.data}"),
                *(f"--name={member.name}", f"--initial-cluster={self.peers}"),
                f"--initial-advertise-peer-urls={member.peer}",
            )
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
