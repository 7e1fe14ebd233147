"""Real device nodes, on a file system of the test's own."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from processes import netns

from holdfast.errors import HostLacks
from holdfast.host import Access
from holdfast.system import device

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason=netns.NEEDS_ROOT),
]

# A device that every kernel has and that opens without consequence.
DEVICES = device.minors(Path(device.MISC).read_text(encoding="ascii"))
NAME = "tun" if "tun" in DEVICES else "fuse"


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Path]:
    with netns.namespaces():
        netns.mount_tmpfs(tmp_path / "dev")
        yield tmp_path / "dev"


def in_dev(dev: Path, group: str | None = None) -> device.Device:
    return device.Device(name=NAME, path=str(dev / "net" / "node"), group=group)


def refusal(dev: Path, *wrapper: str) -> str:
    """What `require` says in a process with fewer rights."""
    program = f"""
from holdfast.system import device
from holdfast.errors import HostLacks
try:
    device.require(device.Device(name={NAME!r}, path={str(dev / "net" / "node")!r}))
except HostLacks as error:
    print(error.status, *error.lines(), sep="\\n")
"""
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_missing_node_is_made_and_opens(dev: Path) -> None:
    node = in_dev(dev)
    assert device.provide(node) is Access.open
    found = Path(node.path).stat()
    assert stat.S_ISCHR(found.st_mode)
    assert found.st_mode & 0o777 == 0o666
    assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == (10, DEVICES[NAME])


def test_the_mode_does_not_depend_on_the_umask(dev: Path) -> None:
    before = os.umask(0o077)
    try:
        device.require(in_dev(dev))
    finally:
        os.umask(before)
    assert (dev / "net" / "node").stat().st_mode & 0o777 == 0o666


def test_a_group_keeps_the_others_out(dev: Path) -> None:
    device.require(in_dev(dev, group="tty"))
    found = (dev / "net" / "node").stat()
    assert found.st_mode & 0o777 == 0o660
    assert found.st_gid == device.group_id("tty")


def test_a_group_this_image_lacks_opens_the_node_to_all(dev: Path) -> None:
    device.require(in_dev(dev, group="no-such-group"))
    assert (dev / "net" / "node").stat().st_mode & 0o777 == 0o666


def test_a_node_that_is_there_is_not_touched(dev: Path) -> None:
    device.require(in_dev(dev))
    (dev / "net" / "node").chmod(0o600)
    before = (dev / "net" / "node").stat()
    device.require(in_dev(dev, group="tty"))
    after = (dev / "net" / "node").stat()
    assert (after.st_ino, after.st_mode, after.st_gid) == (
        before.st_ino,
        before.st_mode,
        before.st_gid,
    )


def test_launchers_that_start_together_end_with_one_node(dev: Path) -> None:
    outcomes: list[Access] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        outcomes.append(device.make(in_dev(dev)))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Access.open] * 8
    assert [path.name for path in (dev / "net").iterdir()] == ["node"]


def test_without_mknod_the_options_are_named(dev: Path) -> None:
    said = refusal(dev, "setpriv", "--bounding-set", "-mknod")
    assert said.startswith("77\n")
    assert "without CAP_MKNOD" in said
    assert f"--device {dev}/net/node" in said
    assert f"--cap-add MKNOD --device-cgroup-rule 'c 10:{DEVICES[NAME]} rwm'" in said


def test_a_node_that_may_not_be_opened_is_another_matter(dev: Path) -> None:
    device.require(in_dev(dev))
    (dev / "net" / "node").chmod(0o600)
    os.chown(dev / "net" / "node", 65534, -1)
    said = refusal(dev, "setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    assert "may not be opened" in said
    assert "--user 0" in said


def test_a_nodev_mount_is_noticed(tmp_path: Path) -> None:
    with netns.namespaces():
        netns.mount_tmpfs(tmp_path / "dev", "nodev")
        with pytest.raises(HostLacks, match="may not be opened") as caught:
            device.require(in_dev(tmp_path / "dev"))
    assert "nodev" in caught.value.hint


@pytest.fixture
def closed_cgroup(tmp_path: Path) -> Iterator[Path]:
    """A cgroup (v1) that may make the node but not open it, as docker's default."""
    with netns.namespaces():
        root = tmp_path / "cgroup"
        root.mkdir()
        try:
            netns.run("mount", "-t", "cgroup", "-o", "devices", "cgroup", str(root))
        except subprocess.CalledProcessError:
            pytest.skip("this kernel has no devices controller of cgroup v1")
        own = root / f"holdfast-{os.getpid()}"
        own.mkdir()
        try:
            (own / "devices.deny").write_text(f"c 10:{DEVICES[NAME]} rw")
            yield own
        finally:
            own.rmdir()


def test_the_device_cgroup_is_told_from_a_missing_capability(
    dev: Path, closed_cgroup: Path
) -> None:
    join = f'echo $$ > {closed_cgroup}/cgroup.procs && exec "$@"'
    said = refusal(dev, "sh", "-c", join, "sh")
    assert "device cgroup" in said
    assert f"--device-cgroup-rule 'c 10:{DEVICES[NAME]} rwm'" in said
    assert (dev / "net" / "node").is_char_device()


def test_a_node_has_the_number_that_sysfs_says(dev: Path) -> None:
    number = os.makedev(10, DEVICES[NAME])
    node = device.Device(name="usb", path=str(dev / "001" / "002"), group="root", number=number)
    device.require(node)
    found = Path(node.path).stat()
    assert (found.st_rdev, found.st_mode & 0o777, found.st_gid) == (number, 0o660, 0)


def test_tun_is_roots(dev: Path) -> None:
    """Who can open it can join a tap of several queues that nobody owns."""
    node = in_dev(dev)
    device.require(replace(device.TUN, name=node.name, path=node.path))
    assert Path(node.path).stat().st_mode & 0o777 == 0o600


def test_a_node_left_behind_by_another_device_is_not_taken(dev: Path) -> None:
    os.mknod(dev / "vfio0", stat.S_IFCHR | 0o600, os.makedev(10, DEVICES[NAME]))
    node = device.Device(name="vfio", path=str(dev / "vfio0"), number=os.makedev(511, 0))
    assert device.provide(node) is Access.foreign
