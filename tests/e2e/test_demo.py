"""`make demo` as a new user meets it, in a clone and under a project name of its own."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import docker

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PARTS = (
    "Dockerfile",
    ".dockerignore",
    "docker-compose.yml",
    "entrypoint",
    *(f"tests/{part}" for part in ("ceph", "demo", "etcd", "guest", "lan", "setup")),
)


PULLED = (
    r"(?s)(host-.) has it.*boot=1\n== the plug.*owns it.*page is back, from (host-.): .*boot=2\n"
)


class Demo:
    def __init__(self, clone: Path, environ: dict[str, str]) -> None:
        self.clone = clone
        self.project = f"hfdemo-{os.getpid()}"
        self._environ = {**os.environ, "DEMO_PROJECT": self.project, **environ}

    def shell(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.clone,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self) -> str:
        return self.shell("tests/demo/demo")

    def down(self) -> None:
        self.shell("tests/demo/down")

    def left(self) -> str:
        """What the engine still has of it."""
        label = "--filter=label=com.docker.compose.project"
        kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
        labels = [f"{label}={self.project}", f"{label}={self.project}-failover"]
        return "".join(docker(*kind, "--quiet", only) for kind in kinds for only in labels)


@pytest.fixture(
    params=[{}, {"STORAGE": "rbd"}, {"ENGINE": "none"}], ids=["containers", "rbd", "no-engine"]
)
def demo(
    request: pytest.FixtureRequest, engine: None, guest: Path, tmp_path: Path
) -> Iterator[Demo]:
    clone = tmp_path / "clone"
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, clone / part)
    made = Demo(clone, request.param)
    try:
        yield made
    finally:
        made.down()


def test_demo(demo: Demo) -> None:
    shown = demo.up()
    assert re.search(r"GUEST-READY hostname=demo-guest address=10\.77\.0\.\d+ boot=1", shown)
    assert "asks nobody" not in shown
    commands = re.findall(r"(?m)^     \$ (.+)$", shown.partition("commands to try next")[2])
    assert len(commands) == 5
    said = [demo.shell(command) for command in commands]
    assert '"state":"running"' in said[0]
    assert "boot=1" in said[1]
    assert "GUEST-READY" in said[2]
    # A VM that is there is left in peace, one that is switched off is switched on.
    again = demo.up()
    assert "/kvm/demo/ram" not in again.partition("its console")[0]
    assert re.search(r"GUEST-READY .* boot=[23]\b", again)
    demo.down()
    assert demo.left() == ""
    assert not (demo.clone / ".demo").exists()


@pytest.mark.parametrize("demo", [{}], indirect=True)
def test_a_pulled_plug(demo: Demo) -> None:
    shown = demo.shell("tests/demo/failover")
    hosts = re.search(PULLED, shown)
    assert hosts, shown
    assert hosts[1] != hosts[2]
    tried = re.findall(r"(?m)^     \$ (.+)$", shown.partition("to try next")[2])
    assert len(tried) == 3
    said = [demo.shell(command) for command in tried]
    assert "boot=2" in said[1], "the guest runs on without etcd"
    assert "shut out of Ceph" in said[2]
    demo.down()
    assert demo.left() == ""
