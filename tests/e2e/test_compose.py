"""docker-compose.yml as it stands in the repository, under a project name of its own."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from container import docker
from launcher import Followed

pytestmark = pytest.mark.e2e

FILE = Path(__file__).parents[2] / "docker-compose.yml"


class Compose:
    def __init__(self, project: str, images: Path) -> None:
        self.project = project
        self._environ = {**os.environ, "IMAGES": str(images), "VM": "demo"}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", "compose", f"--file={FILE}", f"--project-name={self.project}", *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def put(self, key: str, value: str) -> None:
        self("exec", "-T", "etcd", "etcdctl", "put", f"/kvm/demo/{key}", value)

    def inspect(self, service: str) -> dict[str, Any]:
        container = self("ps", "--all", "--quiet", service).strip()
        found: dict[str, Any] = json.loads(docker("inspect", container))[0]
        return found

    def left(self) -> str:
        """What of it the engine still has."""
        label = f"--filter=label=com.docker.compose.project={self.project}"
        kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
        return "".join(docker(*kind, "--quiet", label) for kind in kinds)


@pytest.fixture
def compose(engine: None, tmp_path: Path) -> Iterator[Compose]:
    stack = Compose(f"hftest-{os.getpid()}", tmp_path)
    try:
        yield stack
    finally:
        stack("down", "--volumes", "--timeout=1")


def test_config(compose: Compose) -> None:
    compose("config", "--quiet")
    compose("--profile=ceph", "config", "--quiet")


def test_up_and_down(compose: Compose, guest: Path, tmp_path: Path) -> None:
    """The VM waits for its keys, boots from them, gets an address, and goes with the stack."""
    shutil.copy(guest / "disk.raw", tmp_path / "demo.raw")
    compose("up", "--detach", "--no-build")
    vm, etcd = compose.inspect("vm"), compose.inspect("etcd")
    assert etcd["State"]["Health"]["Status"] == "healthy"
    first_good = next(one for one in etcd["State"]["Health"]["Log"] if one["ExitCode"] == 0)
    assert first_good["End"] < vm["State"]["StartedAt"]
    assert not vm["HostConfig"]["Privileged"]
    with closing(Followed(["docker", "logs", "--follow", vm["Id"]], os.environ)) as shown:
        shown.says("waiting: .* no key")
        compose.put("power", "off")  # or it would start with the first key that it sees
        compose.put("ram", "192")
        compose.put("stop_timeout", "30")
        compose.put("disks/root/path", "/var/lib/holdfast/images/demo.raw")
        shown.says(r"waiting: .* \(power=off\)")
        compose.put("power", "on")
        ready = shown.ready()
        assert ready["boot"] == "1"
        assert "asks nobody" not in shown.log
        assert ready["address"].startswith("10.77.0.")
        assert "boot=1" in compose(
            "exec", "-T", "lan", "wget", "-qO-", f"http://{ready['address']}/"
        )
        compose("stop", "vm")
        assert "GUEST-DOWN" in shown.console
    assert compose.inspect("vm")["State"]["ExitCode"] == 0
    compose("down", "--volumes")
    assert compose.left() == ""
