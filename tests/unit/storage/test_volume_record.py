"""What a start does about a volume, by what etcd remembers and what is here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import HostLacks
from holdfast.etcd.record import Unreadable
from holdfast.host import Host
from holdfast.storage import pools, volume_id, volume_record
from holdfast.storage.volume_record import Elsewhere, Found, State, Task, VolumeRecord, judge
from holdfast.system import mounts

HOST = Host(name="a", machine_id="m1", boot_id="b1")
RECORD = VolumeRecord(
    id="x", state="made", place="file/m1", folder="f/1", host="a", boot_id="b1", name="/pool/7-root.raw", lock="/kvm/7/lock"
)  # fmt: skip
FOUND = Found(
    disk="root", name="/pool/7-root.raw", place="file/m1", folder="f/1", there=True, id="x"
)
ABSENT = replace(FOUND, there=False, id="")
MAKING = replace(RECORD, state="making")
IN_CEPH = replace(RECORD, place="rbd/fsid/vms", folder="", name="vms/7-root")


def way(action: str, disk: str) -> str:
    return f"holdfast volume {action} 7 {disk}"


@pytest.mark.parametrize(
    ("record", "found", "task"),
    [
        pytest.param(None, ABSENT, Task.make, id="never made"),
        pytest.param(None, FOUND, Task.adopt, id="an older launcher's"),
        pytest.param(None, replace(FOUND, id="", folder=""), Task.adopt, id="an older launcher's, unmarked"),
        pytest.param(RECORD, FOUND, Task.keep, id="made and here"),
        pytest.param(MAKING, ABSENT, Task.make, id="begun here"),
        pytest.param(MAKING, FOUND, Task.adopt, id="begun here, and whole"),
        pytest.param(replace(RECORD, place="file/name:b7"), FOUND, Task.adopt, id="another container of this kernel"),
        pytest.param(IN_CEPH, replace(FOUND, place="rbd/fsid/vms", folder=""), Task.keep, id="in Ceph"),
        pytest.param(
            replace(IN_CEPH, state="making", host="b", boot_id="b2"), replace(ABSENT, place="rbd/fsid/vms", folder=""),
            Task.make, id="begun by another host in one Ceph",
        ),
    ],
)  # fmt: skip
def test_it_is_for_this_host(record: VolumeRecord | None, found: Found, task: Task) -> None:
    assert judge(record, found, HOST, way) is task


OTHER = replace(RECORD, place="file/m2", boot_id="b2", host="b")
ELSEWHERE = [
    pytest.param(OTHER, ABSENT, "is the volume /pool/7-root.raw on b, and .* is not here", id="another host's"),
    pytest.param(OTHER, replace(ABSENT, folder=""), "on b, and .* is not here", id="and no pool here yet"),
    pytest.param(replace(OTHER, state="making"), ABSENT, "on b, which has not finished", id="begun by another host"),
    pytest.param(OTHER, FOUND, "is a copy of it, or was moved.*volume adopt 7 root$", id="copied with its id"),
    pytest.param(RECORD, replace(FOUND, folder="f/2"), "is a copy of it", id="in a copy of the folder"),
    pytest.param(RECORD, replace(FOUND, id="y"), "here is another one.*adopt 7 root --yes", id="another id"),
    pytest.param(RECORD, replace(FOUND, id=""), "here is another one", id="a file without an id"),
    pytest.param(MAKING, replace(FOUND, id="y"), "here is another one", id="begun, and another one is here"),
    pytest.param(MAKING, replace(FOUND, id=""), "here is another one", id="begun, and somebody's file is here"),
    pytest.param(MAKING, replace(ABSENT, folder=""), "has not finished", id="begun, and unmounted"),
    pytest.param(RECORD, ABSENT, "is not there any more.*forget 7 root --yes", id="deleted"),
    pytest.param(RECORD, replace(ABSENT, folder=""), "mount its pool", id="unmounted"),
    pytest.param(RECORD, replace(ABSENT, place="shared/s", folder=""), "is not here", id="a shared folder instead"),
    pytest.param(replace(RECORD, place="shared/s", folder=""), replace(ABSENT, folder=""), "is not here", id="NFS unmounted"),
    pytest.param(replace(RECORD, place="shared/s", folder=""), replace(FOUND, place="shared/t", folder=""), "is a copy", id="another NFS"),
    pytest.param(IN_CEPH, replace(ABSENT, place="rbd/other/vms", folder=""), "the volume vms/7-root on a", id="another cluster"),
    pytest.param(IN_CEPH, replace(ABSENT, place="rbd/fsid/vms/space", folder=""), "is not here", id="another namespace"),
    pytest.param(replace(IN_CEPH, state="making"), replace(ABSENT, place="rbd/other/vms", folder=""), "has not finished", id="begun in another cluster"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "found", "why"), ELSEWHERE)
def test_this_host_leaves_it_alone(record: VolumeRecord, found: Found, why: str) -> None:
    with pytest.raises(Elsewhere, match=why):
        judge(record, found, HOST, way)


def test_an_unknown_boot_is_no_common_boot() -> None:
    with pytest.raises(Elsewhere):
        judge(replace(OTHER, boot_id=""), FOUND, replace(HOST, boot_id=""), way)


def test_a_record_comes_back_as_it_was() -> None:
    assert volume_record.decoded(volume_record.encode(RECORD)) == RECORD


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""}, {"id": None}, {"id": 7}, {"state": "gone"}, {"size": "1G"}, {"size": True}, {"place": []},
        {"version": 2}, {"version": True}, {"version": "1"}, {"host": {}},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_says_nothing_sure_is_never_taken_for_none(
    changes: dict[str, object],
) -> None:
    with pytest.raises(Unreadable):
        volume_record.decoded(
            json.dumps({**json.loads(volume_record.encode(RECORD)), **changes}).encode()
        )


def test_states_are_texts_of_the_record() -> None:
    assert {*State} == {"making", "made"}


# -- ids on the disk


def test_a_folder_is_named_once_and_its_copy_is_another_one(tmp_path: Path) -> None:
    pool, copy = tmp_path / "pool", tmp_path / "copy"
    pool.mkdir()
    copy.mkdir()
    assert volume_id.folder(pool) == ""
    first = volume_id.name_folder(pool)
    assert volume_id.name_folder(pool) == volume_id.folder(pool) == first
    (copy / volume_id.FOLDER).write_bytes((pool / volume_id.FOLDER).read_bytes())
    assert volume_id.folder(copy) not in ("", first)
    assert [path.name for path in pool.iterdir()] == [volume_id.FOLDER]


def test_a_folder_whose_name_is_none_is_not_renamed(tmp_path: Path) -> None:
    (tmp_path / volume_id.FOLDER).write_text("x")
    with pytest.raises(HostLacks, match="must hold a UUID"):
        volume_id.name_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 36, b"0" * 5_000_000])
def test_what_is_no_id_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "disk.raw.id").write_bytes(content)
    assert volume_id.read(tmp_path / "disk.raw") == ""
    volume_id.keep(tmp_path / "disk.raw")
    assert volume_id.read(tmp_path / "disk.raw")


# -- a pool that is part of the container

MOUNTS = """\
22 1 0:49 / / rw,relatime - {root} {root} rw,upperdir=/x
23 22 254:0 /volume {pool}/mounted rw - ext4 /dev/vda rw
24 22 0:60 / {pool}/ram rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("root", "folder", "in_container", "refused"),
    [
        ("overlay", "own", True, True),
        ("fuse.fuse-overlayfs", "own", True, True),
        ("overlay", "not-there-yet", True, True),
        ("overlay", "link", True, False),
        ("overlay", "mounted", True, False),
        ("overlay", "mounted/below", True, False),
        ("overlay", "ram", True, False),
        ("ext4", "own", True, False),
        ("overlay", "own", False, False),
    ],
)
def test_a_pool_that_goes_with_the_container(
    root: str, folder: str, in_container: bool, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    (tmp_path / "mountinfo").write_text(MOUNTS.format(root=root, pool=tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "mounted")
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")
    monkeypatch.setattr(pools, "CONTAINER_MARKS", ("/proc",) if in_container else ("/none",))
    pool = str(tmp_path / folder)
    assert pools.is_containers_own(pool) is refused
    if refused:
        with pytest.raises(HostLacks, match="is part of this container") as lack:
            pools.refuse_containers_own([pool])
        assert lack.value.hint == f"add to docker run: -v holdfast-pool:{pool}"
        assert lack.value.status == 77
