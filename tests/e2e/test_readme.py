"""The example in README.md that starts a VM without compose, as somebody would paste it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from container import docker
from launcher import Followed

pytestmark = pytest.mark.e2e

README = Path(__file__).parents[2] / "README.md"
BUILDS_OR_WATCHES = ("docker build ", "docker logs ")


@pytest.fixture
def names(engine: None) -> Iterator[None]:
    """The example's own names, which it is to leave as it found them: unused."""
    taken = docker("ps", "--all", "--format={{.Names}}") + docker(
        "network", "ls", "--format={{.Name}}"
    )
    if {"etcd", "kvm-7", "kvm"} & set(taken.split()):
        pytest.skip("the engine has containers or a network with the names of the example")
    try:
        yield
    finally:
        command = "docker rm --force --volumes kvm-7 etcd; docker network rm kvm"
        subprocess.run(command, shell=True, capture_output=True, check=False)  # noqa: S602


@pytest.mark.usefixtures("names")
def test_the_example_runs(guest: Path, tmp_path: Path) -> None:
    shutil.copy(guest / "disk.raw", tmp_path / "debian.raw")
    section = README.read_text(encoding="utf-8").partition("## Without compose")[2]
    block = section.partition("```sh\n")[2].partition("```")[0]
    lines = [line for line in block.splitlines() if not line.startswith(BUILDS_OR_WATCHES)]
    script = "\n".join(lines).replace("/srv/images", str(tmp_path))
    pasted = subprocess.run(
        ["bash", "-eu"], input=script, capture_output=True, text=True, check=False
    )
    assert pasted.returncode == 0, pasted.stderr
    with closing(Followed(["docker", "logs", "--follow", "kvm-7"], os.environ)) as shown:
        assert shown.ready()["boot"] == "1"
        docker("stop", "kvm-7")
        shown.ends()
        assert "GUEST-DOWN" in shown.console
    assert docker("inspect", "--format={{.State.ExitCode}}", "kvm-7") == "0\n"
