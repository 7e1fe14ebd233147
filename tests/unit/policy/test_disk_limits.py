"""[vms] and [templates] of host.toml: naming a disk is not owning it."""

import pytest
from describing import HOST_TOML, described

from holdfast.description.belonging import owner
from holdfast.errors import ConfigError, Fault
from holdfast.policy.disk_limits import fits
from holdfast.policy.host_config import parse

POLICY = """
image_paths = ["/images", "/templates"]
share_paths = ["/shares"]
default_pool = "default"
[templates]
paths = ["/templates"]
rbd = ["vms/golden-*"]
volumes = ["default/debian-root", "ceph/debian-root"]
[vms."*"]
paths = ["/images/{vm}"]
shares = ["/shares/{vm}"]
rbd = ["vms/{vm}-*", "vms/{vm}/*"]
pools = ["default"]
[vms."a*"]
pools = ["ceph"]
volumes = ["default/gold-root"]
"""
NAMED = POLICY + HOST_TOML.partition("\n")[2].partition("\n")[2]
DISK = {"disks/root/pool": "default", "disks/root/size": "1M"}


def refused(keys: dict[str, str], vm: str = "a", host_toml: str = NAMED) -> str:
    try:
        described(keys, environ={"VM": vm}, host_toml=host_toml)
    except ConfigError as error:
        return "\n".join(error.lines())
    return ""


@pytest.mark.parametrize(
    ("pattern", "text", "vm", "so"),
    [
        ("{vm}", "a", "a", True),
        ("{vm}", "ab", "a", False),
        ("{vm}-*", "a-root", "a", True),
        # Disk root of the VM a-b; a disk b-root of the VM a could not be a volume.
        ("{vm}-*", "a-b-root", "a", False),
        ("{vm}-*", "a-b-root", "a-b", True),
        ("*-{vm}", "x-a-b", "b", False),
        ("*-{vm}", "x-a-b", "a-b", True),
        ("{vm}.*", "a.b.raw", "a", True),
        ("web-*", "web-1-2", "", True),
        ("a.c", "abc", "", False),
        ("a*", "a\nb", "", True),
        ("*", "", "", True),
    ],
)
def test_a_pattern(pattern: str, text: str, vm: str, so: bool) -> None:
    assert fits(pattern, text, vm) is so


@pytest.mark.parametrize(
    ("name", "vm"),
    [("a-root", "a"), ("a-b-root.raw", "a-b"), ("a-vars", "a"), ("focal", ""), ("ubuntu-22.04", ""),
     ("A-root", ""), ("-root", ""), ("golden-0a.qcow2", "golden")],
)  # fmt: skip
def test_whose_a_volume_is(name: str, vm: str) -> None:
    assert owner(name) == vm


ALLOWED: list[dict[str, str]] = [
    DISK,
    {"disks/root/size": "1M"},
    {**DISK, "disks/root/pool": "ceph"},
    {"disks/root/path": "/images/a/root.raw"},
    {"rbd": "vms/a-root"},
    {"rbd": "vms/a/root"},
    {"disks/root/rbd": "vms/golden-7", "disks/root/read_only": "on"},
    {**DISK, "disks/cd/path": "/templates/x.iso", "disks/cd/kind": "cdrom"},
    {**DISK, "kernel": "/templates/linux"},
    {**DISK, "disks/root/source/image": "/templates/x.qcow2"},
    {**DISK, "disks/root/source/image": "https://example.org/x.qcow2"},
    {**DISK, "disks/root/source/volume": "debian-root"},
    {**DISK, "disks/root/source/volume": "debian-root.raw"},
    {**DISK, "disks/root/source/volume": "gold-root"},
    {**DISK, "disks/root/source/volume": "a-data"},
    {**DISK, "shares/s/path": "/shares/a"},
    {**DISK, "shares/s/path": "/shares/a/b"},
    {**DISK, "user_data": "file:/images/a/seed"},
]


@pytest.mark.parametrize("keys", ALLOWED)
def test_what_host_toml_names(keys: dict[str, str]) -> None:
    assert refused(keys) == ""


@pytest.mark.parametrize(
    ("keys", "key", "way"),
    [
        ({"disks/root/path": "/images/b/root.raw"}, "disks/root/path", 'paths = ["/images/b/root.raw"]'),
        ({"disks/root/path": "/images/ab/root.raw"}, "disks/root/path", 'paths = ["/images/ab/root.raw"]'),
        ({"disks/root/path": "/images/a.raw"}, "disks/root/path", 'paths = ["/images/a.raw"]'),
        ({"disks/root/path": "/templates/x.raw"}, "disks/root/path", "set read_only"),
        ({"rbd": "vms/b-root"}, "rbd", '[vms."a"] rbd = ["vms/b-root"]'),
        ({"rbd": "vms/a-b-root"}, "rbd", '[vms."a"] rbd = ["vms/a-b-root"]'),
        ({"rbd": "other/a-root"}, "rbd", 'rbd = ["other/a-root"]'),
        ({"disks/root/rbd": "vms/b-root", "disks/root/read_only": "on"}, "disks/root/rbd", "rbd = "),
        ({"disks/root/rbd": "vms/golden-7"}, "disks/root/rbd", "set read_only"),
        ({**DISK, "disks/root/pool": "far"}, "disks/root/pool", 'pools = ["far"]'),
        ({**DISK, "kernel": "/images/b/linux"}, "kernel", 'paths = ["/images/b/linux"]'),
        ({**DISK, "kernel": "/templates/k", "initrd": "/images/b/i"}, "initrd", "paths = "),
        ({**DISK, "user_data": "file:/images/b/seed"}, "user_data", 'paths = ["/images/b/seed"]'),
        ({**DISK, "cloud-config": "file:/images/b/seed"}, "cloud-config", "paths = "),
        ({**DISK, "disks/root/source/image": "/images/b/x"}, "disks/root/source/image", "paths = "),
        ({**DISK, "disks/root/source/volume": "b-root"}, "disks/root/source/volume", '[templates] volumes = ["default/b-root"]'),
        ({**DISK, "disks/root/source/volume": "a-b-root"}, "disks/root/source/volume", "is a volume of VM a-b"),
        ({**DISK, "disks/root/source/volume": "b-vars.raw"}, "disks/root/source/volume", "is a volume of VM b"),
        ({**DISK, "disks/root/source/volume": "focal"}, "disks/root/source/volume", "[templates]"),
        ({**DISK, "shares/s/path": "/shares/b"}, "shares/s/path", 'shares = ["/shares/b"]'),
        ({"firmware": "uefi", "disks/cd/path": "/templates/x.iso", "disks/cd/kind": "cdrom"}, "", ""),
    ],
)  # fmt: skip
def test_what_it_does_not_name(keys: dict[str, str], key: str, way: str) -> None:
    found = refused(keys)
    assert found.startswith(f"{key}: ") if key else not found
    assert way in found
    assert len(found.splitlines()) <= 1


def test_a_vm_that_no_table_is_for() -> None:
    only = NAMED.replace('[vms."*"]', '[vms."web"]')
    assert 'pools = ["default"]' in refused(DISK, "b", only)
    assert "firmware" in refused({"firmware": "uefi"}, "b", only)
    assert not refused(DISK, "web", only)


def test_without_a_policy_all_is_as_it_was_but_other_vms_volumes() -> None:
    old = 'image_paths = ["/images"]\ndefault_pool = "default"\n' + HOST_TOML.split("\n", 2)[2]
    for keys in ({"rbd": "vms/b-root"}, {"disks/root/path": "/images/b-root.raw"},
                 {**DISK, "disks/root/source/volume": "focal"}):  # fmt: skip
        assert not refused(keys, host_toml=old)
    clone = {**DISK, "disks/root/source/volume": "b-root"}
    assert "is a volume of VM b. [templates] volumes" in refused(clone, host_toml=old)
    assert not refused({**DISK, "disks/root/source/volume": "a-data"}, host_toml=old)


@pytest.mark.parametrize(
    ("vm", "owner", "so"),
    [
        ("web-2", "web-1", True),
        ("web-2", "db", False),
        ("web-2", "web-2-old", True),
        ("web-2", "web-3-old", False),
        ("db", "web-1", False),
        ("db", "db-old", True),
        ("db", "db-x-old", False),
    ],
)
def test_whose_left_disks_a_vm_may_take(vm: str, owner: str, so: bool) -> None:
    text = '[vms."*"]\ntake = ["{vm}-old"]\n[vms."web-2"]\ntake = ["web-1"]'
    faults: list[Fault] = []
    limits = parse(text, faults).disks
    assert limits is not None
    assert not faults
    assert limits.may_take(vm, owner) is so


def test_without_vms_anybody_takes_what_was_left() -> None:
    limits = parse('[templates]\npaths = ["/x"]', []).disks
    assert limits is not None
    assert limits.may_take("a", "b")


@pytest.mark.parametrize(
    ("pool", "name", "so"),
    [
        ("ceph", "debian-root", True),
        ("ceph", "a-data", False),
        ("default", "debian-root", False),  # a file, whose copy would be torn
    ],
)
def test_what_is_copied_while_its_vm_runs(pool: str, name: str, so: bool) -> None:
    keys = {**DISK, "disks/root/pool": pool, "disks/root/source/volume": name}
    (disk,) = described(keys, environ={"VM": "a"}, host_toml=NAMED).machine.disks
    assert disk.source is not None
    assert disk.source.template is so


def test_variables_are_the_operators_own_words() -> None:
    described({}, environ={"VM": "a", "VM_RBD": "vms/b-root"}, host_toml=NAMED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vms = 7", "must be tables"),
        ('[vms]\n"*" = 7', "must be a table"),
        ('[vms."*"]\npath = []', "'path': is none of paths"),
        ('[vms."*"]\npaths = "/x"', "must be a list of strings"),
        ('[vms."*"]\npaths = ["x"]', "must be an absolute path"),
        ('[vms."*"]\npaths = ["/x/../y"]', "must be a plain path"),
        ('[vms."*"]\npaths = ["/x/{vm}*"]', "must have /, -, . or _ before and behind {vm}"),
        ('[vms."*"]\npaths = ["/x/a{vm}"]', "must have /, -, . or _ before"),
        ('[vms."*"]\npaths = ["/x/{host}"]', "has braces"),
        ('[vms."*"]\nrbd = ["x"]', "must be pool/image"),
        ('[vms."*"]\nrbd = ["x//y"]', "must be pool/image"),
        ('[vms."*"]\npools = ["none"]', "is not a pool of host.toml"),
        ('[vms."*"]\nvolumes = ["none/x"]', "is not a pool of host.toml"),
        ('[vms."Web"]', "must be a VM's name"),
        ('[vms."*"]\ntake = ["Web"]', "must be a VM's name"),
        ('[vms."*"]\ntake = "web"', "must be a list of strings"),
        ('[vms."*"]\ntake = ["{vm}*"]', "must have /, -, . or _ before and behind {vm}"),
        ('[templates]\ntake = ["web"]', "is none of paths, rbd, volumes"),
        ('[vms."{vm}"]', "has no VM yet"),
        ('[templates]\npaths = ["/x/{vm}"]', "is for all VMs"),
        ('[templates]\npools = ["x"]', "is none of paths, rbd, volumes"),
        ("templates = 7", "must be a table"),
        ('image_paths = ["/srv"]\nshare_paths = ["/srv/shares"]', "overlaps image_paths"),
        ('image_paths = ["/srv/shares/x"]\nshare_paths = ["/srv/shares"]', "overlaps image_paths"),
        ('image_paths = ["/srv/"]\nshare_paths = ["/srv"]', "overlaps image_paths"),
        (
            'share_paths = ["/p/x"]\n[pools.a]\nkind = "directory"\npath = "/p"',
            "overlaps the pool a",
        ),
        (
            'share_paths = ["/p"]\n[pools.a]\nkind = "directory"\npath = "/p/a/"',
            "overlaps the pool a",
        ),
        ('share_paths = ["/var/lib"]', "overlaps image_cache"),
    ],
)
def test_a_misspelt_limit_is_refused(text: str, said: str) -> None:
    faults: list[Fault] = []
    parse(text, faults)
    assert any(said in str(fault) for fault in faults), faults


def test_folders_beside_each_other() -> None:
    faults: list[Fault] = []
    parse('image_paths = ["/srv/images"]\nshare_paths = ["/srv/image", "/srv/images2"]', faults)
    assert not faults
