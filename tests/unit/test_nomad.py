"""What Nomad's two drivers for VMs do, case by case (docs/from-nomad.md), by our keys and our rules.

Cases Q are of the qemu driver, V of the virt driver. Those that need a host or a guest stand elsewhere, under
a name with their number.
"""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from describing import HOST_TOML, described, faults, machine
from golden.case import CASES

from holdfast.errors import ConfigError
from holdfast.grammar import Refused
from holdfast.grammar.identifier import MEMBER_LENGTH, NAME_LENGTH
from holdfast.host import Host
from holdfast.keys.args_allowlist import permit
from holdfast.qemu import command_line
from holdfast.runtime.confinement import FIRST_UID, identity

TESTS = Path(__file__).parents[1]
HOST = Host(name="a", machine_id="m", boot_id="b")
DISK = {"disks/root/path": "/images/a.raw"}
LONGEST_SOCKET = 107  # of sun_path, that Python and QEMU both take
NUMBERS = {f"q{number}" for number in range(1, 21)} | {f"v{number}" for number in range(1, 25)}


def argv(**own: str) -> list[str]:
    return command_line(machine({**DISK, **own}), HOST)


def test_every_case_has_a_test() -> None:
    names = [
        name
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^def test_(\w+)", path.read_text("utf-8"), flags=re.MULTILINE)
    ]
    held = {number for name in names for number in re.findall(r"(?:^|_)([qv]\d+)(?=_)", name)}
    assert held >= NUMBERS


def test_q1_the_command_of_defaults() -> None:
    words = argv()
    after = dict(pairwise(words))
    assert words[0] == "/usr/bin/qemu-system-x86_64"
    assert after["-machine"].split(",")[0] == "q35"
    assert after["-accel"] == "tcg,thread=multi"
    assert after["-m"] == "1024M"
    assert "guest=7" in after["-name"]  # unlike theirs, which two tasks may share
    assert "-nographic" not in words


@pytest.mark.parametrize(
    ("key", "text", "option"),
    [
        ("ram", "2G", "-m"),
        ("cpus", "2", "-smp"),
        ("cpu_model", "Westmere-v1", "-cpu"),
        ("rtc", "localtime", "-rtc"),
        ("uuid", "6f2c0f7e-5d0c-4b61-9d49-3c1ddc5ac8d5", "-uuid"),
    ],
)
def test_q2_a_key_changes_its_own_word_only(key: str, text: str, option: str) -> None:
    before, after = argv(), argv(**{key: text})
    changed = [
        place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]
    ]
    assert [before[place - 1] for place in changed] == [option]


@pytest.mark.parametrize("bus", ["virtio", "scsi", "sata", "ide", "usb", "nvme"])
def test_q5_the_buses_of_a_disk(bus: str) -> None:
    board = {"machine": "pc"} if bus == "ide" else {}
    assert command_line(machine({**DISK, **board, "disks/root/bus": bus}), HOST)


@pytest.mark.parametrize("bus", ["foo", "virtio-foo", "sd", "mtd", "floppy", "pflash", "none", ""])
def test_q5_what_is_no_bus(bus: str) -> None:
    (line,) = faults({**DISK, "disks/root/bus": bus})
    assert line.startswith("disks/root/bus: ")


@pytest.mark.parametrize("path", ["/images/a", "/images/sub/a", "/images/a,b", "/images/a b"])
def test_q6_paths_that_are_allowed(path: str) -> None:
    words = argv(**{"disks/root/path": path})
    assert sum(f'"filename":"{path}"' in word for word in words) == 1


@pytest.mark.parametrize(
    "path",
    ["image.img", "/image.img", "../image.img", "/images-of-others/a", "/image/a", "/images"],
)
def test_q6_paths_that_are_not(path: str) -> None:
    """A link that leads out: integration/test_local_disks.py."""
    (line,) = faults({"disks/root/path": path})
    assert line.startswith("disks/root/path: ")


@pytest.mark.parametrize("words", [("-flag",), ("-flag", "value", "-other")])
def test_q7_flags_that_are_allowed(words: tuple[str, ...]) -> None:
    permit(words, ("-flag", "-other"))


@pytest.mark.parametrize("word", ["-no", "--flag", " -flag", "\t-flag", "-flag "])
def test_q7_flags_that_are_not(word: str) -> None:
    with pytest.raises(Refused, match="args_allowlist"):
        permit((word,), ("-flag", "-other"))
    with pytest.raises(Refused):
        permit(("-flag",), ())  # ours: an empty list is none, not all


def test_q7_an_option_with_one_value_only() -> None:
    permit(("-device", "a"), ("-device a",))
    with pytest.raises(Refused, match="args_allowlist"):
        permit(("-device", "b"), ("-device a",))


def test_q8_memory_ends_only_where_a_machine_would() -> None:
    """Theirs: 128 to 4000000 MB."""
    for text in ("127", "128", "4000000", "4000001", "16"):
        assert machine({"ram": text}).ram == int(text) * 1024**2
    for text in ("15", "0", "9999999999999999"):
        assert faults({"ram": text})


@pytest.mark.parametrize("name", ["agent", "console", "control", "share"])
def test_q9_no_socket_has_too_long_a_name(name: str) -> None:
    """Nothing to check at a start: the longest name of a VM leaves room."""
    assert len(f"/run/holdfast/{'a' * NAME_LENGTH}/{name}") <= LONGEST_SOCKET
    assert MEMBER_LENGTH < NAME_LENGTH


def test_q11_name_servers_and_their_search() -> None:
    """QEMU's own network tells the guest one server of each family. On a bridge: unit/cloudinit/test_cloudinit.py."""
    words = argv(
        **{"nics/a/dns": "192.0.2.53 2001:db8::53", "nics/a/search": "example.org lab.example.org"}
    )
    network = json.loads(words[words.index("-netdev") + 1])
    assert network["dns"] == "192.0.2.53"
    assert network["ipv6-dns"] == "2001:db8::53"
    assert network["dnssearch"] == [{"str": "example.org"}, {"str": "lab.example.org"}]
    assert "dns" not in argv()[words.index("-netdev") + 1]


def test_q12_cpus_are_said_once() -> None:
    words = argv(cpus="3")
    assert words.count("-smp") == 1
    assert words[words.index("-smp") + 1].split(",")[0].removeprefix("cpus=") == "3"


def test_q14_nobody_names_the_user_of_qemu() -> None:
    """Theirs takes any user of the host. Ours is of no name, the VM's own, and never root's."""
    who = identity("7", uid_map_end=2**32, kvm_gid=None)
    assert who.uid >= FIRST_UID
    assert who == identity("7", uid_map_end=2**32, kvm_gid=None)
    assert who != identity("8", uid_map_end=2**32, kvm_gid=None)


@pytest.mark.parametrize("name", ["a", "A-1", "0", "a" * 63])
def test_v2_a_hostname(name: str) -> None:
    assert machine({"hostname": name}).hostname == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a_b", "a.b", "a" * 64, "a b", "é"])
def test_v2_what_is_no_hostname(name: str) -> None:
    """The name of a VM always is one, so that its default cannot fail."""
    (line,) = faults({"hostname": name})
    assert line.startswith("hostname: ")


def test_v3_all_faults_at_once() -> None:
    wrong = {"ram": "1", "cpus": "0", "hostname": "_", "machine": "none", "nics/a/mac": "x"}
    lines = faults(wrong)
    assert {line.partition(":")[0] for line in lines} >= wrong.keys()


def test_v19_a_share_is_in_a_golden() -> None:
    assert {"shares-pc", "shares-q35"} <= {case.name for case in CASES}
    with pytest.raises(ConfigError):
        machine({"shares/a/path": "/not/allowed"})


# The examples of nomad-driver-virt, carried over by docs/from-nomad.md: their image, their disks, their network.
TOML = 'image_paths = ["/images", "/dev"]\nshare_paths = ["/srv"]\n' + HOST_TOML.replace(
    "\n[", '\ndefault_pool = "default"\n[', 1
).replace('image_paths = ["/images"]\n', "")
FOCAL = {
    "ram": "2048",
    "cpus": "2",
    "disks/root/source/image": "/images/focal-server-cloudimg-amd64.img",
}
SERVED = {"nics/nic0/ports": "8000:8000", "cmds": "python3 -m http.server 8000",
          "default_user_password": "password"}  # fmt: skip
JOBS = {
    "basic": {**FOCAL, **SERVED, "hostname": "virt-example"},
    "chained image": {**FOCAL, "disks/root/chained": "on", "disks/root/size": "40GiB"},
    "raw": {**FOCAL, "disks/root/format": "raw", "disks/root/size": "20GB"},
    "raw, all its room taken": {**FOCAL, "disks/root/sparse": "off", "disks/root/size": "40GiB"},
    "qcow2": {**FOCAL, "disks/root/format": "qcow2"},
    "clone of a volume": {"disks/root/source/volume": "focal", "disks/root/format": "qcow2"},
    "second disk": {**FOCAL, "disks/data/size": "20GiB"},
    "ceph": {**FOCAL, "disks/root/pool": "far", "disks/root/size": "40GiB"},
    "ceph, chained": {**FOCAL, "disks/root/pool": "far", "disks/root/chained": "on"},
    "ceph, clone of a volume": {"disks/root/pool": "far", "disks/root/source/volume": "focal.img"},
    "ceph, chained volume": {"disks/root/pool": "far", "disks/root/source/volume": "focal.img",
                             "disks/root/chained": "on"},
    "directory mounted": {**FOCAL, "shares/virt-data/path": "/srv/data", "shares/virt-data/mount": "/data"},
    "block device": {**FOCAL, "disks/vdb/path": "/dev/loop9"},
    "macvtap": {**FOCAL, "nics/nic0/mode": "macvtap", "nics/nic0/device": "eth0", "nics/nic0/macvtap_mode": "bridge"},
    "2015's": {"disks/root/source/image": "https://dl.example/linux.img", "nics/nic0/ports": "22000:22",
               "disks/root/source/checksum": "md5:" + 32 * "0", "accelerator": "tcg"},
    "args": {**FOCAL, "extra_flags": "-nodefaults -nodefconfig"},
}  # fmt: skip


@pytest.mark.parametrize("job", JOBS)
def test_their_jobs_as_keys(job: str) -> None:
    found = described(JOBS[job], host_toml=TOML)
    assert not found.unknown
    assert command_line(found.machine, HOST)
