"""A VM that is described by the origin's keys alone, its disk in a real Ceph."""

import json
import os
import re
import signal
from collections.abc import Callable
from urllib.request import urlopen

import pytest
from container import RIGHTS, Ceph, Container, Runner, all_gone, listening, taps
from etcd import Etcd, free_port

pytestmark = pytest.mark.e2e

Start = Callable[..., Container]


@pytest.fixture
def spice_port() -> int:
    return free_port()


@pytest.fixture
def start(run: Runner, etcd_server: Etcd, ceph: Ceph, lan: str, vm: str, spice_port: int) -> Start:
    """`docker run` the VM, on the machine's own network."""
    # Each VM has its own: what was killed keeps its claim on it.
    mac = f"52:54:00:00:{spice_port >> 8:02x}:{spice_port & 255:02x}"
    etcd_server.put(
        vm, ram="192", mac=mac, rbd=f"/{ceph.boot_disk(vm)}", spice_port=str(spice_port)
    )

    def with_options(*options: str, **environ: str) -> Container:
        variables = {
            "VM": vm,
            "HOSTNAME": "host-a",
            "BRIDGE_IF": lan,
            "ETCD_ENDPOINTS": etcd_server.url,
            "STOP_TIMEOUT": "30",
            **environ,
        }
        mount = f"--volume={ceph.conf}:/etc/ceph:ro"
        return run("--net=host", mount, *options, **variables)

    return with_options


def test_boots_with_net_admin_as_the_only_extra_right(
    start: Start, etcd_server: Etcd, vm: str, lan: str, spice_port: int
) -> None:
    container = start(*RIGHTS)
    ready = container.ready()
    assert ready["boot"] == "1"
    assert ready["address"].startswith("10.77.")
    with urlopen(f"http://{ready['address']}/", timeout=10) as page:
        assert b"boot=1" in page.read()
    assert listening(spice_port)
    assert len(taps(lan)) == 1
    status = json.loads(etcd_server.get(f"/kvm/_run/{vm}") or "{}")
    assert (status["state"], status["host"]) == ("running", "host-a")
    assert container.stop() == 0
    assert "GUEST-DOWN" in container.console
    assert not taps(lan)
    assert etcd_server.get(f"/kvm/{vm}/lock") is None


def test_boots_privileged_as_the_origin_ran(start: Start, privileged: list[str], lan: str) -> None:
    container = start(*privileged)
    assert container.ready()["boot"] == "1"
    assert container.stop() == 0
    assert "GUEST-DOWN" in container.console
    assert not taps(lan)


def test_qemu_is_confined_and_no_secret_shows(
    start: Start, ceph: Ceph, etcd_server: Etcd, vm: str
) -> None:
    ticket = "swordfish-77"
    etcd_server.put(vm, spice_password=ticket)
    container = start(*RIGHTS)
    container.ready()
    status = dict(
        re.findall(
            r"(?m)^(\w+):\t(.*)$", container.exec("cat", f"/proc/{inner_qemu(container)}/status")
        )
    )
    assert status["Uid"].split()[0] not in ("0", "65534")
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    processes = container.exec(
        "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'"
    )
    shown = {
        "processes": processes,
        "docker inspect": json.dumps(container.inspect()),
        "log": container.log,
        "console": container.console,
        "status": etcd_server.get(f"/kvm/_run/{vm}") or "",
    }
    for secret in (*ceph.keys, ticket):
        assert [place for place, text in shown.items() if secret in text] == []


def inner_qemu(container: Container) -> int:
    """QEMU's pid as the container counts."""
    return int(container.says(r"QEMU is up.*pid=(\d+)").group(1))


@pytest.mark.parametrize("namespace", [[], ["--pid=host"]], ids=["own-pids", "pid-host"])
def test_kill_9_of_the_launcher_leaves_nothing(
    start: Start, lan: str, namespace: list[str]
) -> None:
    """With --pid=host the kernel does not end the rest of the container along with its PID 1."""
    container = start(*RIGHTS, *namespace)
    container.ready()
    pids = list(container.pids())
    assert container.launcher() in pids
    assert container.qemu() in pids
    assert len(taps(lan)) == 1
    os.kill(container.launcher(), signal.SIGKILL)
    assert container.ends() == 128 + signal.SIGKILL
    assert all_gone(pids)
    assert not taps(lan)
