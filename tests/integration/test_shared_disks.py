"""Disks that other hosts may write to: refused, or guarded by time; and block devices."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import foreign
import pytest
from etcd import Etcd, where
from launcher import Launcher, gone

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
NUMBERS = count(1)


@pytest.fixture
def here(tmp_path: Path, guest: Path) -> Iterator[Path]:
    """A folder with a bootable disk, as this host has it mounted."""
    (tmp_path / "server").mkdir()
    shutil.copy(guest / "disk.raw", tmp_path / "server" / "disk.raw")
    with foreign.mounted(tmp_path / "server", tmp_path / "here") as point:
        yield point


@pytest.fixture
def there(tmp_path: Path, here: Path) -> Iterator[Path]:
    """The same folder, as another host has it mounted."""
    with foreign.mounted(tmp_path / "server", tmp_path / "there") as point:
        yield point


@pytest.fixture
def consent(host_toml: Path) -> None:
    host_toml.write_text('storage_fence = "time"\n' + host_toml.read_text())


@pytest.fixture
def described(etcd_server: Etcd) -> Callable[..., dict[str, str]]:
    """A VM in etcd with the disk `root`: the environment that names it."""

    def put(path: Path, **keys: str) -> dict[str, str]:
        vm = f"shared{next(NUMBERS)}"
        etcd_server.put(vm, ram="192", disks__root__path=str(path), **keys)
        return {"VM": vm, "ETCD_ENDPOINTS": etcd_server.url}

    return put


Described = Callable[..., dict[str, str]]


def refused(launcher: Launcher, said: str, status: int = 78) -> None:
    assert launcher.ends() == status, launcher.story()
    assert re.search(said, launcher.log), launcher.log
    assert "the VM is ours" not in launcher.log
    assert "QEMU is up" not in launcher.log


def test_without_consent(launch: Launch, described: Described, here: Path) -> None:
    said = (
        r"disks/root: .*disk.raw.*: lies on fuse, which other hosts may mount too.*storage_fence"
    )
    refused(launch(described(here / "disk.raw")), said)
    assert not (here / ".holdfast-id").exists()


@pytest.mark.usefixtures("consent")
def test_what_time_cannot_guard(
    launch: Launch, described: Described, here: Path, tmp_path: Path
) -> None:
    vm = described(here / "disk.raw")
    refused(launch({**vm, "ETCD_LOSS": "hold"}), "ETCD_LOSS: 'hold': is not possible")
    refused(launch({**vm, "TTL": "5"}), "TTL: '5': must be at least 10")
    cached = described(here / "disk.raw", disks__root__cache="writeback")
    refused(launch(cached), "disks/root/cache must be none")
    file = tmp_path / "vm.yaml"
    file.write_text(f"ram: 192\ndisks:\n  root:\n    path: {here}/disk.raw\n")
    alone = {"VM": "alone", "VM_FILE": str(file)}
    refused(launch(alone), "disks/root: can be reached by other hosts: without a lock")


@pytest.mark.usefixtures("consent")
def test_with_consent(
    launch: Launch, etcd_server: Etcd, described: Described, here: Path, there: Path
) -> None:
    vm = described(here / "disk.raw")
    first = launch(vm)
    assert first.ready()["boot"] == "1"
    folder = (here / ".holdfast-id").read_text().strip()
    (claim,) = [key for key in etcd_server.keys("/kvm/_claims/shared/") if folder in key]
    assert claim == f"/kvm/_claims/shared/{folder}/disk.raw"
    # Another host knows the file by another path and device, and no lock of ours is seen there.
    other = launch({**described(there / "disk.raw"), "HOSTNAME": "host-b", "CONFIG_WAIT": "off"})
    assert other.ends() == 78, other.story()
    assert f"is in use by VM {vm['VM']}" in other.log
    # Another tree of keys sees no claim of this one's in etcd, but the one beside the file.
    beside = here / ".disk.raw.holdfast-claim"
    etcd_server.ctl("put", f"/kvm2/{vm['VM']}/ram", "192")
    etcd_server.ctl("put", f"/kvm2/{vm['VM']}/disks/root/path", str(there / "disk.raw"))
    foreign_tree = launch({**vm, "KEY_PREFIX": "/kvm2", "HOSTNAME": "host-b"})
    foreign_tree.says(rf"belongs to VM {vm['VM']} of the tree /kvm .*rm -r \S*{beside.name}")
    assert not etcd_server.get(f"/kvm2/{vm['VM']}/lock")
    # Without its guard a VM does not go on.
    qemu = first.qemu()
    os.kill(int(first.says(r"a guard ends QEMU .*pid=(\d+)")[1]), signal.SIGKILL)
    assert first.ends() == 76
    assert "the guard of its disks has ended: killing QEMU" in first.log
    assert gone(qemu, 0)
    assert etcd_server.get(f"/kvm/_own/{vm['VM']}/fence")


@pytest.mark.usefixtures("consent")
def test_a_clean_stop_leaves_nothing(
    launch: Launch, etcd_server: Etcd, described: Described, here: Path, guest: Path
) -> None:
    boot = {"kernel": f"{guest}/vmlinuz", "initrd": f"{guest}/initrd.img"}
    vm = described(here / "disk.raw", cmdline="console=ttyS0 quiet no_timer_check", **boot)
    launcher = launch(vm)
    launcher.ready()
    guard = int(launcher.says(r"a guard ends QEMU .*pid=(\d+)")[1])
    launcher.signal()
    assert launcher.ends() == 0, launcher.story()
    assert gone(guard, 0)
    assert not [key for key in ("lock", "fence") if etcd_server.get(where(vm["VM"], key))]
    assert not (here / ".disk.raw.holdfast-claim").exists()
    # So the next one does not wait.
    again = launch(vm)
    again.says("QEMU is up")
    assert "waiting" not in again.log


@pytest.mark.usefixtures("consent")
def test_a_volume_in_a_shared_pool(
    launch: Launch, etcd_server: Etcd, here: Path, host_toml: Path, pool: Path
) -> None:
    """Made whole, claimed by its folder; and a qcow2 is written to as QEMU opens it."""
    host_toml.write_text(host_toml.read_text().replace(str(pool), str(here)))
    vm = f"shared{next(NUMBERS)}"
    etcd_server.put(vm, ram="192", disks__root__size="64M", disks__root__format="qcow2")
    etcd_server.put(vm, disks__root__pool="default")
    launcher = launch({"VM": vm, "ETCD_ENDPOINTS": etcd_server.url})
    launcher.says("a guard ends QEMU")
    folder = (here / ".holdfast-id").read_text().strip()
    assert etcd_server.get(f"/kvm/_claims/shared/{folder}/{vm}-root.qcow2")
    assert (here / f"{vm}-root.qcow2").stat().st_size


# -- block devices


@pytest.fixture
def device(tmp_path: Path, guest: Path) -> Iterator[Path]:
    """A block device with a bootable disk, under a name of its own."""
    image = shutil.copy(guest / "disk.raw", tmp_path / "backing.raw")
    for path in (Path("/dev/loop-control"), *(Path(f"/dev/loop{n}") for n in range(16))):
        kind, number = (0o020000, (10, 237)) if "control" in path.name else (0o060000, (7, 0))
        with suppress(FileExistsError):
            minor = number[1] if "control" in path.name else int(path.name.removeprefix("loop"))
            os.mknod(path, 0o600 | kind, os.makedev(number[0], minor))
    done = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    )
    loop = Path(done.stdout.strip())
    node = tmp_path / "disk"
    os.mknod(node, 0o600 | 0o060000, loop.stat().st_rdev)
    yield node
    subprocess.run(["losetup", "--detach", loop], check=True)


def test_a_block_device_is_shared_until_it_is_declared_local(
    launch: Launch, described: Described, device: Path, host_toml: Path
) -> None:
    undeclared = rf'is a block device, .*: local_devices = \["{device}"\]; if not: .*storage_fence'
    refused(launch(described(device)), undeclared)
    plain = host_toml.read_text()
    host_toml.write_text('storage_fence = "time"\n' + plain)
    refused(
        launch(described(device)), "a block device that has no name of its own .*local_devices"
    )
    host_toml.write_text(f'local_devices = ["{device.parent}/*"]\n' + plain)
    first = launch(described(device))
    assert first.ready()["boot"] == "1"
    assert "a guard" not in first.log
    # Another node of the same device gets QEMU's image lock, but not the device.
    second = device.with_name("again")
    os.mknod(second, 0o600 | 0o060000, device.stat().st_rdev)
    keys = device.with_name("vm.yaml")
    keys.write_text(f"ram: 192\ndisks:\n  root:\n    path: {second}\n")
    by_file = launch({"VM": "by-file", "VM_FILE": str(keys)})
    assert by_file.ends() == 75, by_file.story()
    assert f"{second} is in use: something on this host has the device" in by_file.log


@pytest.mark.usefixtures("consent")
def test_a_start_that_fails_leaves_nothing(
    launch: Launch, etcd_server: Etcd, described: Described, here: Path
) -> None:
    """The record is there before the disk may be changed; where QEMU was not started, nobody need wait for it."""
    vm = described(here / "disk.raw", disks__root__size="1G")
    limit = (here / "disk.raw").stat().st_size
    failed = launch(vm, prefix=["prlimit", f"--fsize={limit}"])
    assert failed.ends() == 77, failed.story()
    assert "cannot be grown" in failed.log
    assert not [key for key in ("lock", "fence") if etcd_server.get(where(vm["VM"], key))]
    assert not (here / ".disk.raw.holdfast-claim").exists()
