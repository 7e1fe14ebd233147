"""What is said to people: in their words, on one line, with commands that can be pasted as they stand."""

import ast
import errno
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from describing import described, faults

from holdfast import keys, log
from holdfast.__main__ import report
from holdfast.config.endpoint import Endpoint
from holdfast.errors import FOLDER, ConfigError, HostLacks, UsageError, reason
from holdfast.etcd.denied import explained
from holdfast.etcd.store import Denied
from holdfast.etcd.txn import Delete, Operation, Put, Range, Unchanged
from holdfast.grammar import Refused
from holdfast.instance.launch import LOCKED, OF_IMAGE
from holdfast.keys import abroad
from holdfast.machine import Disk, LocalPath
from holdfast.policy.pool import monitors
from holdfast.qemu.argv.adapt import adapt
from holdfast.qemu.argv.renamed import GONE, TODAY, WITHOUT_EFFECT, in_todays_words, outdated
from holdfast.qemu.option import Option
from holdfast.qmp import trouble
from holdfast.storage import local
from holdfast.storage.ceph import keyring
from holdfast.storage.ceph.keyring import caps
from holdfast.storage.pathname import ANYWHERE
from holdfast.system import container

SOURCE = Path(__file__).parents[2] / "entrypoint" / "holdfast"

# -- keys, as other systems call them


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("memory", "ram"),
        ("Memory", "ram"),
        ("memory_mb", "ram"),
        ("vcpus", "cpus"),
        ("cores", "cpus"),
        ("disk_size", "disks/root/size"),
        ("image", "disks/root/source/image"),
        ("image_path", "disks/root/source/image"),
        ("network", "nics/nic0/bridge"),
        ("macaddr", "mac"),
        ("user-data", "user_data"),
        ("userdata", "user_data"),
        ("cloud_config", "cloud-config"),
        ("ssh-keys", "ssh_authorized_keys"),
        ("args", "extra_flags"),
        ("port_map", "nics/nic0/ports"),
        ("kill_timeout", "stop_timeout"),
        ("net0", "nics/nic0/bridge"),
        ("scsi0", "disks/root/path"),
        ("hostpci0", "pci/<name>"),
        ("disk/size", "disks/root/size"),
        ("disk/root/file", "disks/root/path"),
        ("disks/root/bus_type", "disks/root/bus"),
        ("disks/root/image", "disks/root/source/image"),
        ("disks/data/readonly", "disks/data/read_only"),
        ("nic/eth0/ip", "nics/eth0/address"),
        ("networks/lan/macaddr", "nics/lan/mac"),
        ("nics/lan/tag", "nics/lan/vlan"),
        ("shares/www/target", "shares/www/mount"),
        ("os/machine", "machine"),
        ("resources/memory", "ram"),
        ("cloud-init/user-data", "user_data"),
        ("siez", ""),
    ],
)
def test_a_key_of_another_system(theirs: str, ours: str) -> None:
    (line,) = described({"ram": "1G", theirs: "x"}).unknown
    advice = f"; did you mean {ours}?" if ours else ""
    assert line == f"{theirs}: is no key of a VM{advice}"


def test_each_of_their_words_leads_to_a_key_of_ours() -> None:
    assert not abroad.MACHINE.keys() & keys.KEYS.keys()
    assert [word for word, ours in abroad.MACHINE.items() if not keys.find(ours)] == []
    for family, words in abroad.PROPERTIES.items():
        assert not [word for word, ours in words.items() if not keys.find(f"{family}/a/{ours}")]
        assert not [word for word in words if keys.find(f"{family}/a/{word}")]
    assert set(abroad.FAMILIES.values()) <= set(keys.FAMILIES)


# -- values


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("nics/nic0/ports", "8080-8090:80-90", "is a range: give each port an item of its own"),
        ("nics/nic0/ports", "127.0.0.1:8080-8090:80", "is a range"),
        ("nics/nic0/ports", "8080:80,", "has a comma: items stand on lines of their own"),
        ("nics/nic0/ports", "8080:80,8443:443", "has a comma"),
        ("nics/nic0/dns", "192.0.2.1,192.0.2.2", "has a comma"),
        ("nics/nic0/search", "a.example,b.example", "has a comma"),
        ("host", "host-a,host-b", "has a comma"),
        ("hostname", "web01.example.com", "is a name with its domain: must be the first label"),
        ("hostname", "web01.example.com", "meta_data"),
    ],
)
def test_a_value_that_others_would_take(key: str, value: str, rule: str) -> None:
    (line,) = faults({"ram": "1G", key: value})
    assert line.startswith(f"{key}: ")
    assert rule in line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("-no-kvm-pit-reinjection", "has had no effect for long"),
        ("--soundhw hda", "write -audiodev"),
        ("-redir tcp:2222::22", "property of -netdev user"),
    ],
)
def test_an_option_that_qemu_has_dropped(flags: str, said: str) -> None:
    (line,) = faults({"extra_flags": flags})
    assert said in line


def test_each_dropped_option_is_said_in_one_place() -> None:
    assert not GONE.keys() & (TODAY.keys() | WITHOUT_EFFECT)
    assert all(outdated(Option(name, "x")) for name in {*GONE, *WITHOUT_EFFECT})
    assert not any(outdated(Option(name, "x")) for name in TODAY)
    assert adapt(("-nodefconfig",)).warnings
    with pytest.raises(Refused, match="-balloon: needs a value"):
        in_todays_words(("-usb", "-balloon"))
    with pytest.raises(UsageError, match="property of -netdev user"):
        adapt(("-redir", "tcp:2222::22"))


@pytest.mark.parametrize("text", ["v2:192.0.2.9:3300", "v1:192.0.2.9:6789/0", "192.0.2.9:6789/0"])
def test_monitors_as_ceph_lists_them(text: str) -> None:
    with pytest.raises(Refused, match="without the v1:, v2: and /0"):
        monitors(text)


# -- files


def test_a_folder_that_docker_made(tmp_path: Path) -> None:
    disk = Disk(name="root", backend=LocalPath(path=str(tmp_path)))
    (fault,) = local.check([disk], ANYWHERE)
    assert FOLDER in str(fault)
    (fault,) = local.check_file("kernel", str(tmp_path), ANYWHERE)
    assert FOLDER in str(fault)
    with pytest.raises(HostLacks, match="docker makes one"):
        keyring.find(tmp_path)
    assert reason(IsADirectoryError(errno.EISDIR, "Is a directory")) == FOLDER
    assert reason(OSError(errno.ENOENT, "No such file")) == "No such file"


# -- commands


def literals() -> list[tuple[str, str]]:
    """The texts of all hints, with the module that gives them."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
                found += [(path.name, text) for text in texts if isinstance(text, str)]
    return found


def test_no_hint_leaves_a_gap_to_be_filled() -> None:
    """`ETCD_ENDPOINTS` and its like are names, not gaps."""
    gap = re.compile(
        r"(?<![\w<])(POOL|IMAGE|ADDRESS|NAME|HOST|PATH|DISK|EPOCH|ROLE|CONTAINER)(?!\w)"
    )
    hints = literals()
    assert len(hints) > 50
    assert [hint for hint in hints if gap.search(hint[1])] == []


def test_no_message_has_a_bare_command_of_ours() -> None:
    """In a container it needs `docker exec` in front: container.command puts it there. The usage is no message."""
    ours = re.compile(r"holdfast (fence|claim|image|volume) [a-z]")
    bare = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        put = {
            inner
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "command"
            for inner in ast.walk(call)
        }
        texts = (
            node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in put
        )
        found = (text.value for text in texts if isinstance(text.value, str))
        bare += [(path.name, text) for text in found if ours.search(text) and "\n" not in text]
    assert bare == []


def mounts(path: Path, text: str) -> str:
    path.write_text(text, encoding="ascii")
    return str(path)


ID = "4f9a0c2d51b7" + 52 * "0"


@pytest.mark.parametrize(
    "line",
    [
        f"644 630 8:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw",
        f"644 630 0:24 /containers/storage/overlay-containers/{ID}/userdata/hostname /etc/hostname rw - tmpfs t rw",
    ],
    ids=["docker", "podman"],
)
def test_the_id_of_a_container(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the host's network a container has the host's name, too."""

    class Uts:
        nodename = "host-a"

    monkeypatch.setattr("holdfast.system.container.os.uname", Uts)
    assert container.identity(mounts(tmp_path / "mountinfo", line)) == ID[:12]
    assert (
        container.identity(mounts(tmp_path / "none", "1 2 8:1 / / rw - ext4 /dev/sda1 rw")) == ""
    )
    Uts.nodename = "0123456789ab"
    assert container.identity(str(tmp_path / "missing")) == "0123456789ab"


def test_a_command_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.system.container.identity", lambda: "4f9a0c2d51b7")
    for engine, before in (
        ("docker", "docker exec 4f9a0c2d51b7 "),
        ("podman", "podman exec 4f9a0c2d51b7 "),
        ("", ""),
    ):
        monkeypatch.setattr("holdfast.system.container.engine", lambda engine=engine: engine)
        assert container.command("holdfast claim ls") == f"{before}holdfast claim ls"


@pytest.mark.parametrize(
    ("engine", "name", "address", "said"),
    [
        ("docker", "0123456789ab", "127.0.0.1", "`-p` leads there with vnc_addr=0.0.0.0"),
        ("docker", "0123456789ab", "::1", "vnc_addr=0.0.0.0"),
        ("docker", "0123456789ab", "192.0.2.1", ""),
        ("docker", "host-a", "127.0.0.1", ""),
        ("", "0123456789ab", "127.0.0.1", ""),
    ],
)
def test_a_screen_that_nobody_reaches(
    engine: str, name: str, address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.system.container.engine", lambda: engine)
    monkeypatch.setattr(
        "holdfast.system.container.os.uname", lambda: SimpleNamespace(nodename=name)
    )
    found = container.unreached(address, "vnc_addr")
    assert said in found
    assert bool(said) is bool(found)


def test_what_a_user_of_ceph_needs() -> None:
    pools = [("vms", ""), ("ssd", "team-a"), ("vms", "")]
    needed = "mon 'profile rbd' osd 'profile rbd pool=ssd namespace=team-a, profile rbd pool=vms'"
    assert caps(pools) == needed
    assert caps(()) == "mon 'profile rbd' osd 'profile rbd'"


def test_the_command_for_a_keyring_names_the_pool(tmp_path: Path) -> None:
    conf = tmp_path / "ceph.conf"
    conf.write_text("[global]\nmon_host = 192.0.2.1\n", encoding="ascii")
    with pytest.raises(ConfigError) as raised:
        keyring.find(conf, pools=[("vms", "")])
    assert "osd 'profile rbd pool=vms' -o" in raised.value.hint


def test_what_etcd_did_not_allow() -> None:
    error = Denied(f"etcd at {Endpoint(host='etcd')} refuses: permission denied")
    asked: list[Unchanged | Operation] = [
        Unchanged(key="/kvm/7/lock", revision=0),
        Range(key="/kvm/7/", prefix=True),
        Put(key="/kvm/7/lock", value=b""),
        Delete(key="/kvm/_claims/a"),
    ]
    said = explained(error, "hf", asked)
    assert said.message.endswith(
        "user hf asked to write /kvm/7/lock, /kvm/_claims/a and to read /kvm/7/*"
    )
    assert "user (none) asked to read /a" in explained(error, "", [Range(key="/a")]).message


# -- lines


def test_a_line_of_the_log_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.warning("the tap device 246:1\n of a link", said="a\r\nb")
    assert capsys.readouterr().err.count("\n") == 1
    report(UsageError("one\ntwo", hint="three"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["one", "two", "three"]
    assert all(line.startswith("holdfast ") for line in lines)


def test_a_full_disk_is_told_at_growing_intervals() -> None:
    failing = trouble.Trouble()
    lines = [failing.heard("root", "No space left on device") for _ in range(20)]
    assert [number for number, line in enumerate(lines, 1) if line] == [1, 2, 4, 8, 16]
    assert (
        lines[0]
        == "disk root: No space left on device; the guest is paused and goes on when there is room"
    )
    assert lines[15].endswith("(16 times)")
    assert failing.heard("data", "No space left on device"), "another disk is other news"
    assert failing.over() == "the disks answer again; the guest runs"
    assert failing.over() == ""
    assert failing.heard("root", "No space left on device") == lines[0]


def test_words_of_a_qemu_that_was_broken_out_into_are_not_all_kept() -> None:
    failing = trouble.Trouble()
    lines = [failing.heard(f"node{number}", "x" * 1000) for number in range(100_000)]
    said = [line for line in lines if line]
    assert len(said) < trouble.MOST + 20
    assert "more of the kind" in said[-1]
    assert len(failing._repeats._times) == trouble.MOST + 1
    assert failing.over()
    assert not failing._repeats._times


def test_what_does_not_pass_is_not_promised() -> None:
    assert "data pool" in trouble.Trouble().heard("root", "Operation not permitted")
    assert "goes on" not in trouble.Trouble().heard("root", "Operation not permitted")
    assert (
        trouble.Trouble()
        .heard("root", "Input/output error")
        .endswith("goes on when the disk does")
    )


@pytest.mark.parametrize(
    "lock", ['"write"', 'shared "write"', '"consistent read"', 'shared "resize"']
)
def test_a_lock_of_another_qemu_is_known_by_its_words(lock: str) -> None:
    """block/file-posix.c says it in two ways, and the advice on a line of its own."""
    said = f"-blockdev x: Failed to get {lock} lock; Is another process using the image [/dev/fdset/140]?"
    assert LOCKED.search(said)
    found = OF_IMAGE.search(said)
    assert found
    assert found[1] == "140"
    assert LOCKED.search("-device virtio-blk-pci,drive=root: Failed to lock byte 201")
