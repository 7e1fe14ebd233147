"""`docker stop` is the press of a power button, not a power cut."""

import json
import re
from pathlib import Path

import pytest
from container import IMAGES, Runner
from etcd import Etcd

pytestmark = pytest.mark.e2e

STOP_TIMEOUT = 6


@pytest.fixture
def options(tmp_path: Path, boot_disk: Path, etcd_server: Etcd, vm: str) -> list[str]:
    """Of `docker run`, for a VM on a disk file, without a network of its own."""
    etcd_server.put(vm, ram="192", disks__root__path=f"{IMAGES}/{boot_disk.name}")
    etcd_server.put(vm, nics__lan__mode="user", stop_timeout=str(STOP_TIMEOUT))
    variables = {"VM": vm, "HOSTNAME": "host-a", "ETCD_ENDPOINTS": etcd_server.url}
    return [
        "--net=host",
        f"--volume={tmp_path}:{IMAGES}",
        *(f"--env={name}={value}" for name, value in variables.items()),
    ]


def test_the_guest_is_powered_down(
    run: Runner, options: list[str], etcd_server: Etcd, vm: str
) -> None:
    etcd_server.put(vm, stop_timeout="60")
    container = run(*options)
    container.ready()
    assert container.stop() == 0
    assert re.search("GUEST-POWERDOWN.*GUEST-DOWN", container.console, re.DOTALL)
    last = json.loads(etcd_server.get(f"/kvm/_last/{vm}") or "{}")
    assert (last["why"], last["exit"], last["forced"]) == ("stopped", 0, False)


def test_a_deaf_guest_is_ended_after_stop_timeout_and_not_before(
    run: Runner, options: list[str], etcd_server: Etcd, vm: str
) -> None:
    etcd_server.put(vm, user_data="#cloud-config\n# holdfast-test: ignore-acpi\n")
    container = run(*options)
    container.ready()
    assert container.stop() == 0
    assert "GUEST-DOWN" not in container.console
    asked, ended = (
        float(container.says(rf"holdfast +([0-9.]+)s .*{words}")[1])
        for words in ("SIGTERM: powering the guest down", "did not power down within 6 s")
    )
    assert ended - asked >= STOP_TIMEOUT
    last = json.loads(etcd_server.get(f"/kvm/_last/{vm}") or "{}")
    assert (last["exit"], last["forced"]) == (0, True)
    assert "6 s" in container.log


def test_ctrl_c_twice_does_not_wait(
    run: Runner, options: list[str], etcd_server: Etcd, vm: str
) -> None:
    """A person at the terminal who presses it again means it."""
    etcd_server.put(
        vm, user_data="#cloud-config\n# holdfast-test: ignore-acpi\n", stop_timeout="300"
    )
    container = run(*options)
    container.ready()
    container.kill("INT")
    container.says("SIGINT: powering the guest down")
    container.kill("INT")
    assert container.ends(60) == 0
