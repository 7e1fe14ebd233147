"""A VM from a file: no etcd, no bridge, no network at all; and what its container says where."""

import json
import os
from contextlib import closing
from pathlib import Path

import pytest
from container import IMAGES, Runner, all_gone, docker
from launcher import Followed

pytestmark = pytest.mark.e2e


@pytest.fixture
def options(tmp_path: Path, boot_disk: Path) -> list[str]:
    (tmp_path / "vm.yaml").write_text(
        f"ram: 192\ndisks: {{root: {{path: {IMAGES}/{boot_disk.name}}}}}\nstop_timeout: 30\n",
        encoding="utf-8",
    )
    return ["--net=none", f"--volume={tmp_path}:{IMAGES}", f"--env=VM_FILE={IMAGES}/vm.yaml"]


def test_json_lines_on_stderr_and_the_console_on_stdout(run: Runner, options: list[str]) -> None:
    container = run(*options, LOG_FORMAT="json")
    container.ready()
    assert container.stop() == 0
    lines = [json.loads(line) for line in container.log.splitlines()]
    assert lines
    for line in lines:
        assert {"time", "level", "message"} <= set(line)
    assert any("QEMU is up" in line["message"] for line in lines)
    assert "GUEST-DOWN" in container.console
    assert "QEMU is up" not in container.console
    assert "GUEST-" not in container.log


def test_a_killed_container_starts_again(run: Runner, options: list[str]) -> None:
    """What the first launcher left in the container's own files does not stop the second."""
    container = run(*options)
    assert container.ready()["boot"] == "1"
    pids = list(container.pids())
    container.kill()
    assert container.ends() == 137
    assert all_gone(pids)
    command = ["docker", "start", "--attach", container.id]
    with closing(Followed(command, os.environ)) as again:
        assert again.ready()["boot"] == "2"
        docker("stop", "--time=60", container.id)
        assert again.ends() == 0
        assert "GUEST-DOWN" in again.console


def test_a_vm_without_a_disk_needs_nothing_but_its_name(run: Runner, tmp_path: Path) -> None:
    """Every right and device is for something; here there is nothing to be right about."""
    (tmp_path / "bare.yaml").write_text("ram: 64\nnics/lan/mode: user\n", encoding="utf-8")
    container = run(
        f"--volume={tmp_path}:{IMAGES}", VM_FILE=f"{IMAGES}/bare.yaml", STOP_TIMEOUT="1"
    )
    container.says("QEMU is up")
    assert container.stop() == 0
