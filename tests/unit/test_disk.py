"""The keys of disks."""

import pytest
from describing import HOST_TOML, Keys, described, faults, machine

from holdfast.machine import (
    Cache,
    RbdImage,
    RbdVolume,
)
from holdfast.machine.ceph import Access, Monitor


def test_the_primary_disk_is_first_and_the_others_by_number() -> None:
    own = {f"disks/d{number}/path": f"/images/{number}" for number in (10, 9, 2, 1)}
    disks = machine({**own, "disks/d9/primary": "on"}).disks
    assert [disk.name for disk in disks] == ["d9", "d1", "d2", "d10"]
    assert [disk.primary for disk in disks] == [True, False, False, False]


def test_root_is_primary_where_nothing_else_is_said() -> None:
    own = {"rbd": "a/b", "disks/data/path": "/images/a", "disks/cd/path": "/images/b"}
    disks = machine({**own, "disks/cd/kind": "cdrom"}).disks
    assert [(disk.name, disk.primary) for disk in disks] == [
        ("root", True),
        ("cd", False),
        ("data", False),
    ]


def test_a_cdrom_alone_is_not_primary() -> None:
    (disk,) = machine({"disks/cd/path": "/images/a", "disks/cd/kind": "cdrom"}).disks
    assert not disk.primary
    assert not disk.writable


@pytest.mark.parametrize(
    ("own", "line"),
    [
        (
            {"disks/a/rbd": "p/a", "disks/b/rbd": "p/b"},
            "disks: none of a, b is primary: set disks/<name>/primary=on for one",
        ),
        (
            {"disks/a/rbd": "p/a", "disks/b/rbd": "p/b", "disks/a/primary": "on", "disks/b/primary": "1"},
            "disks: a and b are primary: only one of them can be",
        ),
        (
            {"disks/a/rbd": "p/a", "disks/a/path": "/images/a"},
            "disks/a: has rbd and path, and must have one of them",
        ),
        ({"disks/a/size": "1G"}, "disks/a: has none of rbd, path and pool"),
        (
            {"disks/a/pool": "b"},
            "disks/a/pool: 'b': is not a pool of host.toml (default, ceph, far)",
        ),
        ({"disks/a/pool": "ceph", "disks/a/format": "qcow2"}, "disks/a/format: an RBD image is raw"),
        (
            {"rbd": "vms/7-a", "disks/a/pool": "ceph"},
            "disks/root: 'vms/7-a': is the same disk as disks/a",
        ),
        (
            {"disks/a-b/pool": "default"},
            "disks/a-b: must have a name without - to be a volume, which is called <vm>-<name>",
        ),
        ({"disks/a/rbd": "p/a", "disks/a/format": "qcow2"}, "disks/a/format: an RBD image is raw"),
        (
            {"disks/a/rbd": "p/a", "disks/a/kind": "cdrom", "disks/a/read_only": "off"},
            "disks/a/read_only: a cdrom is always read-only",
        ),
        (
            {"disks/a/rbd": "p/a", "disks/a/kind": "cdrom", "disks/a/primary": "on"},
            "disks/a/primary: a cdrom cannot be the primary disk",
        ),
        (
            {"disks/a/rbd": "p/a", "disks/a/kind": "lun"},
            "disks/a/kind: 'lun': is not supported by this version",
        ),
        (
            {"disks/A/rbd": "p/a"},
            "disks/A: its name must be 1 to 26 of a-z, 0-9, - and _, and start with neither sign",
        ),
        ({"ram": "1G", "cmdline": "a"}, "cmdline: needs kernel too"),
    ],
)  # fmt: skip
def test_faults_of_disks(own: Keys, line: str) -> None:
    assert faults(own) == [line]


def test_a_faulty_disk_is_reported_once() -> None:
    own = {"disks/a/path": "relative", "disks/a/pool": "none", "disks/b/rbd": "p/b"}
    assert [line.partition(":")[0] for line in faults(own)] == ["disks/a/path", "disks/a/pool"]


def test_an_own_disk_replaces_the_pool_of_the_defaults() -> None:
    defaults = {"disks/root/pool": "default", "disks/root/cache": "writeback"}
    (disk,) = machine({"rbd": "a/b"}, defaults).disks
    assert disk.backend == RbdImage(pool="a", image="b")
    assert disk.cache is Cache.writeback


def test_a_disk_that_says_nothing_is_in_the_default_pool() -> None:
    toml = 'default_pool = "default"\n' + HOST_TOML
    (disk,) = described({"disks/root/size": "1G"}, host_toml=toml).machine.disks
    assert str(disk.backend) == "/pool/7-root.raw"


def test_a_disk_in_a_pool_of_ceph() -> None:
    disks = machine({"rbd": "vms/old", "disks/log/pool": "ceph", "disks/log/size": "1G"}).disks
    assert disks[1].backend == RbdVolume(pool="vms", image="7-log")
    (disk,) = machine({"disks/a/pool": "far"}).disks
    access = Access(
        monitors=(
            Monitor(host="ceph.example", port=3300),
            Monitor(host="fd00::1", port=3300),
            Monitor(host="fd00::1", port=6789),
        ),
        user="zoe",
        key_file="/etc/holdfast/zoe.key",
    )
    assert disk.backend == RbdVolume(pool="vms", namespace="space", image="7-a", access=access)
    assert str(disk.backend) == "vms/space/7-a"


def test_disks_in_two_clusters() -> None:
    (line,) = faults({"disks/root/pool": "far", "disks/log/rbd": "vms/log"})
    assert line.startswith(
        "disks/root: 'vms/space/7-root': is reached in another way than disks/log: "
    )


def test_more_cdroms_than_the_board_has_room_for() -> None:
    own = {f"disks/c{n}/path": f"/images/{n}" for n in range(7)}
    kinds = {f"disks/c{n}/kind": "cdrom" for n in range(7)}
    assert faults({**own, **kinds}) == ["disks: 7 cdroms, and machine q35 has room for 6"]
    assert faults({**own, **kinds, "machine": "pc"}) == [
        "disks: 7 cdroms, and machine pc has room for 4"
    ]
