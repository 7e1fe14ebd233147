"""What becomes of a VM whose guest or QEMU ends by itself: on_poweroff, on_reboot, on_crash."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deadline import eventually
from etcd import Etcd, where
from launcher import Launcher, alive

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """A VM of its own for each test."""
    name = "power-" + request.node.name.removeprefix("test_").lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:40].strip("-")


@pytest.fixture
def keys(guest: Path) -> dict[str, str]:
    return {
        "ram": "192",
        "kernel": f"{guest}/vmlinuz",
        "initrd": f"{guest}/initrd.img",
        "cmdline": "console=ttyS0 quiet no_timer_check",
        "disks__data__pool": "default",
        "disks__data__size": "16M",
        "stop_timeout": "30",
    }


def on(etcd: Etcd, vm: str, **more: str) -> dict[str, str]:
    return {"VM": vm, "ETCD_ENDPOINTS": etcd.url, **more}


def record(etcd: Etcd, vm: str, key: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(etcd.get(where(vm, key)) or "{}")
    return found


def shown(vm: str) -> dict[str, object]:
    """The file beside the running VM."""
    found: dict[str, object] = json.loads(Path(f"/run/holdfast/{vm}/status.json").read_text())
    return found


def in_guest(vm: str, command: str) -> None:
    """A line for the shell on the guest's serial port, which takes 16 bytes at a time: until its echo."""
    with socket.socket(socket.AF_UNIX) as console:
        console.settimeout(30)
        console.connect(f"/run/holdfast/{vm}/console")
        console.sendall(f"{command}\n".encode())
        echo = b""
        # A panic writes between the letters, and QEMU's end closes the socket.
        while not re.search(re.escape(command.encode()) + b"\r\n|Kernel panic", echo):
            more = console.recv(4096)
            if not more:
                return
            echo += more


def restarted(launcher: Launcher, boot: int) -> None:
    """The guest has come back, from the same disk."""
    launcher.says(f"GUEST-READY .* boot={boot}\\b", where="console")


PANIC = "echo c >/proc/sysrq-trigger"


def test_v24_a_reboot_keeps_vm_and_disk_as_a_crash_does(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    """A dead QEMU, then a panic, then a reboot: the VM stays here, with its disk, its lock and its epoch.

    The reboot does not even end QEMU.
    """
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    standby = launch(on(etcd_server, vm, HOSTNAME="host-b"))
    standby.says("waiting: the VM runs on host-a")
    lock, claims = (
        etcd_server.get(f"/kvm/{vm}/lock"),
        etcd_server.ctl("get", "--prefix", "/kvm/_claims/"),
    )
    os.kill(launcher.qemu(), signal.SIGKILL)
    launcher.says("QEMU ended by itself, with signal 9: starting QEMU again in place")
    restarted(launcher, 2)
    in_guest(vm, PANIC)
    launcher.says("the guest's kernel panicked: starting QEMU again in place")
    restarted(launcher, 3)
    third = launcher.qemu()
    in_guest(vm, "reboot")
    restarted(launcher, 4)
    assert launcher.qemu() == third
    status = record(etcd_server, vm, "status")
    assert (status["state"], status["restarts"], status["epoch"]) == ("running", 2, 1)
    assert "panicked" in str(status["last_restart"])
    assert status.items() <= shown(vm).items()
    assert etcd_server.get(f"/kvm/{vm}/lock") == lock
    assert etcd_server.get(f"/kvm/_own/{vm}/epoch") == "1"
    assert etcd_server.ctl("get", "--prefix", "/kvm/_claims/") == claims
    in_guest(vm, "poweroff")
    assert launcher.ends() == 0
    assert etcd_server.get(f"/kvm/{vm}/power") == "off"
    standby.says("waiting: the VM is switched off")
    assert standby.console == ""


def test_a_crash_loop_ends(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, title="crashes")
    launcher = launch(on(etcd_server, vm))
    standby = launch(on(etcd_server, vm, HOSTNAME="host-b"))
    for one in (launcher, standby):
        one.says("the VM is ours|waiting: the VM runs on")
    if "the VM is ours" in standby.log:
        launcher, standby = standby, launcher
    for number in range(4):
        launcher.says(rf"(QEMU is up(.|\n)*){{{number + 1}}}")
        os.kill(launcher.qemu(), signal.SIGKILL)
    assert launcher.ends() == 70
    assert "crashed again and again" in launcher.log
    last = record(etcd_server, vm, "last")
    assert (last["state"], last["exit"]) == ("crashed", 70)
    assert not etcd_server.get(f"/kvm/{vm}/lock")
    assert not etcd_server.get(f"/kvm/_own/{vm}/fence")
    standby.says("waiting: it crashed on host-[ab] at .*: crashed again and again.*power on")
    late = launch(on(etcd_server, vm, HOSTNAME="host-c", LOCK_WAIT="0"))
    assert late.ends() == 75
    assert standby.console == ""
    etcd_server.ctl("del", f"/kvm/{vm}/title")
    standby.ready()
    assert etcd_server.get(f"/kvm/_own/{vm}/epoch") == "2"


def test_a_crash_that_stops(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, on_crash="stop")
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    standby = launch(on(etcd_server, vm, HOSTNAME="host-b"))
    standby.says("waiting: the VM runs on host-a")
    in_guest(vm, PANIC)
    assert launcher.ends() == 70
    standby.says("waiting: it crashed on host-a at .*: the guest's kernel panicked.*power on")
    assert etcd_server.get(f"/kvm/{vm}/power") is None
    etcd_server.put(vm, power="on")
    assert standby.ready()["boot"] == "2"


def test_v20_a_panic_that_is_kept(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, on_crash="pause")
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    in_guest(vm, PANIC)
    launcher.says("panicked: it is left as it is")
    assert alive(launcher.qemu())
    eventually(lambda: record(etcd_server, vm, "status")["state"] == "panicked")
    since = time.monotonic()
    launcher.signal()
    assert launcher.ends() == 0
    assert "did not power down" not in launcher.log, time.monotonic() - since
    assert record(etcd_server, vm, "last")["forced"] is False


def test_v24_the_guests_own_ends(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    """Powered off and on again; and a reboot that is to end it."""
    etcd_server.put(vm, **keys, on_poweroff="restart", on_reboot="stop")
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    in_guest(vm, "poweroff")
    launcher.says("guest powered off: starting QEMU again in place")
    restarted(launcher, 2)
    assert etcd_server.get(f"/kvm/_own/{vm}/epoch") == "1"
    in_guest(vm, "reboot")
    assert launcher.ends() == 0
    assert etcd_server.get(f"/kvm/{vm}/power") == "off"
    assert "on_reboot is stop" in str(record(etcd_server, vm, "last")["why"])


def test_without_the_lock_nothing_is_restarted(
    launch: Launch, own_etcd: Etcd, vm: str, keys: dict[str, str]
) -> None:
    own_etcd.put(vm, **keys)
    launcher = launch(on(own_etcd, vm, TTL="5"))
    launcher.ready()
    own_etcd.stop()
    os.kill(launcher.qemu(), signal.SIGKILL)
    launcher.says("starting QEMU again in place")
    launcher.says("etcd does not answer.*last_renewal=")
    # Longer than the lease: the point of the test.
    eventually(lambda: seconds_left(vm) < -1)
    assert (shown(vm)["state"], str(shown(vm)["etcd"])[:20]) == (
        "restarting",
        "etcd does not answer",
    )
    assert launcher.log.count("QEMU is up") == 1
    own_etcd.start()
    restarted(launcher, 2)
    assert own_etcd.get(f"/kvm/_own/{vm}/epoch") == "1"
    assert own_etcd.get(f"/kvm/{vm}/lock")
    eventually(lambda: seconds_left(vm) > 0 and shown(vm)["etcd"] == "answers")
    eventually(lambda: record(own_etcd, vm, "status").get("state") == "running")


def seconds_left(vm: str) -> float:
    """Of the lease."""
    lease = shown(vm)["lease"]
    assert isinstance(lease, dict)
    return float(lease["seconds_left"])


def test_a_stop_ends_the_waiting_for_the_lock(
    launch: Launch, own_etcd: Etcd, vm: str, keys: dict[str, str]
) -> None:
    own_etcd.put(vm, **{**keys, "stop_timeout": "1"})
    launcher = launch(on(own_etcd, vm))
    launcher.says("GUEST-BOOT", where="console")
    own_etcd.stop()
    os.kill(launcher.qemu(), signal.SIGKILL)
    launcher.says("starting QEMU again in place")
    launcher.signal()
    assert launcher.ends() == 0
    assert launcher.log.count("QEMU is up") == 1
