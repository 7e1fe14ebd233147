"""`holdfast run` with a real etcd, a real QEMU and a guest that says what it sees."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.gate import Gate
from deadline import eventually
from etcd import Etcd, free_port, where
from launcher import BASE, Launcher, alive, gone

from holdfast.storage import local

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """A VM of its own for each test."""
    name = "run-" + request.node.name.removeprefix("test_").lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:40].strip("-")


@pytest.fixture
def keys(vm: str, guest: Path) -> dict[str, str]:
    """A small VM with one disk in the pool."""
    return {
        "ram": "192",
        "kernel": f"{guest}/vmlinuz",
        "initrd": f"{guest}/initrd.img",
        # Under load TCG's timer comes late, and the kernel takes it for a broken one.
        "cmdline": "console=ttyS0 quiet no_timer_check",
        "disks__data__pool": "default",
        "disks__data__size": "16M",
        "stop_timeout": "30",
    }


def on(etcd: Etcd, vm: str, **more: str) -> dict[str, str]:
    return {"VM": vm, "ETCD_ENDPOINTS": etcd.url, **more}


def status(etcd: Etcd, vm: str, key: str = "status") -> dict[str, object]:
    found: dict[str, object] = json.loads(etcd.get(where(vm, key)) or "{}")
    return found


def test_q13_q15_a_vm_runs_and_stops_cleanly(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str], pool: Path
) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm))
    assert launcher.ready()["boot"] == "1"
    assert f'"vm":"{vm}"' in etcd_server.ctl("get", "--prefix", "/kvm/_claims/")
    assert status(etcd_server, vm)["host"] == "host-a"
    assert status(etcd_server, vm)["state"] == "running"
    assert status(etcd_server, vm)["qemu"]
    launcher.signal()
    assert launcher.ends() == 0
    assert "GUEST-DOWN" in launcher.console
    left = {key.removeprefix(f"/kvm/{vm}/") for key in etcd_server.keys(f"/kvm/{vm}/")}
    tombstones = {"epoch", "fence"}
    assert left == {key.replace("__", "/") for key in keys} | tombstones
    assert status(etcd_server, vm, "last")["forced"] is False
    assert not (Path("/run/holdfast") / vm).exists()
    assert (pool / f"{vm}-data.raw").stat().st_size == 16 << 20
    assert f'"vm":"{vm}"' not in etcd_server.ctl("get", "--prefix", "/kvm/_claims/")


# A process that a stop has reached before its first instruction: what the image's own first line does.
STOPPED_BEFORE = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("more", [{}, {"EXEC": "yes"}, {"ETCD_ENDPOINTS": ""}])
def test_a_stop_that_comes_before_the_handlers_is_heeded(
    launch: Launch,
    etcd_server: Etcd,
    vm: str,
    keys: dict[str, str],
    tmp_path: Path,
    more: dict[str, str],
) -> None:
    etcd_server.put(vm, **keys)
    file = tmp_path / "vm.yaml"
    file.write_text(f"ram: 64\nkernel: {keys['kernel']}\n")
    alone = {"VM_FILE": str(file), "ETCD_ENDPOINTS": ""} if more else {}
    prefix = [sys.executable, "-c", STOPPED_BEFORE]
    launcher = launch({**on(etcd_server, vm), **more, **alone}, prefix=prefix)
    assert launcher.ends() == 0
    assert "stopped before anything was begun" in launcher.log
    assert "QEMU" not in launcher.log
    assert not etcd_server.get(f"/kvm/_own/{vm}/epoch")


def test_the_second_waits_and_takes_over(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    first = launch(on(etcd_server, vm))
    first.ready()
    second = launch(on(etcd_server, vm, HOSTNAME="host-b"))
    second.says("waiting: the VM runs on host-a")
    assert second.console == ""
    first.signal(signal.SIGINT)
    assert first.ends() == 0
    assert second.ready()["boot"] == "2"
    assert status(etcd_server, vm)["host"] == "host-b"


def test_q16_a_killed_launcher_leaves_no_qemu(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm, TTL="5"))
    launcher.ready()
    qemu = launcher.qemu()
    assert len(list(Path(f"/proc/{launcher.process.pid}/task").iterdir())) > 1, (
        "other threads are alive"
    )
    launcher.signal(signal.SIGKILL)
    assert gone(qemu)
    # The same machine may go on with its own file: the lease runs out, the image lock is the kernel's.
    second = launch(on(etcd_server, vm, TTL="5"))
    second.says("waiting: the VM runs on host-a")
    assert second.ready()["boot"] == "2"


def test_another_container_of_this_machine_goes_on(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    """Without `-e HOSTNAME` each is called by its own id, which may be all that tells machines apart."""
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm, TTL="5", HOSTNAME="120fc9b092e4"))
    launcher.says(r"HOSTNAME, 120fc9b092e4, is a container's id.*-e HOSTNAME=\$\(hostname\)")
    launcher.ready()
    launcher.signal(signal.SIGKILL)
    second = launch(on(etcd_server, vm, TTL="5", HOSTNAME="5d0cba9e1f22"))
    assert second.ready()["boot"] == "2"
    second.signal()
    assert second.ends() == 0
    assert f'"vm":"{vm}"' not in etcd_server.ctl("get", "--prefix", "/kvm/_claims/")


def test_another_machine_may_not_take_a_local_disk(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    record = {
        "version": 1, "epoch": 4, "host": "host-z", "boot_id": "x", "machine_id": "elsewhere", "clients": [],
        "images": [{"disk": "data", "kind": "file", "id": "file/elsewhere/pool/x"}],
    }  # fmt: skip
    etcd_server.put(vm, fence=json.dumps(record), epoch="4")
    launcher = launch(on(etcd_server, vm))
    launcher.says("waiting: .*host-z.*did not stop cleanly.*holdfast fence forget")
    assert not etcd_server.get(f"/kvm/{vm}/lock")
    etcd_server.ctl("del", f"/kvm/_own/{vm}/fence")
    launcher.ready()
    assert status(etcd_server, vm)["epoch"] == 5


def test_a_start_that_fails_leaves_no_record(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    """Not that of a dead owner either: nobody has the file open, and its machine bars no other any more."""
    etcd_server.put(vm, **keys)
    first = launch(on(etcd_server, vm, TTL="5"))
    first.ready()
    qemu = first.qemu()
    first.signal(signal.SIGKILL)
    assert gone(qemu)
    etcd_server.put(vm, disks__data__size="64M")
    failed = launch(on(etcd_server, vm, TTL="5"), prefix=["prlimit", f"--fsize={32 << 20}"])
    failed.says("cannot be grown: File too large; trying again in")
    assert not [key for key in ("lock", "fence") if etcd_server.get(where(vm, key))]
    assert f'"vm":"{vm}"' not in etcd_server.ctl("get", "--prefix", "/kvm/_claims/")
    assert status(etcd_server, vm, "last")["why"] == "failed to start"


def test_a_start_that_fails_because_a_qemu_has_the_file_leaves_its_record(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str], pool: Path
) -> None:
    etcd_server.put(vm, **keys)
    first = launch(on(etcd_server, vm, TTL="5"))
    first.ready()
    first.signal(signal.SIGKILL)
    assert gone(first.qemu())
    with (
        (pool / f"{vm}-data.raw").open("rb") as file,
        Gate("127.0.0.1", [etcd_server.port]) as gate,
    ):
        gate.hold_answer_to(b'"since":')  # the lock
        late = launch({**on(etcd_server, vm, TTL="5"), "ETCD_ENDPOINTS": gate.url})
        assert gate.reached.wait(90)
        lock = local.FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, local.FIRST_LOCK, local.LOCKS, 0)
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, lock)
        gate.release()
        late.says("trying again in")
        assert etcd_server.get(f"/kvm/_own/{vm}/fence")
        late.signal()
        assert late.ends() == 0


def test_q15_a_deaf_guest_is_ended_after_stop_timeout(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(
        vm,
        **{
            **keys,
            "cmdline": "console=ttyS0 quiet no_timer_check ignore-acpi",
            "stop_timeout": "4",
        },
    )
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    asked = time.monotonic()
    launcher.signal()
    launcher.says("did not power down within 4 s")
    assert time.monotonic() - asked >= 4
    assert launcher.ends() == 0
    assert status(etcd_server, vm, "last")["forced"] is True


def test_a_second_signal_does_not_wait(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(
        vm,
        **{
            **keys,
            "cmdline": "console=ttyS0 quiet no_timer_check ignore-acpi",
            "stop_timeout": "600",
        },
    )
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends(30) == 0


def test_a_hung_qemu_is_killed(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **{**keys, "stop_timeout": "1"})
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    os.kill(launcher.qemu(), signal.SIGSTOP)
    launcher.signal()
    assert launcher.ends(60) == 0
    assert not alive(launcher.qemu())


def test_v20_a_guest_that_powers_off_stays_off(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(
        vm, **{**keys, "cmdline": "console=ttyS0 quiet no_timer_check poweroff-after=1"}
    )
    launcher = launch(on(etcd_server, vm))
    standby = launch(on(etcd_server, vm, HOSTNAME="host-b"))
    for one in (launcher, standby):
        one.says("the VM is ours|waiting: the VM runs on")
    owner = launcher if "is ours" in launcher.log else standby
    other = standby if owner is launcher else launcher
    assert owner.ends(120) == 0
    other.says("waiting: the VM is switched off")
    assert etcd_server.get(f"/kvm/{vm}/power") == "off"
    assert other.console == ""


def test_v21_a_launcher_that_stays_starts_it_again(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm, STAY="on"))
    launcher.ready()
    etcd_server.put(vm, power="off")
    launcher.says("waiting: the VM is switched off")
    mark = len(launcher.console)
    etcd_server.put(vm, power="on")
    assert launcher.ready(after=mark)["boot"] == "2"


def test_no_etcd_no_start(launch: Launch, vm: str) -> None:
    launcher = launch(
        {"VM": vm, "ETCD_ENDPOINTS": f"http://127.0.0.1:{free_port()}", "LOCK_WAIT": "1"}
    )
    assert launcher.ends() == 69
    assert "etcd does not answer" in launcher.log
    assert "QEMU" not in launcher.log


def test_a_mute_etcd_is_no_start_either(launch: Launch, vm: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        launcher = launch({"VM": vm, "ETCD_ENDPOINTS": endpoint, "LOCK_WAIT": "1"})
        assert launcher.ends() == 69


def test_lock_wait_runs_out(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, lock="somebody")
    launcher = launch(on(etcd_server, vm, LOCK_WAIT="0"))
    assert launcher.ends() == 75
    assert "somebody" in launcher.log


def test_v3_v10_all_faults_at_once_and_no_lock(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **{**keys, "ram": "abc", "mac": "01:00:5e:00:00:01"})
    launcher = launch(on(etcd_server, vm))
    assert launcher.ends() == 78
    assert re.search(r"ram: 'abc'", launcher.log)
    assert re.search(r"mac: '01:00:5e:00:00:01'", launcher.log)
    assert etcd_server.get(f"/kvm/_own/{vm}/epoch") is None


def test_faults_can_be_waited_out(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **{**keys, "ram": "abc"})
    launcher = launch(on(etcd_server, vm, CONFIG_WAIT="on"))
    launcher.says("waiting: ram: 'abc'")
    etcd_server.put(vm, ram="192")
    launcher.ready()


def test_a_vm_for_another_host_waits(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, host="host-b")
    launcher = launch(on(etcd_server, vm))
    launcher.says("waiting: the VM is for host host-b, and this is host-a")
    etcd_server.put(vm, host="host-a host-b")
    launcher.ready()


def test_a_standby_can_be_stopped(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, lock="somebody")
    launcher = launch(on(etcd_server, vm))
    launcher.says("waiting")
    launcher.signal()
    assert launcher.ends(10) == 0


def test_an_outage_of_etcd_harms_nobody(
    launch: Launch, own_etcd: Etcd, vm: str, keys: dict[str, str]
) -> None:
    own_etcd.put(vm, **keys)
    launcher = launch(on(own_etcd, vm, TTL="5"))
    launcher.ready()
    standby = launch(on(own_etcd, vm, TTL="5", HOSTNAME="host-b"))
    standby.says("waiting")
    own_etcd.stop()
    launcher.says("etcd does not answer.*the VM goes on")
    time.sleep(7)  # longer than the lease: the point of the test
    own_etcd.start()
    launcher.says("etcd answers again")
    assert alive(launcher.qemu())
    assert "QEMU is up" not in standby.log
    launcher.signal()
    assert launcher.ends() == 0
    standby.ready()


def test_without_hold_an_outage_stops_the_vm(
    launch: Launch, own_etcd: Etcd, vm: str, keys: dict[str, str]
) -> None:
    own_etcd.put(vm, **keys)
    launcher = launch(on(own_etcd, vm, TTL="10", ETCD_LOSS="stop"))
    launcher.ready()
    qemu = launcher.qemu()
    own_etcd.pause()
    assert launcher.ends(30) == 76
    assert not alive(qemu)


def test_a_new_owner_ends_the_old_one(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    qemu = launcher.qemu()
    etcd_server.put(vm, epoch="99")
    assert launcher.ends(10) == 76
    assert not alive(qemu)


def test_a_revoked_lease_is_taken_again(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    etcd_server.ctl("del", f"/kvm/{vm}/lock")
    launcher.says("it is ours again")
    assert etcd_server.get(f"/kvm/{vm}/lock")
    eventually(lambda: status(etcd_server, vm).get("state") == "running")


def test_a_standby_leaves_the_owner_time_to_take_its_lock_again(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    """Without a disk nothing else keeps the standby from the VM: no lock of an image, no client of Ceph."""
    diskless = {key: value for key, value in keys.items() if not key.startswith("disks__")}
    etcd_server.put(vm, **diskless)
    first = launch(on(etcd_server, vm))
    first.says("GUEST-READY", where="console")
    second = launch(on(etcd_server, vm, HOSTNAME="host-b"))
    second.says("waiting: the VM runs on host-a")
    etcd_server.ctl("del", f"/kvm/{vm}/lock")
    first.says("it is ours again")
    eventually(lambda: etcd_server.get(f"/kvm/{vm}/lock") is not None)
    assert etcd_server.get(f"/kvm/_own/{vm}/epoch") == "1"
    assert "the VM is ours" not in second.log
    first.signal(signal.SIGINT)  # its record goes with it: nobody is left to wait for
    assert first.ends() == 0
    second.says("GUEST-READY", where="console")


def test_a_stop_ends_a_launcher_that_stays_though_its_vm_is_being_switched_off(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    """Else it would start the VM that has been switched on again meanwhile, and `docker stop` wait in vain."""
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm, STAY="on"))
    launcher.says("QEMU is up")
    etcd_server.put(vm, power="off")  # the guest does not hear its button yet
    launcher.says("power=off: powering the guest down")
    etcd_server.put(vm, power="on")
    launcher.signal()
    launcher.says("SIGTERM: not waiting any longer")
    assert launcher.ends() == 0
    assert etcd_server.get(f"/kvm/{vm}/lock") is None


def test_an_edited_key_waits_for_the_next_start(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    etcd_server.put(vm, ram="256")
    launcher.says("apply at the VM's next start.*ram")
    eventually(lambda: status(etcd_server, vm).get("next_start") == ["ram"])
    # Even the whole description may go (bad input 86): what runs is what was read.
    etcd_server.ctl("del", f"/kvm/{vm}/kernel")
    etcd_server.ctl("del", "--prefix", f"/kvm/{vm}/disks/")
    launcher.says("apply at the VM's next start.*disks/data/pool")
    assert alive(launcher.qemu())


def test_q18_v20_a_dead_qemu_is_reported(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, on_crash="stop")
    launcher = launch(on(etcd_server, vm))
    launcher.ready()
    os.kill(launcher.qemu(), signal.SIGKILL)
    assert launcher.ends() == 128 + signal.SIGKILL
    assert etcd_server.get(f"/kvm/{vm}/power") is None
    assert not etcd_server.get(f"/kvm/{vm}/lock")


def test_a_stop_during_the_start_never_runs_the_guest(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm))
    launcher.says("the VM is ours")
    launcher.signal()
    assert launcher.ends(30) == 0
    assert "GUEST" not in launcher.console


def test_unknown_keys_are_named_and_do_no_harm(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, rma="4G")
    launcher = launch(on(etcd_server, vm))
    launcher.says("rma.*ram")
    launcher.ready()
    assert "rma" in str(status(etcd_server, vm)["unknown"])


def test_the_log_as_json(launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]) -> None:
    etcd_server.put(vm, **keys)
    launcher = launch(on(etcd_server, vm, LOG_FORMAT="json"))
    launcher.ready()
    launcher.signal()
    assert launcher.ends() == 0
    lines = [json.loads(line) for line in launcher.log.splitlines()]
    assert {"time", "level", "message"} <= set(lines[0])
    assert any(line["message"] == "the VM is ours" for line in lines)


def test_a_vm_from_a_file_needs_no_etcd(
    launch: Launch, vm: str, guest: Path, tmp_path: Path
) -> None:
    file = tmp_path / "vm.yaml"
    file.write_text(
        f"ram: 192\nkernel: {guest}/vmlinuz\ninitrd: {guest}/initrd.img\ncmdline: console=ttyS0 quiet no_timer_check\n"
        f"hostname: {vm[:20]}\ndisks:\n  data: {{pool: default, size: 16M}}\n",
        encoding="utf-8",
    )
    launcher = launch({"VM_FILE": str(file), "VM": vm})
    assert launcher.ready()["hostname"] == vm[:20]
    launcher.signal()
    assert launcher.ends() == 0


def test_a_users_own_options(
    launch: Launch, etcd_server: Etcd, vm: str, guest: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "we,ird name.raw"
    disk.write_bytes(bytes(1 << 20))
    options = [
        "-name", "mine", "-m", "192", "-cpu", "max", "-vga", "none", "-balloon", "virtio", "-serial", "stdio",
        "-kernel", f"{guest}/vmlinuz", "-initrd", f"{guest}/initrd.img", "-append", "console=ttyS0 quiet no_timer_check",
        "-drive", f"file={str(disk).replace(',', ',,')},format=raw,if=virtio,cache=none", "-nic", "user,model=virtio",
    ]  # fmt: skip
    lock = f"/kvm/{vm}/lock"
    launcher = launch({"LOCK": lock, "ETCD_ENDPOINTS": etcd_server.url}, *options)
    launcher.says("-balloon")
    assert launcher.ready()["boot"] == "1"
    assert etcd_server.get(lock)
    launcher.signal()
    assert launcher.ends() == 0
    assert "GUEST-DOWN" in launcher.console


def test_exec_gives_the_process_to_qemu(launch: Launch) -> None:
    launcher = launch({"EXEC": "yes"}, "-version")
    assert launcher.ends() == 0
    assert "QEMU emulator version" in launcher.console


def test_exec_leaves_qemu_no_child(tmp_path: Path) -> None:
    """A file as stderr is written to by a `cat`, whom nobody would reap."""
    options = ["-machine", "none", "-nodefaults", "-display", "none", "-chardev", "null,id=x"]
    command = [sys.executable, "-P", "-m", "holdfast", *options]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**BASE, "EXEC": "yes"}, stderr=log)
    try:
        eventually(lambda: "qemu" in Path(f"/proc/{process.pid}/comm").read_text("ascii"))
        assert Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii") == ""
    finally:
        process.kill()
        process.wait()


def test_what_holdfast_serves_cannot_be_had_with_exec(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "vm.yaml"
    file.write_text("{tpm: '2.0', firmware: uefi}")
    launcher = launch({"EXEC": "yes", "VM_FILE": str(file)})
    assert launcher.ends() == 64
    assert "nobody who serves tpm, firmware" in launcher.log


def test_options_that_end_supervision_are_refused(launch: Launch) -> None:
    launcher = launch({}, "-daemonize")
    assert launcher.ends() == 64
    assert "-daemonize" in launcher.log


def test_a_kernel_that_is_not_there_is_named(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **{**keys, "kernel": keys["kernel"] + ".missing"})
    launcher = launch(on(etcd_server, vm))
    assert launcher.ends() == 78
    assert re.search(r"kernel: .*does not exist on this host", launcher.log)
    assert etcd_server.get(f"/kvm/_own/{vm}/epoch") is None


def test_a_damaged_record_bars_the_vm(
    launch: Launch, etcd_server: Etcd, vm: str, keys: dict[str, str]
) -> None:
    etcd_server.put(vm, **keys, fence="{}")
    launcher = launch(on(etcd_server, vm))
    launcher.says("waiting: .*fence: is damaged .*holdfast fence forget")
    assert not etcd_server.get(f"/kvm/{vm}/lock")


def test_an_etcd_that_comes_later_is_found(
    launch: Launch, own_etcd: Etcd, vm: str, keys: dict[str, str]
) -> None:
    own_etcd.put(vm, **keys)
    own_etcd.stop()
    launcher = launch(on(own_etcd, vm))
    launcher.says("waiting: etcd does not answer")
    own_etcd.start()
    launcher.says("the VM is ours")
