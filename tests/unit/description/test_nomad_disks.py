"""What Nomad's drivers do with disks, and we do right: the cases V1, V4 to V6, V12 to V14 and V23.

V7 to V11 need files and Ceph: tests/integration/test_nomad_disks.py, test_rbd.py.
"""

import itertools

import pytest
from describing import Keys, described, faults, machine

from holdfast import grammar
from holdfast.host import Host
from holdfast.keys import image_source
from holdfast.machine import Bus, Format, RbdVolume, Volume
from holdfast.machine.board import bus_of
from holdfast.qemu import command_line
from holdfast.qemu.option import split

HOST = Host(name="a", machine_id="m", boot_id="b")
IMAGE = {"disks/root/source/image": "https://images.example/a.qcow2"}
POOL = {"disks/root/pool": "default", "disks/root/size": "1G"}


def devices(own: Keys) -> dict[str, dict[str, str]]:
    """The properties of each device of the guest, by its id."""
    argv = command_line(machine(own), HOST)
    found = [dict(split(b, "driver")) for a, b in itertools.pairwise(argv) if a == "-device"]
    return {one["id"]: one for one in found}


def test_v4_defaults_of_one_disk_three_and_a_cdrom() -> None:
    one = machine(POOL)
    assert [(bus_of(one, disk), disk.primary, disk.format) for disk in one.disks] == [
        (Bus.virtio, True, Format.raw)
    ]
    more = {f"disks/{name}/path": f"/images/{name}" for name in ("a", "b", "cd")}
    three = machine({**POOL, **more, "disks/cd/kind": "cdrom"})
    assert [(disk.name, bus_of(three, disk), disk.writable) for disk in three.disks] == [
        ("root", Bus.virtio, True),
        ("a", Bus.virtio, True),
        ("b", Bus.virtio, True),
        ("cd", Bus.sata, False),
    ]


@pytest.mark.parametrize("primary", [(), ("a", "b")])
def test_v5_none_or_two_are_primary(primary: tuple[str, ...]) -> None:
    own = {f"disks/{name}/path": f"/images/{name}" for name in "abc"}
    (line,) = faults({**own, **{f"disks/{name}/primary": "on" for name in primary}})
    assert line.startswith("disks: ")
    (disk, *_) = machine({**own, "disks/b/primary": "on"}).disks
    assert (disk.name, disk.primary) == ("b", True)


V6 = [
    ({"chained": "on"}, "chained: needs source/image or source/volume: what it is to share"),
    ({"chained": "on", "source/image": "/images/a", "format": "raw"}, "format: a chained volume in a directory is qcow2"),
    ({"pool": "ceph", "format": "qcow2"}, "format: an RBD image is raw"),
    ({"pool": "ceph", "sparse": "off"}, "sparse: an RBD image is always sparse"),
    ({"pool": "ceph", "source/image": "/images/a", "read_only": "on"},
     "read_only: a volume in Ceph that is made from a source must be writable"),
    ({"source/image": "/images/a", "source/volume": "b-root"}, "source/volume: is a second source beside source/image"),
    ({"source/image": "http://images.example/a"},
     "source/image: http needs source/checksum: anybody on the way could change it; or use https"),
    ({"source/member": "a"}, "source/member: needs source/image, which it describes"),
    ({"source/volume": "a-root", "source/format": "raw"}, "source/format: needs source/image, which it describes"),
]  # fmt: skip


@pytest.mark.parametrize(("own", "line"), V6)
def test_v6_format_sparse_chained_and_source(own: Keys, line: str) -> None:
    keys = {f"disks/root/{key}": value for key, value in {"pool": "default", **own}.items()}
    found = [one.replace(" (_defaults)", "") for one in faults({**keys, "disks/root/size": "1G"})]
    assert f"disks/root/{line}" in found


def test_v6_what_a_pool_makes_of_a_chain() -> None:
    (disk,) = machine({**POOL, **IMAGE, "disks/root/chained": "on"}).disks
    assert disk.backend == Volume(pool="default", directory="/pool", name="7-root.qcow2")
    assert disk.format is Format.qcow2
    (disk,) = machine({**IMAGE, "disks/root/pool": "ceph", "disks/root/chained": "on"}).disks
    assert disk.backend == RbdVolume(pool="vms", image="7-root")


@pytest.mark.parametrize("key", ["source/image", "source/volume", "sparse", "chained"])
def test_v12_a_device_of_yours_stays_as_it_is(key: str) -> None:
    values = {
        "source/image": "/images/b",
        "source/volume": "a-root",
        "sparse": "on",
        "chained": "on",
    }
    own = {"disks/root/path": "/images/device", f"disks/root/{key}": values[key]}
    (line,) = faults(own)
    assert line.startswith(f"disks/root/{key}: ")


def test_v13_a_name_of_a_device_is_a_hint() -> None:
    """None is made up: thirty disks have none, and no alphabet runs out."""
    own = {f"disks/d{n}/rbd": f"vms/{n}" for n in range(30)} | {"disks/d0/primary": "on"}
    own |= {f"disks/d{n}/bus": "scsi" for n in range(30)}
    found = devices(
        {**own, "disks/d7/devname": "sdq", "disks/d8/devname": "sdr", "disks/d8/serial": "S8"}
    )
    serials = {name: one["serial"] for name, one in found.items() if "serial" in one}
    assert serials == {"disk-d7": "sdq", "disk-d8": "S8"}
    assert len({one["scsi-id"] for one in found.values() if "scsi-id" in one}) == 30


def test_v14_a_monitor_with_an_ipv6_address() -> None:
    toml = '[pools.six]\nkind = "rbd"\npool = "vms"\nhosts = ["[fd00::1]:3300", "fd00::2"]\nuser = "a"\n'
    (disk,) = described({"disks/root/pool": "six"}, host_toml=toml).machine.disks
    assert isinstance(disk.backend, RbdVolume)
    assert [str(one) for one in disk.backend.access.monitors] == [
        "[fd00::1]:3300",
        "[fd00::2]:3300",
        "[fd00::2]:6789",
    ]


def test_v23_a_read_only_disk_is_one() -> None:
    own = {"rbd": "vms/a", "disks/iso/path": "/images/a", "disks/iso/read_only": "on"}
    argv = command_line(machine(own), HOST)
    nodes = [b for a, b in itertools.pairwise(argv) if a == "-blockdev" and '-iso"' in b]
    assert len(nodes) == 2
    assert all('"read-only":true' in node for node in nodes)


BAD = [
    ("source/image", "ftp://images.example/a"),
    ("source/image", "file:///etc/shadow"),
    ("source/image", "../a"),
    ("source/image", "/etc/shadow"),
    ("source/image", "https://images.example/a b"),
    ("source/image", "https://"),
    ("source/image", 'json:{"driver":"nbd"}'),
    ("source/member", "../a"),
    ("source/member", "/a"),
    ("source/member", "a\nb"),
    ("source/volume", "../a"),
    ("source/volume", "a/b"),
    ("source/volume", "a@b"),
    ("source/volume", ".a"),
    ("source/format", "vmdk"),
    ("source/checksum", "sha256:00"),
    ("source/checksum", "sha224:" + 56 * "0"),
    ("source/checksum", 63 * "0"),
    ("source/checksum", "sha256-" + 43 * "0" + "="),
    ("source/checksum", "file:https://images.example/SHA256SUMS"),
    ("source/checksum", "https://images.example/SHA256SUMS"),
    ("source/checksum", " "),
    ("source/checksum", "md5:" + 32 * "g"),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_bad_sources(key: str, value: str) -> None:
    given = {
        **POOL,
        "disks/root/source/image": "https://images.example/a",
        f"disks/root/{key}": value,
    }
    assert any(line.startswith(f"disks/root/{key}: ") for line in faults(given))


def test_a_password_in_a_url_is_not_shown() -> None:
    (line, *_) = faults({**POOL, "disks/root/source/image": "ftp://me:pw@images.example/a"})
    assert "pw" not in line


def spelled(letter: str) -> list[tuple[str, int]]:
    power = "kmgt".index(letter) + 1
    binary, decimal = 1024**power, 1000**power
    return [
        *((f"3{text}", 3 * binary) for text in (letter, letter.upper())),
        *((f"3{text}", 3 * binary) for text in (f"{letter}ib", f"{letter.upper()}iB")),
        *((f"3{text}", 3 * decimal) for text in (f"{letter}b", f"{letter.upper()}B")),
        (f"3{letter.upper()}IB", 3 * binary),
    ]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [*(pair for letter in "kmgt" for pair in spelled(letter)), ("512", 512), ("0", 0)],
)
def test_v1_sizes(text: str, bytes_: int) -> None:
    """Theirs takes `20G` for a fault, and petabytes and exabytes; ours the other way round."""
    assert grammar.size()(text) == bytes_


@pytest.mark.parametrize(
    "text",
    ["ten", "1gig", "unknown", "1KaB", "", "1P", "1EiB", "1 G", "+1G", "-1", "1.5G", "1_000", "9223372036854775808", "9" * 30, "8388608T"],
)  # fmt: skip
def test_v1_no_sizes(text: str) -> None:
    """A product that does not fit 63 bits is too large, and never another number."""
    with pytest.raises(grammar.Refused):
        grammar.size()(text)


def test_v1_a_disk_of_no_size_is_refused() -> None:
    assert "disks/root/size" in str(faults({**POOL, "disks/root/size": "0"}))


@pytest.mark.parametrize(
    ("text", "algorithm", "digits"),
    [
        ("sha256:" + 64 * "a", "sha256", 64),
        ("SHA256:" + 64 * "A", "sha256", 64),
        ("sha256=" + 64 * "a", "sha256", 64),
        ("sha1:" + 40 * "a", "sha1", 40),
        ("sha384:" + 96 * "a", "sha384", 96),
        *((number * "a", name, number) for name, number in image_source.DIGITS.items()),
        (64 * "a" + "  debian-13.qcow2", "sha256", 64),
        (128 * "a" + " *debian-13.qcow2", "sha512", 128),
    ],
)
def test_checksums_as_they_are_published(text: str, algorithm: str, digits: int) -> None:
    found = image_source.checksum(text)
    assert (found.algorithm, found.digest) == (algorithm, digits * "a")


def test_a_volume_in_a_directory_may_be_chained_over_another() -> None:
    keys = {**POOL, "disks/root/chained": "on", "disks/root/source/volume": "focal"}
    (disk,) = machine(keys).disks
    assert disk.format is Format.qcow2
