"""What a container needs, no more than that, and what is said when something of it is missing."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from container import IMAGES, RIGHTS, RULES, Container, Runner, taps
from etcd import Etcd

pytestmark = pytest.mark.e2e

MINIMUM = ("NET_ADMIN", "SETUID", "SETGID", "SETPCAP", "KILL", "MKNOD", "CHOWN")
Start = Callable[..., Container]


def only(*capabilities: str) -> list[str]:
    return ["--cap-drop=ALL", *(f"--cap-add={name}" for name in capabilities)]


@pytest.fixture
def start(run: Runner, lan: str, tmp_path: Path, boot_disk: Path) -> Start:
    """A VM with a bridge and a disk; `ready` is the guest's own word that it has both."""
    (tmp_path / "vm.yaml").write_text(
        f"ram: 192\ndisks/root/path: {IMAGES}/{boot_disk.name}\nstop_timeout: 30\n",
        encoding="utf-8",
    )

    def with_options(*options: str) -> Container:
        return run(
            "--net=host",
            f"--volume={tmp_path}:{IMAGES}",
            *options,
            VM_FILE=f"{IMAGES}/vm.yaml",
            BRIDGE_IF=lan,
        )

    return with_options


WAYS = {
    "default": [*RIGHTS],
    "minimum": [*only(*MINIMUM), *RULES, "--security-opt=no-new-privileges"],
    "read-only": [*RIGHTS, "--read-only", "--tmpfs=/run", "--tmpfs=/etc/qemu"],
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_enough(start: Start, lan: str, options: list[str]) -> None:
    container = start(*options)
    ready = container.ready()
    assert ready["boot"] == "1"
    assert ready["address"].startswith("10.77.")
    assert container.stop() == 0
    assert "GUEST-DOWN" in container.console
    assert not taps(lan)


@pytest.mark.parametrize("missing", MINIMUM)
def test_a_missing_capability_is_named(start: Start, lan: str, missing: str) -> None:
    container = start(*only(*(name for name in MINIMUM if name != missing)), *RULES)
    assert container.ends() == 77
    assert missing in container.log
    assert not taps(lan)
    assert not container.console


def test_too_few_processes_are_named(start: Start) -> None:
    container = start(*RIGHTS, "--pids-limit=10")
    assert container.ends() == 77
    assert "only 10 processes and threads are allowed here" in container.log
    assert "--pids-limit" in container.log
    assert not container.console


def advised(log: str) -> list[str]:
    """The options of docker run that a message gives, as a reader would copy them."""
    return [word for words in re.findall(r"`(--[^`]+)`", log) for word in shlex.split(words)]


LACKS = {
    "nothing-added": [],
    "no-capability": only(),
    "no-mknod": only(*(name for name in MINIMUM if name != "MKNOD")),
    "read-only": [*RIGHTS, "--read-only"],
}


@pytest.mark.parametrize("options", LACKS.values(), ids=LACKS)
def test_who_follows_the_advice_gets_there(start: Start, options: list[str]) -> None:
    """A refusal is exit 77 and names all options that are missing: with them the VM runs."""
    for _ in range(2):
        container = start(*options)
        try:
            container.says("QEMU is up", timeout=60)
        except AssertionError:
            assert container.ends() == 77, container.story()
            advice = advised(container.log)
            assert set(advice) - set(options), container.story()
            options = [*options, *advice]
        else:
            return
    pytest.fail(f"there was no end of it: {shlex.join(options)}")


def test_all_that_is_missing_is_told_at_once(
    run: Runner, etcd_server: Etcd, vm: str, tmp_path: Path, boot_disk: Path
) -> None:
    """And before the lock: the VM's epoch stays as it was."""
    etcd_server.put(vm, ram="64T", disks__root__path=f"{IMAGES}/{boot_disk.name}")
    etcd_server.put(vm, nics__lan__bridge="nowhere0")
    options = [
        "--read-only",
        "--ulimit=nofile=64:64",
        "--pids-limit=12",
        f"--volume={tmp_path}:{IMAGES}:ro",
    ]
    container = run(
        "--net=host", *options, VM=vm, HOSTNAME="host-a", ETCD_ENDPOINTS=etcd_server.url
    )
    assert container.ends() == 77
    for words in (
        "--cap-add NET_ADMIN", "no interface nowhere0", "--tmpfs /run", "--tmpfs /etc/qemu",
        "--ulimit nofile=", "--pids-limit", "ram: 67108864 MiB are asked for, and this host has",
        "set disks/root/read_only=on",
    ):  # fmt: skip
        assert words in container.log
    assert not etcd_server.get(f"/kvm/{vm}/epoch")


def test_a_user_who_is_not_root_is_told(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    container = start("--user=1000", *RIGHTS)
    assert container.ends() == 77
    assert "uid 1000" in container.log
    assert "--user" in container.log
