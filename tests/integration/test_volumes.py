"""A VM has one disk, and keeps it: volumes that etcd remembers, with real launchers on two hosts."""

import json
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from etcd import Etcd
from launcher import Launcher

pytestmark = pytest.mark.integration

NUMBERS = count(1)
QUIET = {"ram": "64", "nics__nic0__mode": "none", "disks__root__size": "1M"}


class Hosts:
    """Hosts with pools and names of their own, on one machine: what is theirs alone is in their pool."""

    def __init__(self, etcd: Etcd, root: Path, guest: Path, stack: ExitStack) -> None:
        self.etcd = etcd
        self.vm = f"vol{next(NUMBERS)}"
        self._root, self._guest, self._stack = root, guest, stack
        etcd.put(self.vm, **QUIET)

    def pool(self, host: str) -> Path:
        path = self._root / f"pool-{host}"
        path.mkdir(exist_ok=True)
        return path

    def file(self, host: str, disk: str = "root") -> Path:
        return self.pool(host) / f"{self.vm}-{disk}.raw"

    def environ(self, host: str) -> dict[str, str]:
        toml = self._root / f"{host}.toml"
        toml.write_text(
            f'image_paths = ["{self._guest}", "{self._root}"]\ndefault_pool = "default"\n'
            f'[pools.default]\nkind = "directory"\npath = "{self.pool(host)}"\n'
        )
        return {
            "HOLDFAST_CONFIG": str(toml),
            "HOSTNAME": host,
            "ETCD_ENDPOINTS": self.etcd.url,
            "LOG_LEVEL": "debug",
        }

    def on(self, host: str, **more: str) -> Launcher:
        launcher = Launcher({**self.environ(host), "VM": self.vm, "TTL": "5", **more})
        self._stack.callback(launcher.close)
        return launcher

    def up(self, host: str) -> Launcher:
        launcher = self.on(host)
        launcher.says("event RESUME")
        return launcher

    def ran(self, host: str) -> None:
        """A start, and a clean stop."""
        stopped(self.up(host))

    def asks(self, host: str, *arguments: str) -> tuple[int, str]:
        launcher = Launcher(self.environ(host), arguments)
        self._stack.callback(launcher.close)
        status = launcher.ends()
        return status, launcher.console + launcher.log

    def record(self, disk: str = "root") -> dict[str, object]:
        found: dict[str, object] = json.loads(self.etcd.get(self.key(disk)) or "null")
        return found

    def key(self, disk: str = "root") -> str:
        return f"/kvm/_own/{self.vm}/volumes/{disk}"

    def rewrite(self, **changes: object) -> None:
        self.etcd.ctl("put", self.key(), json.dumps({**self.record(), **changes}))

    def copies(self, source: str, target: str) -> None:
        """The volume and its id; not the pool's own."""
        for path in self.pool(source).glob(f"{self.vm}-*"):
            shutil.copy(path, self.pool(target))


def stopped(launcher: Launcher) -> None:
    launcher.signal()
    launcher.says("powering the guest down")
    launcher.signal()
    assert launcher.ends() == 0, launcher.story()


@pytest.fixture
def hosts(etcd_server: Etcd, tmp_path: Path, guest: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(etcd_server, tmp_path, guest, stack)


def waits(launcher: Launcher, said: str) -> None:
    """It names what is amiss, and has taken nothing."""
    launcher.says(f"waiting: .*{said}")
    assert "the VM is ours" not in launcher.log


# -- the fork


def test_a_standby_never_makes_the_disk_anew(hosts: Hosts) -> None:
    first = hosts.up("host-a")
    hosts.file("host-a").write_bytes(b"PRECIOUS" + bytes(1024**2 - 8))
    second = hosts.on("host-b")
    second.says("the VM runs on host-a; standing by")
    stopped(first)
    waits(
        second,
        f"disk root is the volume {hosts.file('host-a')} on host-a.*volume forget {hosts.vm} root --yes",
    )
    assert not hosts.file("host-b").exists()
    assert hosts.etcd.get(f"/kvm/{hosts.vm}/lock") is None
    hosts.ran("host-a")  # without a word
    assert hosts.file("host-a").read_bytes()[:8] == b"PRECIOUS"
    assert "waiting" not in hosts.up("host-a").log


def test_a_forgotten_disk_is_made_anew_by_who_stands_by(hosts: Hosts) -> None:
    hosts.ran("host-a")
    second = hosts.on("host-b")
    waits(second, "on host-a, and .* is not here")
    assert hosts.asks("host-b", "volume", "forget", hosts.vm, "root", "--yes")[0] == 0
    second.says(f"disk root: created {hosts.file('host-b')}")
    second.says("event RESUME")
    stopped(second)
    waits(hosts.on("host-a"), "on host-b, and .* here is another one")


# -- what is absent is not new


def test_a_deleted_volume(hosts: Hosts) -> None:
    hosts.ran("host-a")
    hosts.file("host-a").unlink()
    launcher = hosts.on("host-a", LOCK_WAIT="0")
    assert launcher.ends() == 75, launcher.story()
    assert "it is not there any more: put it back" in launcher.log
    assert not hosts.file("host-a").exists()


def test_an_unmounted_pool(hosts: Hosts) -> None:
    """Its mount point is an empty folder, which looks like a new pool."""
    hosts.ran("host-a")
    pool = hosts.pool("host-a")
    pool.rename(pool.with_name("elsewhere"))
    waits(hosts.on("host-a"), "on host-a, and .* is not here.*mount its pool")
    assert list(hosts.pool("host-a").iterdir()) == []


def test_another_folder_at_the_same_path(hosts: Hosts) -> None:
    """With a volume of the same name, as after a fork."""
    hosts.ran("host-a")
    pool = hosts.pool("host-a")
    pool.rename(pool.with_name("elsewhere"))
    hosts.file("host-a").write_bytes(bytes(1024**2))
    waits(hosts.on("host-a"), "here is another one")


def test_another_name_for_the_volume(hosts: Hosts) -> None:
    """By its format it is called otherwise, and that one has never been made."""
    hosts.ran("host-a")
    hosts.etcd.put(hosts.vm, disks__root__format="qcow2")
    waits(hosts.on("host-a"), f"is the volume {hosts.file('host-a')} on host-a")
    assert not hosts.file("host-a").with_suffix(".qcow2").exists()


def test_the_variables_of_a_uefi(hosts: Hosts) -> None:
    hosts.etcd.put(hosts.vm, firmware="uefi")
    hosts.ran("host-a")
    assert hosts.record("vars")["state"] == "made"
    hosts.copies("host-a", "host-b")
    hosts.file("host-b", "vars").unlink()
    waits(hosts.on("host-b"), f"firmware is the volume {hosts.file('host-a', 'vars')} on host-a")


def test_a_volume_whose_source_is_not_here_either(hosts: Hosts, tmp_path: Path) -> None:
    """The record is judged before the keys are, whose faults would hide it."""
    hosts.etcd.ctl("del", f"/kvm/{hosts.vm}/disks/root/size")
    (tmp_path / "image.raw").write_bytes(bytes(1024**2))
    hosts.etcd.put(hosts.vm, disks__root__source__image=f"{tmp_path}/image.raw")
    hosts.ran("host-a")
    assert hosts.record()["source"] == f"{tmp_path}/image.raw"
    (tmp_path / "image.raw").unlink()
    waits(hosts.on("host-b"), "disk root is the volume .* on host-a")
    hosts.etcd.put(hosts.vm, disks__root__source__image=f"{tmp_path}/other.raw")
    launcher = hosts.on("host-a")
    launcher.says("disks/root: the volume was made from .*image.raw; source now says .*other.raw")


# -- while it is being made


@pytest.mark.parametrize("moment", ["before the file", "before its id", "after the file"])
def test_a_launcher_that_was_killed_while_it_made_it(hosts: Hosts, moment: str) -> None:
    """What it leaves behind at each moment, as its own steps have left it."""
    hosts.ran("host-a")
    identity = hosts.record()["id"]
    hosts.rewrite(state="making")
    if moment != "after the file":
        hosts.file("host-a").unlink()
    if moment == "before its id":
        Path(f"{hosts.file('host-a')}.id").unlink()
    waits(hosts.on("host-b"), "on host-a, which has not finished making it: start the VM there")
    hosts.ran("host-a")
    assert (hosts.record()["state"], hosts.record()["id"]) == ("made", identity)
    assert Path(f"{hosts.file('host-a')}.id").read_text().strip() == identity


def test_killed_in_the_middle(hosts: Hosts, tmp_path: Path) -> None:
    """While it waits for a source: a FIFO that nobody writes to stands for a slow one."""
    image = tmp_path / "image.raw"
    image.write_bytes(bytes(64 * 1024**2))
    hosts.etcd.put(hosts.vm, disks__root__size="64M", disks__root__source__image=str(image))
    first = hosts.on("host-a")
    first.says("the VM is ours")
    while not hosts.record():
        first.says("")
    first.signal(signal.SIGKILL)
    first.process.wait()
    assert hosts.record()["state"] == "making"
    waits(
        hosts.on("host-b", LOCK_WAIT="60"),
        "(the VM runs on host-a|which has not finished making it)",
    )
    again = hosts.up("host-a")
    assert hosts.record()["state"] == "made"
    stopped(again)


def test_what_carries_another_id_is_not_what_was_being_made(hosts: Hosts) -> None:
    hosts.ran("host-a")
    hosts.rewrite(state="making", id="8c4f6f5e-5c9c-4a4f-8a43-000000000000")
    waits(hosts.on("host-a"), "here is another one")


def test_a_making_in_another_folder_is_left_alone(hosts: Hosts) -> None:
    hosts.ran("host-a")
    hosts.rewrite(state="making")
    pool = hosts.pool("host-a")
    pool.rename(pool.with_name("elsewhere"))
    waits(hosts.on("host-a"), "which has not finished making it")
    assert not hosts.file("host-a").exists()


def test_a_start_that_fails_leaves_no_promise(hosts: Hosts, tmp_path: Path) -> None:
    """What is certain not to be there may be made by another host."""
    (tmp_path / "image.raw").write_bytes(bytes(2 * 1024**2))  # larger than `size`
    hosts.etcd.put(hosts.vm, disks__root__source__image=f"{tmp_path}/image.raw")
    first = hosts.on("host-a")
    assert first.ends() == 78, first.story()
    assert hosts.record() is None
    hosts.etcd.put(hosts.vm, disks__root__size="2M")
    hosts.ran("host-b")


# -- before there were records


def test_a_volume_of_an_older_launcher_is_adopted(hosts: Hosts) -> None:
    hosts.file("host-a").write_bytes(b"OLD" + bytes(1024**2 - 3))
    hosts.ran("host-a")
    record = hosts.record()
    assert (record["state"], record["host"], record["size"]) == ("made", "host-a", 1024**2)
    assert Path(f"{hosts.file('host-a')}.id").read_text().strip() == record["id"]
    assert hosts.file("host-a").read_bytes()[:3] == b"OLD"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{}", "is damaged .no version"),
        ("[]", "is damaged"),
        ('{"version": 2}', "is of a newer Holdfast"),
        (
            '{"version": 1, "id": 7, "state": "made", "place": "", "host": "", "name": "", "lock": ""}',
            "is damaged",
        ),
    ],
)
def test_a_record_that_cannot_be_read(hosts: Hosts, value: str, said: str) -> None:
    hosts.etcd.ctl("put", hosts.key(), value)
    waits(hosts.on("host-a"), said)
    assert not hosts.file("host-a").exists()


# -- commands


def test_volumes_are_listed(hosts: Hosts) -> None:
    hosts.ran("host-a")
    status, said = hosts.asks("host-a", "volume", "ls")
    assert status == 0
    assert re.search(
        rf"VM {hosts.vm}  disk root  {hosts.file('host-a')} on host-a \(file/\S+\)  1 MiB  made  from empty",
        said,
    )
    (row,) = json.loads(hosts.asks("host-a", "volume", "ls", hosts.vm, "--json")[1])
    assert row["id"] == hosts.record()["id"]
    hosts.etcd.ctl("put", hosts.key("data"), "x")
    assert "disk data  its record is damaged" in hosts.asks("host-a", "volume", "ls", hosts.vm)[1]


@pytest.mark.parametrize(
    "arguments",
    [("forget",), ("forget", "7"), ("adopt", "7"), ("ls", "7", "root"), ("ls", "--yes"), ("adopt", "7", "root", "--json")],
    ids=" ".join,
)  # fmt: skip
def test_commands_are_asked_rightly(hosts: Hosts, arguments: tuple[str, ...]) -> None:
    assert hosts.asks("host-a", "volume", *arguments)[0] == 64


def test_a_record_is_forgotten_only_with_consent(hosts: Hosts) -> None:
    hosts.ran("host-a")
    status, said = hosts.asks("host-b", "volume", "forget", hosts.vm, "root")
    assert status == 64
    assert f"holdfast volume forget {hosts.vm} root --yes" in said
    assert hosts.record()
    assert hosts.asks("host-b", "volume", "forget", hosts.vm, "data", "--yes") == (
        0,
        "there is no record to forget\n",
    )
    assert "forgotten" in hosts.asks("host-b", "volume", "forget", hosts.vm, "root", "--yes")[1]
    assert hosts.record() is None


def test_the_volumes_of_a_running_vm_stay(hosts: Hosts) -> None:
    first = hosts.up("host-a")
    for action in ("forget", "adopt"):
        status, said = hosts.asks("host-a", "volume", action, hosts.vm, "root", "--yes")
        assert (status, "runs on host-a" in said) == (75, True)
    stopped(first)


def test_a_lock_of_ones_own_is_heeded(hosts: Hosts) -> None:
    launcher = hosts.on("host-a", LOCK=f"/kvm/{hosts.vm}/mutex")
    launcher.says("event RESUME")
    assert hosts.asks("host-b", "volume", "forget", hosts.vm, "root", "--yes")[0] == 75
    stopped(launcher)


def test_a_moved_volume_is_adopted(hosts: Hosts) -> None:
    """Its id moved with it: no more consent is needed. Where it was it is not the VM's any more."""
    hosts.ran("host-a")
    identity = hosts.record()["id"]
    hosts.copies("host-a", "host-b")
    second = hosts.on("host-b")
    waits(second, f"is a copy of it, or was moved.*holdfast volume adopt {hosts.vm} root")
    assert hosts.asks("host-b", "volume", "adopt", hosts.vm, "root")[0] == 0
    assert (hosts.record()["id"], hosts.record()["host"]) == (identity, "host-b")
    second.says("event RESUME")
    stopped(second)
    waits(hosts.on("host-a"), "on host-b; .* is a copy of it")


def test_another_volume_is_adopted_only_with_consent(hosts: Hosts) -> None:
    hosts.ran("host-a")
    identity = hosts.record()["id"]
    assert hosts.asks("host-b", "volume", "adopt", hosts.vm, "root")[0] == 77
    hosts.file("host-b").write_bytes(b"RESTORED" + bytes(1024**2 - 8))
    status, said = hosts.asks("host-b", "volume", "adopt", hosts.vm, "root")
    assert status == 64
    assert "does not bear the id" in said
    assert hosts.asks("host-b", "volume", "adopt", hosts.vm, "root", "--yes")[0] == 0
    assert hosts.record()["id"] != identity
    hosts.ran("host-b")
    assert hosts.file("host-b").read_bytes()[:8] == b"RESTORED"
    waits(hosts.on("host-a"), "on host-b, and .* here is another one")
    assert hosts.asks("host-b", "volume", "adopt", hosts.vm, "data")[0] == 64


# -- without etcd


def test_without_etcd_the_file_beside_it_remembers(hosts: Hosts, tmp_path: Path) -> None:
    keys = tmp_path / "vm.yaml"
    keys.write_text("ram: 64\nnics: {nic0: {mode: none}}\ndisks: {root: {size: 1M}}\n")
    environ = {
        name: value for name, value in hosts.environ("host-a").items() if "ETCD" not in name
    }

    def alone() -> Launcher:
        launcher = Launcher({**environ, "VM": hosts.vm, "VM_FILE": str(keys)})
        hosts._stack.callback(launcher.close)
        return launcher

    first = alone()
    first.says("event RESUME")
    stopped(first)
    volume = hosts.file("host-a")
    beside = Path(f"{volume}.id")
    identity = beside.read_text().strip()
    volume.unlink()
    again = alone()
    assert again.ends() == 78
    assert (
        f"disks/root: {volume} was made, and is not there any more: put it back; or delete {beside}"
        in again.log
    )
    beside.unlink()
    third = alone()
    third.says("event RESUME")
    stopped(third)
    hosts.ran("host-a")  # with an etcd from now on
    assert hosts.record()["id"] == beside.read_text().strip() != identity
