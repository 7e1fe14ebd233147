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
# linux/capability.h
NUMBERS = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
    "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18, "MKNOD": 27, "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}  # fmt: skip
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


# What docker gives besides: for shared folders, files of other owners, ports of a user's own; or for nothing here.
SPARE = (
    "AUDIT_WRITE",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SYS_CHROOT",
)


def test_docker_gives_what_is_listed_here(start: Start) -> None:
    """Minus MINIMUM and SPARE nothing is left: each is missing once, in one test or the other."""
    container = start(*RIGHTS)
    container.says("QEMU is up")
    lines = container.exec("cat", "/proc/1/status").splitlines()
    given = int(next(line for line in lines if line.startswith("CapEff")).split()[1], 16)
    assert given == sum(1 << NUMBERS[name] for name in (*MINIMUM, *SPARE))


@pytest.fixture
def described(etcd_server: Etcd, vm: str, lan: str, tmp_path: Path, boot_disk: Path) -> list[str]:
    """The same VM in etcd; the options that it takes."""
    etcd_server.put(vm, ram="64", disks__root__path=f"{IMAGES}/{boot_disk.name}")
    etcd_server.put(vm, nics__lan__bridge=lan)
    return [
        "--net=host",
        f"--volume={tmp_path}:{IMAGES}",
        f"--env=ETCD_ENDPOINTS={etcd_server.url}",
    ]


@pytest.mark.parametrize("missing", MINIMUM)
def test_a_missing_capability_is_named(
    run: Runner, described: list[str], etcd_server: Etcd, vm: str, missing: str
) -> None:
    """Before the lock: the VM's epoch stays as it was. The option to add can be pasted."""
    given = only(*(name for name in MINIMUM if name != missing))
    container = run(*described, *given, *RULES, VM=vm, HOSTNAME="host-a")
    assert container.ends() == 77, container.story()
    assert f"--cap-add {missing}" in container.log
    assert not etcd_server.get(f"/kvm/_own/{vm}/epoch")
    assert not container.console


@pytest.mark.parametrize("missing", SPARE)
def test_a_capability_that_few_need(start: Start, missing: str) -> None:
    container = start(*RIGHTS, f"--cap-drop={missing}")
    container.says("QEMU is up")
    assert "--cap-add" not in container.log


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
            container.says("QEMU is up")
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
    assert not etcd_server.get(f"/kvm/_own/{vm}/epoch")


def test_a_user_who_is_not_root_is_told(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    container = start("--user=1000", *RIGHTS)
    assert container.ends() == 77
    assert "uid 1000" in container.log
    assert "--user" in container.log
