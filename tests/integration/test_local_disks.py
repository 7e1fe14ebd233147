"""Disks that are files of this host: what is refused, what is made, who may have them."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from etcd import Etcd
from launcher import Launcher

from holdfast.machine import Disk, Format, Volume
from holdfast.storage import directory as directory_pool
from holdfast.storage import local
from holdfast.storage.pathname import ANYWHERE

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
NUMBERS = count(1)
MIB = 1024**2


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    return directory


@pytest.fixture
def bootable(images: Path, guest: Path) -> Path:
    return Path(shutil.copy(guest / "disk.raw", images / "disk.raw"))


Described = Callable[..., dict[str, str]]


@pytest.fixture
def described(tmp_path: Path) -> Described:
    """A VM in a file, with the disk `root`: the environment that names it."""

    def write(**disk: str) -> dict[str, str]:
        vm = f"local{next(NUMBERS)}"
        file = tmp_path / f"{vm}.yaml"
        keys = "".join(f"    {key}: {value}\n" for key, value in disk.items())
        file.write_text(f"ram: 192\ndisks:\n  root:\n{keys}", encoding="utf-8")
        return {"VM": vm, "VM_FILE": str(file)}

    return write


def qcow2(path: Path, *options: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, "16M"], check=True)
    return path


# -- refused, with nothing started


def missing(images: Path) -> Path:
    return images / "nothing.raw"


def directory(images: Path) -> Path:
    (images / "directory").mkdir()
    return images / "directory"


def fifo(images: Path) -> Path:
    os.mkfifo(images / "fifo")
    return images / "fifo"


def empty(images: Path) -> Path:
    (images / "empty").touch()
    return images / "empty"


def a_link_to_nothing(images: Path) -> Path:
    (images / "link").symlink_to("nothing.raw")
    return images / "link"


def a_link_that_leads_out(images: Path) -> Path:
    (images / "link").symlink_to("/etc/passwd")
    return images / "link"


def a_folder_that_leads_out(images: Path) -> Path:
    (images / "etc").symlink_to("/etc")
    return images / "etc" / "passwd"


def outside(images: Path) -> Path:
    return Path("/etc/passwd")


def terminal(images: Path) -> Path:
    path = images / "tty"
    os.mknod(path, 0o600 | 0o020000, os.makedev(5, 0))
    return path


def qcow2_image(images: Path) -> Path:
    return qcow2(images / "disk.qcow2")


REFUSED = [
    (missing, "does not exist on this host"),
    (directory, "is a folder"),
    (fifo, "neither a regular file nor a block device"),
    (terminal, "neither a regular file nor a block device"),
    (empty, "is empty"),
    (a_link_to_nothing, "is a link to nothing"),
    (a_link_that_leads_out, "is /etc/passwd, which lies outside"),
    (a_folder_that_leads_out, "is /etc/passwd, which lies outside"),
    (outside, "is not under image_paths of host.toml"),
    (qcow2_image, "its header says qcow2, disks/root/format says raw"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[one[0].__name__ for one in REFUSED])
def test_it_is_no_disk(
    make: Callable[[Path], Path],
    said: str,
    launch: Launch,
    described: Described,
    images: Path,
) -> None:
    refused(launch(described(path=str(make(images)))), rf"^.*disks/root\S*: '.*: .*({said})")


def test_a_lun_that_is_none(launch: Launch, described: Described, bootable: Path) -> None:
    refused(
        launch(described(path=str(bootable), kind="lun")), "is no SCSI device, which a lun must"
    )


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_a_volume_that_takes_all_its_room(form: str, pool: Path) -> None:
    volume = Volume(pool="default", directory=str(pool), name=f"vm-data.{form}")
    disk = Disk(name="data", backend=volume, format=Format(form), size=8 * MIB, sparse=False)
    assert directory_pool.provide(disk, ANYWHERE) == "created"
    assert Path(volume.path).stat().st_blocks * 512 >= 8 * MIB
    assert directory_pool.provide(disk, ANYWHERE) == ""


def test_a_qcow2_that_is_none(launch: Launch, described: Described, bootable: Path) -> None:
    launcher = launch(described(path=str(bootable), format="qcow2"))
    refused(launcher, "its header says not qcow2, disks/root/format says qcow2")


def test_a_qcow2_that_leads_elsewhere(
    launch: Launch, described: Described, images: Path, bootable: Path
) -> None:
    backed = qcow2(images / "backed.qcow2", "-b", str(bootable), "-F", "raw")
    refused(
        launch(described(path=str(backed), format="qcow2")), "has a backing file.*qemu-img convert"
    )
    apart = qcow2(images / "apart.qcow2", "-o", f"data_file={images}/data")
    refused(launch(described(path=str(apart), format="qcow2")), "keeps its data in another file")


def test_a_qcow2_that_is_cut_off(
    launch: Launch, described: Described, images: Path, guest: Path
) -> None:
    """An upload that broke off, a full disk. QEMU reads zeros there, and writes."""
    image = images / "cut.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", guest / "disk.raw", image], check=True
    )
    os.truncate(image, image.stat().st_size - 200_000)
    refused(
        launch(described(path=str(image), format="qcow2")),
        r"disks/root: '.*cut.*': is cut off: it has \d+ bytes of \d+ or more",
    )


@pytest.fixture
def large_sectors(tmp_path: Path, pool: Path) -> Iterator[Path]:
    """A file system on a device whose sectors have 4096 bytes."""
    backing, place = tmp_path / "backing", pool / "large"
    with backing.open("wb") as file:
        file.truncate(96 * MIB)
    for path, kind, number in (("loop-control", 0o020000, (10, 237)), *LOOPS):
        with suppress(FileExistsError):
            os.mknod(f"/dev/{path}", 0o600 | kind, os.makedev(*number))
    command = ["losetup", "--find", "--show", "--sector-size=4096", str(backing)]
    loop = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    place.mkdir()
    try:
        subprocess.run(["mkfs.ext4", "-q", "-b", "4096", loop], check=True)
        subprocess.run(["mount", loop, place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)
        subprocess.run(["losetup", "--detach", loop], check=True)


LOOPS = tuple((f"loop{n}", 0o060000, (7, n)) for n in range(16))


def test_a_size_that_larger_sectors_do_not_have(
    launch: Launch, described: Described, large_sectors: Path, guest: Path
) -> None:
    """Told before anything is taken; QEMU would end in the middle of a start."""
    image = large_sectors / "odd.raw"
    shutil.copy(guest / "disk.raw", image)
    os.truncate(image, image.stat().st_size + 512)
    refused(
        launch(described(path=str(image))),
        r"its storage has sectors of 4096, .*truncate --size \d+ .*odd\.raw, or set .*cache to writeback",
    )
    os.truncate(image, image.stat().st_size - 512)
    assert launch(described(path=str(image))).ready()["boot"] == "1"


def refused(launcher: Launcher, said: str) -> None:
    assert launcher.ends() == 78, launcher.story()
    assert re.search(said, launcher.log, re.MULTILINE), launcher.log
    assert "QEMU is up" not in launcher.log
    assert "Traceback" not in launcher.log


# -- files that are there


@pytest.mark.parametrize("cache", ["none", "writeback", "writethrough"])
def test_a_file_boots_and_keeps_its_owner(
    cache: str, launch: Launch, described: Described, bootable: Path
) -> None:
    bootable.chmod(0o600)
    before = bootable.stat()
    launcher = launch(described(path=str(bootable), cache=cache))
    assert launcher.ready()["boot"] == "1"
    launcher.signal()
    assert launcher.ends() == 0
    after = bootable.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )
    assert b"boot=1" in bootable.read_bytes()[40 * 512 : 41 * 512]


def test_a_qcow2_image_boots(
    launch: Launch, described: Described, images: Path, guest: Path
) -> None:
    image = images / "disk.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", guest / "disk.raw", image], check=True
    )
    assert launch(described(path=str(image), format="qcow2")).ready()["boot"] == "1"


def test_a_disk_for_reading_is_only_read(
    launch: Launch, described: Described, bootable: Path
) -> None:
    before = bootable.read_bytes()
    launcher = launch(described(path=str(bootable), read_only="on"))
    launcher.says("GUEST-READY .*boot=none", where="console")
    assert "ro=1" in launcher.console
    # Readers do not disturb each other.
    launch(described(path=str(bootable), read_only="on")).says("QEMU is up")
    launcher.signal()
    assert launcher.ends() == 0
    assert bootable.read_bytes() == before


# -- one at a time


@pytest.fixture
def by_hand(bootable: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's QEMU, which knows nothing of us, has the image."""
    qemu = subprocess.Popen(
        [
            "qemu-system-x86_64", "-nodefaults", "-display", "none", "-S",
            "-drive", f"file={bootable},format=raw,if=virtio", "-qmp", "stdio",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert qemu.stdout
        assert b"QMP" in qemu.stdout.readline()  # its disks are open by now
        yield qemu
    finally:
        qemu.kill()
        qemu.communicate()


@pytest.mark.usefixtures("by_hand")
def test_an_image_that_somebody_has(launch: Launch, described: Described, bootable: Path) -> None:
    in_use(launch(described(path=str(bootable))), bootable)


READERS = {
    "a disk": "disks: {root: {path: PATH, read_only: on}}",
    "a CD-ROM": "disks: {root: {path: PATH, kind: cdrom}}",
    "a kernel": "kernel: PATH",
    "an initrd": "kernel: OTHER\ninitrd: PATH",
    "a document": "user_data: file:PATH",
    "an image": "disks: {root: {size: 64M, source: {image: PATH}}}",
}


@pytest.mark.usefixtures("by_hand")
def test_what_a_qemu_writes_to_is_nobodys_to_read(
    launch: Launch, bootable: Path, images: Path
) -> None:
    shutil.copy(bootable, images / "other")
    file = images.parent / "vm.yaml"
    for reader, keys in READERS.items():
        there = keys.replace("PATH", str(bootable)).replace("OTHER", f"{images}/other")
        file.write_text(f"ram: 64\n{there}\n", encoding="utf-8")
        launcher = launch({"VM": f"local{next(NUMBERS)}", "VM_FILE": str(file)})
        assert launcher.ends() == 75, (reader, launcher.story())
        said = f"{bootable} is in use: a QEMU has it open for writing"
        assert said in launcher.log, reader


@pytest.mark.parametrize(
    ("kind", "byte", "named"),
    [(fcntl.F_RDLCK, 200, True), (fcntl.F_WRLCK, 201, False)],
    ids=["somebody forbids others to read", "somebody has all of a byte"],
)
def test_a_lock_of_which_qemu_alone_knows(
    kind: int, byte: int, named: bool, launch: Launch, described: Described, bootable: Path
) -> None:
    """Said where the device is made; of a lock that QEMU cannot take itself without the image's name."""
    with bootable.open("r+b") as file:
        lock = local.FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, lock)
        launcher = launch(described(path=str(bootable), read_only="on"))
        assert launcher.ends() == 75, launcher.story()
    image = bootable if named else "an image of this VM"
    assert f"{image} is in use: another QEMU holds its lock" in launcher.log


def test_an_image_that_another_vm_has(
    launch: Launch, described: Described, bootable: Path, images: Path
) -> None:
    first = launch(described(path=str(bootable)))
    first.says("QEMU is up")
    in_use(launch(described(path=str(bootable))), bootable)
    # By another name it is the same file.
    (images / "link.raw").hardlink_to(bootable)
    in_use(launch(described(path=f"{images}/link.raw")), images / "link.raw")
    # And the first one did not notice.
    assert first.ready()["boot"] == "1"


def in_use(launcher: Launcher, path: Path) -> None:
    assert launcher.ends() == 75, launcher.story()
    assert f"error: {path} is in use: another QEMU holds its lock" in launcher.log
    assert "QEMU is up" not in launcher.log


def test_a_qemu_that_is_started_again_gets_no_other_file(
    launch: Launch, described: Described, bootable: Path
) -> None:
    """Another one has the name since the VM's disk was claimed."""
    launcher = launch(described(path=str(bootable)))
    launcher.says("QEMU is up")
    Path(shutil.copy(bootable, bootable.with_name("other"))).replace(bootable)
    os.kill(launcher.qemu(), signal.SIGKILL)
    assert launcher.ends() == 75, launcher.story()
    assert f"disks/root: {bootable} leads to another file or device" in launcher.log


def test_the_vm_that_has_it_is_named(launch: Launch, etcd_server: Etcd, bootable: Path) -> None:
    first, second = (f"local{next(NUMBERS)}" for _ in range(2))
    for vm in (first, second):
        etcd_server.put(vm, ram="192", disks__root__path=str(bootable))
    owner = launch({"VM": first, "ETCD_ENDPOINTS": etcd_server.url})
    owner.says("the guest runs")
    other = launch({"VM": second, "ETCD_ENDPOINTS": etcd_server.url})
    other.says(f"another QEMU holds its lock .VM {first} has claimed the disk")
    reader = f"local{next(NUMBERS)}"
    etcd_server.put(reader, ram="192", disks__cd__path=str(bootable), disks__cd__kind="cdrom")
    reading = launch({"VM": reader, "ETCD_ENDPOINTS": etcd_server.url})
    reading.says(f"has it open for writing .VM {first} has claimed the disk")
    assert owner.log.count("the guest runs") == 1


def test_under_a_lock_it_is_waited_for(
    launch: Launch, etcd_server: Etcd, bootable: Path, by_hand: subprocess.Popen[bytes]
) -> None:
    """Nothing is taken while we wait: that QEMU may be this VM's, whose launcher holds on."""
    vm = f"local{next(NUMBERS)}"
    etcd_server.put(vm, ram="192", disks__root__path=str(bootable))
    launcher = launch({"VM": vm, "ETCD_ENDPOINTS": etcd_server.url})
    launcher.says(f"waiting: {bootable} is in use")
    left = {key.removeprefix(f"/kvm/{vm}/") for key in etcd_server.keys(f"/kvm/{vm}/")}
    assert left == {"ram", "disks/root/path"}
    by_hand.kill()
    assert launcher.ready()["boot"] == "1"


# -- volumes


@pytest.mark.parametrize("suffix", ["raw", "qcow2"])
def test_a_volume_is_made_and_kept(
    suffix: str, launch: Launch, described: Described, pool: Path
) -> None:
    vm = described(pool="default", size="64M", format=suffix)
    volume = pool / f"{vm['VM']}-root.{suffix}"
    leftover = volume.with_name(f".{volume.name}.new")
    leftover.write_text("of a launcher that was killed")
    launcher = launch(vm)
    launcher.says("QEMU is up")
    assert f"created {volume}" in launcher.log
    assert {path.name for path in pool.iterdir()} == {volume.name, f"{volume.name}.id"}
    info = ["qemu-img", "info", "--force-share", "-f", suffix, "--output=json", str(volume)]
    found = json.loads(subprocess.run(info, check=True, capture_output=True).stdout)
    assert (found["format"], found["virtual-size"]) == (suffix, 64 * MIB)
    assert found["actual-size"] < MIB
    made = volume.stat().st_ino
    ended_at_once(launcher)
    # A second start finds it, whatever the key says by now.
    again = launch(vm)
    again.says("QEMU is up")
    assert "created" not in again.log
    assert "grown" not in again.log
    assert volume.stat().st_ino == made


@pytest.mark.parametrize("suffix", ["raw", "qcow2"])
def test_a_volume_grows_and_never_shrinks(
    suffix: str, launch: Launch, described: Described, pool: Path
) -> None:
    vm = described(pool="default", size="64M", format=suffix)
    keys = Path(vm["VM_FILE"])
    volume = pool / f"{vm['VM']}-root.{suffix}"
    for size, expected in (("64M", 64), ("96M", 96), ("32M", 96)):
        keys.write_text(re.sub("size: .*", f"size: {size}", keys.read_text()))
        launcher = launch(vm)
        launcher.says("QEMU is up")
        assert (f"grown {volume}" in launcher.log) is (size == "96M")
        info = ["qemu-img", "info", "--force-share", "-f", suffix, "--output=json", str(volume)]
        found = json.loads(subprocess.run(info, check=True, capture_output=True).stdout)
        assert found["virtual-size"] == expected * MIB
        ended_at_once(launcher)


def ended_at_once(launcher: Launcher) -> None:
    """There is no system on the disk that could power down."""
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends() == 0


def test_a_volume_that_cannot_be_made(
    launch: Launch, described: Described, pool: Path, host_toml: Path
) -> None:
    refused(launch(described(pool="default")), "the volume does not exist: give disks/<name>/size")
    vm = described(pool="default", size="64M")
    (pool / f"{vm['VM']}-root.raw").symlink_to("/etc/passwd")
    refused(launch(vm), "is /etc/passwd, which lies outside")
    assert not [path for path in pool.iterdir() if not path.is_symlink()]
    shutil.rmtree(pool)
    refused(launch(vm), f"the pool's directory {pool} does not exist on this host")


def test_two_files_of_one_name_are_two_disks(
    launch: Launch, etcd_server: Etcd, guest: Path, tmp_path: Path
) -> None:
    """Two containers with a folder each, mounted at the same place: here, two mounts of this test."""
    launchers = []
    for number in (1, 2):
        own = tmp_path / f"own{number}"
        own.mkdir()
        shutil.copy(guest / "disk.raw", own / "root.raw")
        seen = tmp_path / "images"
        seen.mkdir(exist_ok=True)
        mounts = f'mount --bind {own} {seen} && exec "$@"'
        vm = f"local{next(NUMBERS)}"
        etcd_server.put(vm, ram="192", disks__root__path=str(seen / "root.raw"))
        prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounts, "sh"]
        environ = {"VM": vm, "ETCD_ENDPOINTS": etcd_server.url}
        launchers.append(launch(environ, prefix=prefix))
    for launcher in launchers:
        assert launcher.ready()["boot"] == "1"


def test_v7_booted_from_a_chain_and_from_its_clone(
    launch: Launch, tmp_path: Path, guest: Path, pool: Path, host_toml: Path
) -> None:
    """With a second disk that has limits, on another bus. The clone goes on where its source was."""
    image = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", guest / "disk.raw", image], check=True)
    templates = '[templates]\nvolumes = ["default/chain-root"]\n'
    host_toml.write_text(f'image_cache = "{tmp_path}/cache"\n{host_toml.read_text()}{templates}')

    def run(vm: str, root: str) -> str:
        file = tmp_path / f"{vm}.yaml"
        data = "{pool: default, size: 16M, bus: scsi, iops: 500, bps: 10M}"
        file.write_text(f"ram: 192\ndisks:\n  root: {root}\n  data: {data}\n", encoding="utf-8")
        launcher = launch({"VM": vm, "VM_FILE": str(file)})
        # `root` by its name is the primary one.
        boot = launcher.ready()["boot"]
        launcher.signal()
        assert launcher.ends() == 0, launcher.story()
        return boot

    chained = f"{{pool: default, size: 512M, chained: on, source: {{image: {image}}}}}"
    assert [run("chain", chained), run("chain", chained)] == ["1", "2"]
    (parent,) = pool.glob("golden-*")
    grown = "{pool: default, size: 1G, format: qcow2, source: {volume: chain-root}}"
    assert run("clone", grown) == "3"
    assert list(pool.glob("golden-*")) == [parent]
    assert sorted(path.name for path in pool.glob("c*") if path.suffix != ".id") == [
        "chain-data.raw", "chain-root.qcow2", "clone-data.raw", "clone-root.qcow2",
    ]  # fmt: skip
