"""What the engine sees of a container that runs: its health, and its size in a registry."""

import subprocess
import time
import zlib

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


def test_the_image_stays_within_its_budget() -> None:
    size = 0
    squeeze = zlib.compressobj(level=6)
    with subprocess.Popen(["docker", "save", f"{IMAGE}:latest"], stdout=subprocess.PIPE) as saved:
        assert saved.stdout
        while block := saved.stdout.read(1 << 20):
            size += len(squeeze.compress(block))
    assert saved.returncode == 0
    assert size <= BUDGET, f"{size / 1e6:.0f} MB"
