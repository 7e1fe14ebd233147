"""Holdfast as its users run it: `docker run` of the image, its log and its guest's console read along.

A test may itself run in a container beside the ones that it starts: bind mounts and numbers of
processes are the machine's. tests/setup/suite gives it the machine's paths and processes.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ceph import free_ports
from launcher import Followed, gone

IMAGE = "holdfast"
# What every VM with a bridge needs, as the documentation has it.
RULES = ("--device-cgroup-rule=c 10:232 rwm", "--device-cgroup-rule=c 10:200 rwm")
RIGHTS = ("--cap-add=NET_ADMIN", *RULES)
IMAGES = "/var/lib/holdfast/images"


def docker(*arguments: str, timeout: float = 120) -> str:
    """Its output; a failure is the test's."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Container(Followed):
    """One `docker run` in the foreground: `words` are all that stands behind `run`."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._cidfile = Path(self._scratch.name) / "id"
        command = ["docker", "run", f"--cidfile={self._cidfile}", *words]
        super().__init__(command, {**os.environ, **(environ or {})})

    @property
    def id(self) -> str:
        deadline = time.monotonic() + 30
        while not (found := self._found()):
            assert self.process.poll() is None, f"there never was a container:\n{self.story()}"
            assert time.monotonic() < deadline, f"the engine is stuck:\n{self.story()}"
            time.sleep(0.02)
        return found

    def _found(self) -> str:
        return self._cidfile.read_text(encoding="ascii") if self._cidfile.exists() else ""

    def exec(self, *command: str, timeout: float = 60) -> str:
        return docker("exec", self.id, *command, timeout=timeout)

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", self.id))[0]
        return found

    def pids(self) -> dict[int, str]:
        """The container's processes: numbers as the machine has them, with their commands."""
        lines = docker("top", self.id, "-eo", "pid,args").splitlines()[1:]
        return {int(line.split()[0]): line.split(None, 1)[1] for line in lines}

    def qemu(self) -> int:
        """QEMU's pid on the machine."""
        found = [pid for pid, args in self.pids().items() if args.startswith("/usr/bin/qemu")]
        assert len(found) == 1, self.story()
        return found[0]

    def launcher(self) -> int:
        """The pid of PID 1, on the machine."""
        return int(self.inspect()["State"]["Pid"])

    def stop(self, seconds: int = 60) -> int:
        """`docker stop`, and the exit status."""
        docker("stop", f"--time={seconds}", self.id, timeout=seconds + 30)
        return self.ends()

    def kill(self, signal: str = "KILL") -> None:
        docker("kill", f"--signal={signal}", self.id)

    def close(self) -> None:
        try:
            if found := self._found():
                subprocess.run(
                    ["docker", "rm", "--force", "--volumes", found],
                    capture_output=True,
                    check=False,
                )
        finally:
            super().close()
            self._scratch.cleanup()


class Runner:
    """Starts containers, and sees to it that nothing of them stays."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, *options: str, arguments: Sequence[str] = (), **environ: str) -> Container:
        """`docker run OPTIONS holdfast ARGUMENTS`; keywords are environment variables."""
        variables = [f"--env={name}={value}" for name, value in environ.items()]
        return self.literally([*options, *variables, IMAGE, *arguments])

    def literally(
        self, words: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> Container:
        container = Container(words, environ)
        self._stack.callback(container.close)
        return container


@pytest.fixture(scope="session")
def engine() -> None:
    """The engine answers, and the images are built."""
    for name in (IMAGE, "holdfast-ceph", "holdfast-etcd", "holdfast-lan"):
        docker("image", "inspect", "--format={{.Id}}", name)


@pytest.fixture
def run(engine: None) -> Iterator[Runner]:
    with ExitStack() as stack:
        yield Runner(stack)


@pytest.fixture(scope="session")
def privileged(engine: None) -> list[str]:
    """`--privileged`, through the runtime of tests/setup where this machine cannot grant all of it."""
    runtime = os.environ.get("PRIVILEGED_RUNTIME", "runc")
    return ["--privileged"] if runtime == "runc" else [f"--runtime={runtime}", "--privileged"]


@contextmanager
def lan_on(bridge: str, network: str) -> Iterator[str]:
    """A bridge of this machine, with DHCP, made and served by the image holdfast-lan."""
    ours = bridge.startswith("hf")  # one of an earlier run that was killed is taken over
    if not ours and Path(f"/sys/class/net/{bridge}").exists():
        pytest.fail(f"this machine has an interface {bridge} already; the test leaves it alone")
    options = ["--network=host", "--cap-add=NET_ADMIN"]
    variables = [f"--env=BRIDGE_IF={bridge}", f"--env=LAN={network}"]
    container = Container([*options, *variables, "holdfast-lan"])
    try:
        container.says("(?m)^ready$", where="console")
        yield bridge
    finally:
        with closing(container):
            container.stop(10)  # it takes its bridge along; killed, it could not


@pytest.fixture(scope="session")
def lan(engine: None) -> Iterator[str]:
    # Two suites on one machine shall not meet.
    with lan_on(f"hf{os.getpid()}", f"10.77.{100 + os.getpid() % 100}") as bridge:
        yield bridge


@dataclass(frozen=True, kw_only=True)
class Ceph:
    """One node, reached from the machine's network. `conf` is what others mount as /etc/ceph."""

    conf: Path
    container: Container

    def rbd(self, *arguments: str) -> str:
        return self.container.exec("rbd", f"--conf={self.conf}/ceph.conf", *arguments)

    def boot_disk(self, image: str) -> str:
        """An image with the small guest on it."""
        self.rbd("import", "--no-progress", "/guest/disk.raw", f"rbd/{image}")
        return f"rbd/{image}"

    @property
    def keys(self) -> list[str]:
        """The secrets that nobody may find anywhere."""
        texts = [path.read_text(encoding="ascii") for path in self.conf.glob("*.keyring")]
        return [key for text in texts for key in re.findall(r"key = (\S+)", text)]


@pytest.fixture(scope="session")
def ceph(engine: None, guest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    port = free_ports()
    conf = tmp_path_factory.mktemp("ceph")
    mounts = [f"--volume={conf}:{conf}", f"--volume={guest}:/guest:ro"]
    words = ["--network=host", *mounts, f"--env=CEPH_PORT={port}", "holdfast-ceph"]
    container = Container([*words, str(conf), "/var/lib/ceph-node"])
    try:
        container.says("(?m)^ready$", where="console")
        yield Ceph(conf=conf, container=container)
    finally:
        container.close()


def taps(bridge: str) -> set[str]:
    """The interfaces on a bridge of this machine."""
    return {path.name for path in Path(f"/sys/class/net/{bridge}/brif").iterdir()}


def logged(container: Container, pattern: str) -> datetime:
    """When the engine took down a line of the container's, by a clock that all containers share."""
    both = subprocess.run(
        ["docker", "logs", "--timestamps", container.id],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in (both.stdout + both.stderr).splitlines():
        stamp, _, text = line.partition(" ")
        if re.search(pattern, text):
            return datetime.fromisoformat(stamp[:26] + "+00:00")
    raise AssertionError(f"never logged {pattern!r}:\n{container.story()}")


def all_gone(pids: Sequence[int]) -> bool:
    return all(gone(pid) for pid in pids)


def listening(port: int) -> bool:
    """Whether a TCP port of this machine's IPv4 loopback is served."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    wanted = re.compile(rf"(0100007F|00000000):{port:04X}$")
    return any(
        wanted.match(fields[1]) and fields[3] == "0A"
        for fields in (line.split() for line in lines)
    )
