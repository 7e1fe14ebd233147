"""A real Ceph of one node for tests, and the clients with more or fewer rights that they need."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from deadline import PATIENCE

SINGLE_NODE = Path(__file__).parent / "ceph" / "single-node"
PORTS = 22  # two of the monitor's, and those among which the OSD chooses


def free_ports() -> int:
    """The first of a range below the ports that the kernel gives to clients."""
    first, end = 10000, 32000
    start = first + os.getpid() * PORTS % (end - first - PORTS)
    for port in chain(range(start, end - PORTS, PORTS), range(first, start, PORTS)):
        if all(map(is_free, range(port, port + PORTS))):
            return port
    raise AssertionError("no room for another Ceph on this machine")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Ceph:
    """One monitor, one OSD, the pool `rbd`. `pause` leaves the daemons' sockets open and mute."""

    def __init__(self, directory: Path, address: str = "127.0.0.1") -> None:
        self._address = address
        self.directory = directory / "etc"
        self.conf = self.directory / "ceph.conf"
        self._state = directory / "state"
        self._port = free_ports()
        self._process: subprocess.Popen[str] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What makes a launcher use this cluster."""
        return {"CEPH_CONF": str(self.conf)}

    # -- the daemons

    def start(self) -> None:
        self._process = subprocess.Popen(
            [SINGLE_NODE, self.directory, self._state],
            env={**os.environ, "CEPH_ADDRESS": self._address, "CEPH_PORT": str(self._port)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        assert self._process.stdout.readline() == "ready\n", "Ceph does not come up"
        timer.cancel()

    def stop(self) -> None:
        if self._process is None:
            return
        # A daemon that was frozen ignores TERM, and its shell would wait for it.
        for name in ("osd.0", "mon.a"):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(self.pid(name), signal.SIGKILL)
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)
        self._process = None

    def pid(self, daemon: str) -> int:
        return int((self._state / f"{daemon}.pid").read_text())

    @contextlib.contextmanager
    def frozen(self, *daemons: str) -> Iterator[None]:
        """For a while these daemons answer nobody."""
        pids = [self.pid(daemon) for daemon in daemons]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    # -- its tools, as the administrator

    def ceph(self, *arguments: str) -> str:
        return self._run("ceph", "-c", self.conf, "-n", "client.admin", *arguments)

    def rbd(self, *arguments: str | Path) -> str:
        return self._run("rbd", "-c", self.conf, "-n", "client.admin", *arguments)

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def put(self, image: str, source: Path) -> None:
        """A file becomes an image, with the features that Ceph gives a new one."""
        self.rbd("import", "--no-progress", source, image)

    def watchers(self, image: str) -> list[str]:
        """The addresses of the clients that have the image open for writing."""
        status = json.loads(self.rbd("status", "--format=json", image))
        return [watcher["address"] for watcher in status["watchers"]]

    def claim(self, image: str) -> dict[str, object]:
        """What Holdfast has put into the image's header; {} for nothing."""
        identifier = json.loads(self.rbd("info", "--format=json", image))["id"]
        pool, *space, _ = image.split("/")
        where = ("-p", pool, *(("--namespace", space[0]) if space else ()))
        header = f"rbd_header.{identifier}"
        command: tuple[str | Path, ...] = ("rados", "-c", self.conf, "-n", "client.admin", *where)
        if "holdfast.claim" not in self._run(*command, "listomapkeys", header).split():
            return {}
        file = self.directory / "claim"
        self._run(*command, "getomapval", header, "holdfast.claim", file)
        found: dict[str, object] = json.loads(file.read_bytes())
        return found

    @contextlib.contextmanager
    def opened(self, image: str) -> Iterator[str]:
        """Somebody else has the image open for writing: the address of that client."""
        client = subprocess.Popen(
            # It opens the image as `rbd bench` and a backup's writer do, and waits for Enter.
            ["rbd", "-c", self.conf, "-n", "client.admin", "watch", image],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert client.stdout
            assert client.stdout.readline().startswith(b"press enter")
            (address,) = set(self.watchers(image))
            yield address
        finally:
            client.communicate(b"\n")

    def blocklist(self, address: str) -> None:
        self.ceph("osd", "blocklist", "add", address, "600")

    # -- what a host has in /etc/ceph

    def key(self, user: str = "holdfast") -> str:
        return self.ceph("auth", "print-key", f"client.{user}").strip()

    def etc(self, directory: Path, *users: str) -> Path:
        """A directory like /etc/ceph with the keyrings of these users; its ceph.conf."""
        directory.mkdir(mode=0o700)
        for user in users:
            keyring(directory, user, self.key(user))
        conf = directory / "ceph.conf"
        text = re.sub(r"^keyring = .*$", "", self.conf.read_text(), flags=re.MULTILINE)
        conf.write_text(f"{text}keyring = {directory}/ceph.$name.keyring\n")
        conf.chmod(0o600)
        return conf

    def user(self, name: str, *caps: str) -> str:
        """A new client: `mon 'allow r'`, `osd ...` in turn."""
        self.ceph("auth", "get-or-create", f"client.{name}", *caps)
        return name


def keyring(directory: Path, user: str, key: str) -> Path:
    path = directory / f"ceph.client.{user}.keyring"
    path.write_text(f"[client.{user}]\n\tkey = {key}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def serving(directory: Path, address: str = "127.0.0.1") -> Iterator[Ceph]:
    ceph = Ceph(directory, address)
    try:
        ceph.start()
        yield ceph
    finally:
        ceph.stop()
        shutil.rmtree(directory / "state", ignore_errors=True)
