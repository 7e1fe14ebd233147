"""What the engine sees of a container that runs: its health, and its size in a registry."""

import re
import subprocess
import time
import zlib
from pathlib import Path

import pytest
from container import IMAGE, Container, Runner
from etcd import Etcd

pytestmark = pytest.mark.image

BUDGET = 110_000_000  # bytes; an image that grows beyond it has taken in something big
SOON = ("--health-interval=1s", "--health-start-period=1s")


def expect_healthy(container: Container) -> None:
    deadline = time.monotonic() + 60
    while (health := container.inspect()["State"]["Health"])["Status"] != "healthy":
        assert time.monotonic() < deadline, health
        time.sleep(0.2)


def test_a_running_vm_is_healthy(run: Runner) -> None:
    container = run(*SOON, arguments=["-m", "64", "-nic", "none"], STOP_TIMEOUT="1")
    container.says("QEMU is up")
    expect_healthy(container)
    assert container.stop() == 0


def test_a_standby_is_healthy(run: Runner, etcd_server: Etcd) -> None:
    etcd_server.put("healthy-standby", ram="64", host="somebody-else")
    variables = {"VM": "healthy-standby", "ETCD_ENDPOINTS": etcd_server.url}
    container = run("--net=host", *SOON, **variables)
    container.says("waiting")
    expect_healthy(container)
    assert container.stop() == 0


def test_a_pool_in_the_containers_own_layer_is_refused(run: Runner, tmp_path: Path) -> None:
    """`docker rm` would take the disk along. With the option that is named, the same VM runs."""
    (tmp_path / "vm.yaml").write_text(
        "ram: 64\ndisks:\n  root: {pool: default, size: 16M}\n", encoding="ascii"
    )
    file = f"--volume={tmp_path}/vm.yaml:/vm.yaml:ro"
    container = run(file, VM_FILE="/vm.yaml")
    assert container.ends(60) == 77, container.story()
    assert "is part of this container and is deleted with it" in container.log
    (option,) = re.findall(r"-v holdfast-pool:(\S+)", container.log)
    assert "QEMU is up" not in container.log
    kept = run(file, f"--volume={tmp_path}/pool:{option}", VM_FILE="/vm.yaml", STOP_TIMEOUT="1")
    kept.says("QEMU is up")
    assert (tmp_path / "pool" / "vm-root.raw").exists()
    assert kept.stop() == 0


def test_the_image_stays_within_its_budget() -> None:
    size = 0
    squeeze = zlib.compressobj(level=6)
    with subprocess.Popen(["docker", "save", f"{IMAGE}:latest"], stdout=subprocess.PIPE) as saved:
        assert saved.stdout
        while block := saved.stdout.read(1 << 20):
            size += len(squeeze.compress(block))
    assert saved.returncode == 0
    assert size <= BUDGET, f"{size / 1e6:.0f} MB"
