"""What only time guards: which disks those are, what they are called, and what a VM must keep to."""

import os
from pathlib import Path

import pytest

from holdfast.config import settings
from holdfast.errors import ConfigError
from holdfast.machine import Cache, Disk, LocalPath
from holdfast.ownership import time_fence
from holdfast.policy.host_config import HostConfig
from holdfast.storage import device_name, pathname, shared
from holdfast.storage.identity import UNCLAIMED, identities
from holdfast.storage.pathname import ANYWHERE, FOLDER_ID
from holdfast.system import mounts

DEVICE = os.makedev(8, 17)


@pytest.mark.parametrize(
    ("name", "partition", "expected"),
    [
        ("naa.6001405a", "", "naa.6001405a"),
        ("mpath-36001405a", "", "naa.6001405a"),
        ("mpath-20025385b", "", "eui.0025385b"),
        ("part1-mpath-36001405a", "", "naa.6001405a-part1"),
        ("naa.6001405a", "1", "naa.6001405a-part1"),
        ("t10.ATA     QEMU HARDDISK   ", "", "t10.ATA_QEMU_HARDDISK_"),
        ("LVM-abcDEF", "", "LVM-abcDEF"),
    ],
)
def test_a_device_has_one_name(name: str, partition: str, expected: str) -> None:
    """By whatever path it is reached: a disk's, a multipath's, a partition's."""
    assert device_name.one_name(name, partition) == expected


def test_the_kernel_says_what_a_device_is_called(tmp_path: Path) -> None:
    disk = tmp_path / "devices" / "sdb"
    (disk / "device").mkdir(parents=True)
    (disk / "device" / "wwid").write_text("naa.6001405a\n")
    (disk / "sdb1").mkdir()
    (disk / "sdb1" / "partition").write_text("1\n")
    (tmp_path / "8:17").symlink_to(disk / "sdb1")
    (tmp_path / "8:16").symlink_to(disk)
    assert device_name.device_name(os.makedev(8, 16), tmp_path) == "naa.6001405a"
    assert device_name.device_name(DEVICE, tmp_path) == "naa.6001405a-part1"


def folder_id(folder: Path) -> str:
    with pathname.found(str(folder), ANYWHERE) as place:
        return shared.folder_id(place)


def test_a_folder_is_named_once(tmp_path: Path) -> None:
    first = folder_id(tmp_path)
    assert folder_id(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER_ID]


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("/dev/vg0/root", True),
        ("/dev/vg0/a/b", False),
        ("/dev/vg01/root", False),
        ("/dev/sdb", True),
        ("/dev/sdb1", False),
        ("/srv/dev/sdb", False),
    ],
)
def test_local_devices(name: str, local: bool) -> None:
    config = settings.parse({}, host_toml='local_devices = ["/dev/vg0/*", "/dev/sdb"]').host_config
    assert config.is_local_device(name) is local
    # By the name that the key has, or by the node that it leads to.
    assert config.is_local_device(name, "/dev/sdb")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, []),
        ({"ETCD_LOSS": "stop"}, []),
        ({"ETCD_LOSS": "hold"}, ["ETCD_LOSS: 'hold': is not possible"]),
        ({"TTL": "9"}, ["TTL: '9': must be at least 10"]),
        ({"VM": "", "VM_FILE": "/7.yaml"}, ["disks/a, disks/b: can be reached by other hosts"]),
    ],
)
def test_what_time_cannot_guard_with(environ: dict[str, str], said: list[str]) -> None:
    config = settings.parse({"VM": "7", **environ})
    faults = list(map(str, time_fence.faults(config, ("b", "a"))))
    assert len(faults) == len(said)
    assert all(map(str.startswith, faults, said))
    assert not time_fence.faults(config, ())


CONSENT = HostConfig(time_fence=True)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that nobody knows; tests/integration has a real one."""
    monkeypatch.setattr(mounts, "LOCAL", frozenset())


def judged(path: Path, config: HostConfig = CONSENT, cache: Cache = Cache.none) -> str:
    disk = Disk(name="root", backend=LocalPath(path=str(path)), cache=cache)
    try:
        return identities([disk], ANYWHERE, config).shared["root"]
    except ConfigError as error:
        (line,) = error.lines()
        return line


@pytest.mark.usefixtures("foreign")
def test_a_shared_file_needs_consent_and_no_cache(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(4096))
    refusal = judged(path, HostConfig())
    for word in (
        "storage_fence",
        "stale leader",
        "clock stood still",
        "page cache",
        "ownership.md",
    ):
        assert word in refusal
    assert not (tmp_path / FOLDER_ID).exists()
    assert "disks/root/cache must be none" in judged(path, cache=Cache.writeback)
    assert judged(path) == f"{folder_id(tmp_path)}/disk.raw"
    (tmp_path / "link").symlink_to("disk.raw")
    assert judged(tmp_path / "link") == judged(path)


def test_a_folder_that_this_host_serves_to_others(tmp_path: Path) -> None:
    """Local to the server's kernel, and not to the hosts that mount it from there."""
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(4096))
    disk = Disk(name="root", backend=LocalPath(path=str(path)))
    assert not identities([disk], ANYWHERE, HostConfig()).shared
    name = folder_id(tmp_path)
    assert "a folder that other hosts use too, as its .holdfast-id says" in judged(
        path, HostConfig()
    )
    assert judged(path) == f"{name}/disk.raw"


@pytest.mark.usefixtures("foreign")
def test_a_shared_file_has_one_name(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(4096))
    path.with_name("again").hardlink_to(path)
    assert "has a second name (hard link)" in judged(path)
    folder_id(tmp_path)
    assert "is the folder's name, not a disk" in judged(tmp_path / FOLDER_ID)
    (tmp_path / FOLDER_ID).write_text("me")
    path.with_name("again").unlink()
    assert "must hold a UUID" in judged(path)


@pytest.mark.usefixtures("foreign")
def test_a_disk_that_is_only_read_needs_nothing(tmp_path: Path) -> None:
    backend = LocalPath(path=str(tmp_path / "iso"))
    disk = Disk(name="a", backend=backend, read_only=True)
    assert identities([disk], ANYWHERE, HostConfig()) == UNCLAIMED
