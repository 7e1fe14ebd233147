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
        ({"disks/a/size": "1G"}, "disks/a: has none of rbd, path and pool, and host.toml has no default_pool"),
        (
            {"disks/a/pool": "b"},
            "disks/a/pool: 'b': is not a pool of host.toml (default, ceph, far)",
        ),
        ({"disks/a/pool": "ceph", "disks/a/format": "qcow2"}, "disks/a/format: an RBD image is raw"),
        (
            {"rbd": "vms/7-a", "disks/a/pool": "ceph"},
            "disks/a: 'vms/7-a': is the same disk as disks/root",
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
    assert line.startswith("disks/log: 'vms/log': is reached in another way than disks/root: ")


@pytest.mark.parametrize(
    ("board", "bus", "kind", "room"),
    [
        ("q35", "", "cdrom", 6),
        ("pc", "", "cdrom", 4),
        ("pc-i440fx-7.2", "ide", "disk", 4),
        ("pc-q35-8.2", "sata", "disk", 6),
        ("q35", "usb", "disk", 3),
    ],
)
def test_more_than_the_board_has_room_for(board: str, bus: str, kind: str, room: int) -> None:
    own = {f"disks/c{n}/path": f"/images/{n}" for n in range(room)} | {"machine": board}
    own |= {f"disks/c{n}/kind": kind for n in range(room)}
    own |= {f"disks/c{n}/bus": bus for n in range(room) if bus}
    first = {"disks/c0/primary": "on"} if kind == "disk" else {}
    assert len(machine({**own, **first}).disks) == room
    more = {"disks/more/path": "/images/more", "disks/more/kind": kind}
    (line,) = faults({**own, **first, **more, **({"disks/more/bus": bus} if bus else {})})
    assert line.startswith(f"disks: {room + 1} on the bus ")
    assert line.endswith(f"and machine {board} has room for {room}")


def test_forty_disks() -> None:
    own = {f"disks/d{n}/path": f"/images/{n}" for n in range(40)} | {"disks/d0/primary": "on"}
    assert faults(own) == [
        "disks: 41 disks, network cards and PCI devices, and there are slots for 20"
    ]
    scsi = {f"disks/d{n}/bus": "scsi" for n in range(40)}
    assert len(machine({**own, **scsi}).disks) == 40


PATH = {"disks/a/path": "/images/a"}
AGAINST = [
    ({"sparse": "off"}, "sparse: is for volumes, which are made; a file of yours stays as it is"),
    ({"aio": "native", "cache": "writeback"}, "aio: native needs cache=none: QEMU refuses it with a cache"),
    ({"iothread": "on", "bus": "nvme"}, "iothread: is for virtio and scsi; nvme has none"),
    ({"read_only": "on", "bus": "sata"}, "read_only: a disk on sata is always writable; use virtio or scsi"),
    ({"kind": "cdrom", "bus": "virtio"}, "bus: there is no cdrom on virtio"),
    ({"kind": "cdrom", "bus": "nvme"}, "bus: there is no cdrom on nvme"),
    ({"kind": "lun", "bus": "virtio"}, "bus: a lun is on scsi"),
    ({"kind": "lun", "format": "qcow2"}, "format: a lun is raw"),
    ({"kind": "lun", "cache": "writeback"}, "cache: a lun has none: its commands go to the device"),
    ({"kind": "lun", "read_only": "on"}, "read_only: a lun obeys the guest's own commands, which may write"),
    ({"kind": "lun", "iops": "1"}, "kind: a lun has no limits: its commands go to the device"),
    ({"kind": "lun", "serial": "1"}, "kind: a lun shows the serial number of its device"),
    ({"bus": "ide"}, "bus: 'ide': machine q35 has none: use sata"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "line"), AGAINST)
def test_what_speaks_against_each_other(own: Keys, line: str) -> None:
    keys = {f"disks/a/{key}": value for key, value in own.items()}
    assert faults({**PATH, **keys}) == [f"disks/a/{line}"]


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"rbd": "a/b", "disks/root/aio": "threads"},
         "disks/root/aio: is for files and block devices; librbd has a way of its own"),
        ({"rbd": "a/b", "disks/root/sparse": "off"}, "disks/root/sparse: an RBD image is always sparse"),
        ({"rbd": "a/b", "disks/root/kind": "lun"}, "disks/root/kind: a lun is a SCSI device of the host: give its path"),
        ({**PATH, "machine": "pc", "disks/a/bus": "sata"}, "disks/a/bus: 'sata': machine pc has none: use ide"),
        ({**PATH, "disks/a/boot": "1", "boot_order": "a"}, "disks/a/boot: is a second order beside boot_order"),
        ({"rbd": "a/b", **PATH, "disks/a/boot": "1", "disks/root/boot": "1"},
         "disks/root/boot: '1': is the turn of disks/a as well"),
    ],
)  # fmt: skip
def test_what_speaks_against_the_rest(own: Keys, line: str) -> None:
    assert faults(own) == [line]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bus", "floppy"), ("aio", "io-uring"), ("discard", "on"), ("iothread", "2"), ("iops", "0"), ("iops", "-1"),
        ("iops", "1e3"), ("bps", "0"), ("bps", "10 M"), ("boot", "0"), ("boot", "100"), ("devname", "a,b"),
        ("devname", "x" * 21), ("sparse", "perhaps"), ("kind", "floppy"),
    ],
)  # fmt: skip
def test_bad_values(key: str, value: str) -> None:
    (line,) = faults({**PATH, f"disks/a/{key}": value})
    assert line.startswith(f"disks/a/{key}: ")
