"""A real etcd for tests: started on free ports, ended with the test."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deadline import PATIENCE


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def where(vm: str, key: str, prefix: str = "/kvm") -> str:
    """A key of a VM's, or one of the records that launchers write about it."""
    if key in ("epoch", "fence", "pinned"):
        return f"{prefix}/_own/{vm}/{key}"
    if key in ("status", "last"):
        return f"{prefix}/{'_run' if key == 'status' else '_last'}/{vm}"
    return f"{prefix}/{vm}/{key}"


class Client:
    """etcdctl, for one endpoint or several. `client` are the options that it needs to reach them."""

    def __init__(self, url: str, client: Sequence[str] = ()) -> None:
        self.url = url
        self.client = list(client)

    def ctl(self, *arguments: str, text: str | None = None) -> str:
        done = self._ctl(*arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _ctl(self, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["etcdctl", f"--endpoints={self.url}", *self.client, *arguments],
            capture_output=True,
            text=True,
            input=text,
            env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            check=False,
        )

    def serves(self, timeout: float = PATIENCE) -> None:
        """Wait until an endpoint has an answer that a majority agrees to."""
        deadline = time.monotonic() + timeout
        while self._ctl("--command-timeout=1s", "get", "x").returncode:
            assert time.monotonic() < deadline, "etcd does not come up"
            time.sleep(0.02)

    def put(self, vm: str, **keys: str) -> None:
        """Keys of a VM; `__` stands for a slash, `_` for itself."""
        for key, value in keys.items():
            # Through standard input: a value may begin with a dash.
            self.ctl("put", where(vm, key.replace("__", "/")), text=value)

    def get(self, key: str) -> str | None:
        lines = self.ctl("get", key, "--print-value-only").rstrip("\n")
        return lines or None

    def keys(self, prefix: str) -> list[str]:
        return [
            line
            for line in self.ctl("get", "--prefix", prefix, "--keys-only").splitlines()
            if line
        ]


class Etcd(Client):
    """One member. `stop` and `start` keep its data; `pause` leaves its sockets open and mute."""

    def __init__(
        self,
        directory: Path,
        *flags: str,
        scheme: str = "http",
        client: Sequence[str] = (),
        address: str = "127.0.0.1",
        name: str = "default",
    ) -> None:
        """`flags` are etcd's; they may say what it should do otherwise than alone."""
        self.port = free_port(address)
        super().__init__(f"{scheme}://{address}:{self.port}", client)
        self.name = name
        self.data = directory
        self.peer = f"http://{address}:{free_port(address)}"
        self.flags = list(flags)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.launch()
        self.serves()

    def launch(self) -> None:
        command = [
            "etcd",
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self.peer}",
            f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={self.name}={self.peer}",
            "--unsafe-no-fsync",
            *self.flags,
        ]
        with self.data.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # until its last thread stands still

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def serving(
    directory: Path,
    *flags: str,
    scheme: str = "http",
    client: Sequence[str] = (),
    address: str = "127.0.0.1",
) -> Iterator[Etcd]:
    etcd = Etcd(directory / "etcd", *flags, scheme=scheme, client=client, address=address)
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.stop()
        shutil.rmtree(etcd.data, ignore_errors=True)
