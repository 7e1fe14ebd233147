"""README.md: the example that starts a VM without compose, as somebody would paste it, and all its other lines."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from container import docker
from launcher import Followed

pytestmark = pytest.mark.e2e

README = Path(__file__).parents[2] / "README.md"
OPERATIONS = README.parent / "docs" / "operations.md"
BUILDS_OR_WATCHES = ("docker build ", "docker logs ", "ssh ")
VOLUMES = ("holdfast-etcd", "holdfast-launcher", "holdfast-pool")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxWcKcGcTnGZ0C1kcWc7N3mU1q5y2yWwP9Fz2n3YV5k somebody\n"


def taken() -> set[str]:
    names = docker("ps", "--all", "--format={{.Names}}")
    names += docker("network", "ls", "--format={{.Name}}")
    names += docker("volume", "ls", "--format={{.Name}}")
    return {"etcd", "kvm-7", "kvm", *VOLUMES} & set(names.split())


@pytest.fixture
def names(engine: None) -> Iterator[None]:
    """The example's own names, which it is to leave as it found them: unused."""
    if taken():
        pytest.skip(
            "the engine has containers, volumes or a network with the names of the example"
        )
    try:
        yield
    finally:
        command = f"docker rm --force --volumes kvm-7 etcd; docker network rm kvm; docker volume rm {' '.join(VOLUMES)}"
        subprocess.run(command, shell=True, capture_output=True, check=False)  # noqa: S602


@pytest.fixture
def clone(tmp_path: Path, guest: Path) -> Path:
    """What the lines need of a clone and of a home: a recipe of a guest, here the small one, and a key."""
    recipe = tmp_path / "tests" / "guest" / "debian"
    recipe.parent.mkdir(parents=True)
    image = tmp_path / "disk.qcow2"
    convert: list[str | Path] = [
        "qemu-img",
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        guest / "disk.raw",
        image,
    ]
    subprocess.run(convert, check=True)
    program(recipe, f"echo {tmp_path}")
    if not shutil.which("sudo"):
        program(tmp_path / "bin" / "sudo", 'exec "$@"')
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id.pub").write_text(KEY, encoding="ascii")
    return tmp_path


def program(path: Path, line: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="ascii")
    path.chmod(0o755)


def pasted(lines: str, clone: Path) -> None:
    """Only /srv is another folder: it is the machine's own."""
    script = lines.replace("/srv/images", str(clone / "images"))
    environ = {**os.environ, "HOME": str(clone), "PATH": f"{clone}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-eu"], input=script, capture_output=True, text=True, check=False, cwd=clone, env=environ
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def blocks(document: Path = README) -> list[str]:
    return re.findall(
        r"^```sh\n(.*?)^```", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )


@pytest.mark.usefixtures("names")
def test_the_example_runs(clone: Path) -> None:
    (block,) = [one for one in blocks() if "docker network create" in one]
    lines = [line for line in block.splitlines() if not line.startswith(BUILDS_OR_WATCHES)]
    pasted("\n".join(lines), clone)
    with closing(Followed(["docker", "logs", "--follow", "kvm-7"], os.environ)) as shown:
        assert shown.ready()["boot"] == "1"
        assert "asks nobody" not in shown.log
        assert "2222" in docker("port", "kvm-7")
        docker("stop", "kvm-7")
        shown.ends()
        assert "GUEST-DOWN" in shown.console
    assert docker("inspect", "--format={{.State.ExitCode}}", "kvm-7") == "0\n"
    # The containers may go: what matters is in the volumes, and the last line brings the VM back with its disk.
    docker("rm", "--force", "--volumes", "kvm-7", "etcd")
    again = [line for line in lines if not line.startswith(("docker network", "sudo "))]
    keys = re.compile(r"^put ")
    pasted("\n".join(line for line in again if not keys.match(line)), clone)
    with closing(Followed(["docker", "logs", "--follow", "kvm-7"], os.environ)) as shown:
        assert shown.ready()["boot"] == "2"
        with typed("poweroff\n"):
            shown.says("guest powered off")
            shown.says("the VM is released")
    waits_for_power()
    docker("stop", "kvm-7")
    assert (
        docker("exec", "etcd", "etcdctl", "get", "--print-value-only", "/kvm/7/power") == "off\n"
    )


def waits_for_power() -> None:
    """Docker has started the container again. Who stops it in that very moment is not heard: docs/operations.md."""
    deadline = time.monotonic() + 60
    while "the VM is switched off" not in shown_by("kvm-7"):
        assert time.monotonic() < deadline, shown_by("kvm-7")
        time.sleep(0.2)


def shown_by(container: str) -> str:
    command = ["docker", "logs", container]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


@contextmanager
def typed(text: str) -> Iterator[None]:
    """At the guest's console, by the line of docs/operations.md; it wants a terminal, which a test has not."""
    (line,) = [one for one in blocks(OPERATIONS) if one.startswith("sudo socat")]
    line = line.replace("sudo ", "exec ").replace("-,raw,echo=0,escape=0x1d", "-")
    with subprocess.Popen(["bash", "-euc", line], stdin=subprocess.PIPE, text=True) as typing:
        assert typing.stdin
        typing.stdin.write(text)
        typing.stdin.flush()
        yield
        typing.stdin.close()
        typing.wait(timeout=30)
