"""`start`, `stop`, `restart` of real VMs, and what `ls`, `show` and `history` say of them on the way."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commanding import good, told
from deadline import PATIENCE, eventually
from etcd import Etcd
from launcher import BASE, Followed, Launcher

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
LONG = str(PATIENCE)


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    name = "sw-" + request.node.name.removeprefix("test_").lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:40].strip("-")


@pytest.fixture
def created(etcd_server: Etcd, guest: Path, vm: str) -> str:
    """Off, as `create` leaves it."""
    more = [
        f"kernel={guest}/vmlinuz",
        f"initrd={guest}/initrd.img",
        "cmdline=console=ttyS0 quiet no_timer_check",
        "stop_timeout=60",
        "disks/data/size=16M",
    ]
    good(etcd_server.url, "create", vm, "--ram", "192M", "--set", "disks/data/pool=default", *more)
    return etcd_server.url


def state(url: str, vm: str) -> dict[str, object]:
    (found,) = json.loads(good(url, "ls", vm, "--json"))
    return dict(found)


def standby(launch: Launch, url: str, vm: str) -> Launcher:
    launcher = launch({"VM": vm, "ETCD_ENDPOINTS": url, "STAY": "on"})
    launcher.says(r"power=off")
    return launcher


def test_a_day_of_a_vm(launch: Launch, created: str, vm: str) -> None:
    launcher = standby(launch, created, vm)
    assert state(created, vm)["state"] == "stopped"
    said = good(created, "start", vm, "--why", "good morning", "--timeout", LONG)
    assert re.search(rf"{vm}  is running on host-a after \d", said)
    assert state(created, vm)["state"] == "running"
    assert "runs already on host-a" in good(created, "start", vm)
    launcher.ready()

    assert "at the next start: holdfast restart" in good(created, "set", vm, "ram=208M")
    eventually(lambda: "1 key for the next start" in str(state(created, vm)["note"]))
    assert "for the next start: ram" in good(created, "show", vm)
    before = len(launcher.console)
    said = good(created, "restart", vm, "--why", "ram", "--timeout", LONG)
    assert re.search(r"is down after .*\n.*is running on host-a after", said)
    launcher.ready(after=before)
    assert state(created, vm)["note"] == ""
    assert told(created, "get", vm, "power") == (0, "on\n")

    said = good(created, "stop", vm, "--why", "good night", "--timeout", LONG)
    assert "is down (switched off by its power key)" in said
    assert f"holdfast start {vm}" in said
    assert state(created, vm)["state"] == "stopped"
    assert "is switched off already" in good(created, "stop", vm)
    found = json.loads(good(created, "history", vm, "--json"))
    assert [one["what"] for one in found] == ["stop", "restart", "set", "start", "create"]
    assert found[3]["why"] == "good morning"
    assert "holdfast rm" in told(created, "rm", vm)[1]
    good(created, "rm", vm, "--yes", "--forget-volumes")
    assert state_of_all(created, vm) == []


def state_of_all(url: str, vm: str) -> list[object]:
    found: list[object] = json.loads(good(url, "ls", vm, "--json"))
    return found


def test_a_restart_whose_laptop_dies_leaves_the_vm_on(
    launch: Launch, created: str, etcd_server: Etcd, vm: str
) -> None:
    """Its `off` hangs on a lease: without it the VM is on, as without the key."""
    launcher = standby(launch, created, vm)
    good(created, "start", vm, "--timeout", LONG)
    launcher.ready()
    before = len(launcher.console)
    command = [sys.executable, "-P", "-m", "holdfast", "restart", vm, "--timeout", LONG]
    laptop = Followed(command, {**BASE, "ETCD_ENDPOINTS": created})
    try:
        laptop.says("power=off written", where="console")
        laptop.signal(signal.SIGKILL)
        laptop.ends()
    finally:
        laptop.close()
    item = json.loads(etcd_server.ctl("get", f"/kvm/{vm}/power", "-w", "json"))
    (power,) = item.get("kvs", [{}])
    if "lease" in power:  # it was killed before it had given `on` back
        etcd_server.ctl("lease", "revoke", f"{power['lease']:x}")  # as etcd does a minute later
    launcher.ready(after=before)
    eventually(lambda: state(created, vm)["state"] == "running")


def test_a_vm_that_nobody_takes_says_so(created: str, vm: str) -> None:
    status, said = told(created, "start", vm, "--timeout", "1")
    assert status == 75
    assert "was taken by no host" in said
    assert f"holdfast show {vm}" in said
    assert state(created, vm)["state"] == "waiting"
    assert "power=off written" in good(created, "stop", vm, "--no-wait")
    assert told(created, "restart", vm) == (64, f"VM {vm} does not run\nholdfast start {vm}")
    assert told(created, "restart", vm, "--no-wait")[0] == 64
    assert told(created, "start", vm, "--timeout", "0")[0] == 64


def test_several_and_one_that_is_not_there(created: str, vm: str) -> None:
    status, said = told(created, "stop", "nix-1", vm)
    assert status == 78
    assert f"{vm}  is switched off already" in said
    assert "power=on written" in good(created, "start", vm, "--no-wait")


def test_a_crash_is_told(launch: Launch, created: str, etcd_server: Etcd, vm: str) -> None:
    good(created, "set", vm, "on_crash=stop")
    launcher = standby(launch, created, vm)
    good(created, "start", vm, "--timeout", LONG)
    launcher.ready()
    subprocess.run(["kill", "-9", str(launcher.qemu())], check=True)
    eventually(lambda: state(created, vm)["state"] == "crashed")
    assert "QEMU ended by itself" in good(created, "ls", vm)
    launcher.ends()
