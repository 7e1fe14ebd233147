"""A real etcd for tests: started on free ports, ended with the test."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Etcd:
    """One member. `stop` and `start` keep its data; `pause` leaves its sockets open and mute."""

    def __init__(
        self, directory: Path, *flags: str, scheme: str = "http", client: Sequence[str] = ()
    ) -> None:
        """`flags` are etcd's, `client` those that etcdctl needs to reach it."""
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.flags = list(flags)
        self.client = list(client)
        self._peer = f"http://127.0.0.1:{free_port()}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            "etcd",
            f"--data-dir={self._directory}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self._peer}",
            f"--initial-advertise-peer-urls={self._peer}",
            f"--initial-cluster=default={self._peer}",
            "--unsafe-no-fsync",
            *self.flags,
        ]
        with (self._directory.parent / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, "etcd does not come up"

    @property
    def _etcdctl(self) -> list[str]:
        return ["etcdctl", f"--endpoints={self.url}", *self.client]

    def _answers(self) -> bool:
        done = subprocess.run(
            [*self._etcdctl, "--command-timeout=1s", "endpoint", "health"],
            capture_output=True,
            env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            check=False,
        )
        return done.returncode == 0

    def stop(self) -> None:
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

    def ctl(self, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [*self._etcdctl, *arguments],
            capture_output=True,
            text=True,
            input=text,
            env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def put(self, vm: str, **keys: str) -> None:
        """Keys of a VM; `__` stands for a slash, `_` for itself."""
        for key, value in keys.items():
            # Through standard input: a value may begin with a dash.
            self.ctl("put", f"/kvm/{vm}/{key.replace('__', '/')}", text=value)

    def get(self, key: str) -> str | None:
        lines = self.ctl("get", key, "--print-value-only").rstrip("\n")
        return lines or None

    def keys(self, prefix: str) -> list[str]:
        return [
            line
            for line in self.ctl("get", "--prefix", prefix, "--keys-only").splitlines()
            if line
        ]


@contextlib.contextmanager
def serving(
    directory: Path, *flags: str, scheme: str = "http", client: Sequence[str] = ()
) -> Iterator[Etcd]:
    etcd = Etcd(directory / "data", *flags, scheme=scheme, client=client)
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.stop()
        shutil.rmtree(directory / "data", ignore_errors=True)
