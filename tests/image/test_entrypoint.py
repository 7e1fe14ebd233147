"""What stands behind `docker run ... holdfast`: commands, QEMU's own options, and nothing at all."""

from pathlib import Path

import pytest
from container import IMAGES, Runner

pytestmark = pytest.mark.image

UNPRIVILEGED = ("--user=1000:1000", "--cap-drop=ALL", "--net=none", "--read-only")


def test_a_command(run: Runner) -> None:
    container = run(arguments=["version"])
    assert container.ends() == 0
    assert container.console.startswith("holdfast ")


def test_a_word_that_is_no_command(run: Runner) -> None:
    container = run(arguments=["bash"])
    assert container.ends() == 64
    assert "there is no command bash" in container.log
    assert "usage: holdfast" in container.log


def test_nothing_at_all(run: Runner) -> None:
    container = run()
    assert container.ends() == 64, container.story()
    assert "no VM is named" in container.log
    assert "-e VM=<name>" in container.log


def test_options_are_qemus(run: Runner) -> None:
    container = run(arguments=["-m", "64", "-nic", "none"], STOP_TIMEOUT="1")
    container.says("QEMU is up")
    assert "64" in container.pids()[container.qemu()].split()
    assert container.stop() == 0


def test_a_word_of_qemus_that_ends_supervision(run: Runner) -> None:
    container = run(arguments=["-m", "64", "-daemonize"])
    assert container.ends() == 64
    assert "-daemonize" in container.log


def test_check_and_argv_need_no_right(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "vm.yaml").write_text("ram: 64\nrbd: vms/vm9\n", encoding="utf-8")
    mount = f"--volume={tmp_path}:{IMAGES}:ro"
    file = ["--file", f"{IMAGES}/vm.yaml"]
    tmp_path.chmod(0o755)
    check = run(*UNPRIVILEGED, mount, arguments=["check", *file])
    assert check.ends() == 0, check.story()
    argv = run(*UNPRIVILEGED, mount, arguments=["argv", *file])
    assert argv.ends() == 0, argv.story()
    assert '"driver":"rbd"' in argv.console
    (tmp_path / "vm.yaml").write_text("ram: 64 apples\n", encoding="utf-8")
    check = run(*UNPRIVILEGED, mount, arguments=["check", *file])
    assert check.ends() == 78
    assert check.console.startswith("ram: ")
