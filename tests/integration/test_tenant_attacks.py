"""A tenant with a user of his own in etcd, and root nowhere, tries by keys each way of docs/security.md. What stopped
him is printed: etcd itself, by the role of that document, or the launcher that reads what he may write.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from etcd import Etcd
from integration.test_roles import PASSWORD, PATIENT, etcd
from launcher import Launcher, alive

pytestmark = pytest.mark.integration
__all__ = ["etcd"]  # a fixture: the roles, made by the document's own lines

Launch = Callable[..., Launcher]
HOST_TOML = """
image_paths = ["{images}"]
share_paths = ["{shares}"]
bridges = ["br0"]
default_pool = "default"
[pools.default]
kind = "directory"
path = "{pool}"
[templates]
paths = ["{images}/templates"]
[vms."*"]
paths = ["{images}/{{vm}}"]
pools = ["default"]
"""
OF_8 = "/kvm/8/default_user_password"  # a key, not what is in it
GOOD = {"ram": "64", "disks/root/size": "1M", "nics/none/mode": "none"}
BOMB = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9))]
)  # fmt: skip


@pytest.fixture
def start(etcd: Etcd, launch: Launch, tmp_path: Path) -> Callable[[str], Launcher]:
    """The launcher of a VM, with the user that the document gives it."""
    for name in ("images/7", "images/8", "images/templates", "shares", "own-pool"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("8/disk.raw", "8/vmlinuz", "templates/golden.raw"):
        (tmp_path / "images" / name).write_bytes(bytes(1 << 20))
    (tmp_path / "password").write_text(PASSWORD, encoding="ascii")
    places = {"images": f"{tmp_path}/images", "shares": f"{tmp_path}/shares", "pool": f"{tmp_path}/own-pool"}  # fmt: skip
    config = tmp_path / "limits.toml"
    config.write_text(HOST_TOML.format_map(places), encoding="utf-8")
    environ = {
        "ETCD_ENDPOINTS": etcd.url, "HOLDFAST_CONFIG": str(config),
        "ETCD_USERNAME": "launcher", "ETCD_PASSWORD_FILE": f"{tmp_path}/password",
    }  # fmt: skip
    return lambda vm: launch({"VM": vm, **environ})


def answer(etcd: Etcd, user: str, *words: str, text: str | None = None) -> str:
    """What etcd refuses with; "" where it does as it is told."""
    etcd.client = [f"--user={user}:{PASSWORD}", *PATIENT]
    done = etcd._ctl(*words, text=text)
    said = re.findall(r'(?:Error: |"error":")(.*?)(?:"}|\n|$)', done.stderr)
    return "" if done.returncode == 0 else (said or [done.stderr.strip()])[-1]


def put(etcd: Etcd, user: str, vm: str, keys: Mapping[str, str]) -> None:
    """Which etcd must take: in one transaction, but for what etcdctl would read as an option there."""
    plain = {key: value for key, value in keys.items() if not value.startswith("-")}
    lines = "".join(f"put /kvm/{vm}/{key} {json.dumps(value)}\n" for key, value in plain.items())
    assert not answer(etcd, user, "txn", text=f"\n{lines}\n\n")
    for key in keys.keys() - plain.keys():
        assert not answer(etcd, user, "put", f"/kvm/{vm}/{key}", text=keys[key])


def told(tries: Mapping[str, str]) -> str:
    lines = [f"  {what:<44} {f'stopped by {by}' if by else 'went through'}" for what, by in tries.items()]  # fmt: skip
    return "\n".join(lines)


def found(etcd: Etcd, prefix: str) -> dict[str, str]:
    etcd.client = [f"--user=operator:{PASSWORD}", *PATIENT]
    return {key: etcd.get(key) or "" for key in etcd.keys(prefix)}


def epochs(etcd: Etcd) -> dict[str, str]:
    return {key: epoch for key, epoch in found(etcd, "/kvm/").items() if key.endswith("/epoch")}


def lease(etcd: Etcd, key: str) -> str:
    etcd.client = [f"--user=operator:{PASSWORD}", *PATIENT]
    (item,) = json.loads(etcd.ctl("get", key, "--write-out=json"))["kvs"]
    return f"{item['lease']:x}"


def test_what_etcd_keeps_a_tenant_from(
    etcd: Etcd,
    start: Callable[[str], Launcher],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """His own VM and another's run meanwhile. What launchers have written, wherever that is, is found by looking."""
    put(etcd, "tenant-7", "7", GOOD)
    put(etcd, "operator", "8", {**GOOD, "default_user_password": "a secret"})
    launchers = [start("7"), start("8")]
    for launcher in launchers:
        launcher.says("the guest runs")
    before = found(etcd, "/kvm/")
    described = {f"/kvm/{vm}/{key}" for vm in "78" for key in GOOD} | {OF_8}
    written = sorted(before.keys() - described)
    assert len(written) > 6
    lock = next(key for key in written if key.endswith("/lock") and "/7/" in key)
    tries = {
        **{f"write {key}": ("put", key, "{}") for key in written},
        **{f"remove {key}": ("del", key) for key in written},
        "switch VM 8 off": ("put", "/kvm/8/power", "off"),
        "read VM 8's password": ("get", OF_8),
        "read all VMs": ("get", "--prefix", "/kvm/"),
        "read all that is behind its own": ("get", "--from-key", "/kvm/7/"),
        "read all names": ("get", "--prefix", "/kvm/", "--keys-only"),
        "make a VM": ("put", "/kvm/9/ram", "64"),
        "make a VM whose name begins alike": ("put", "/kvm/70/ram", "64"),
        "give every VM an option": ("put", "/kvm/_defaults/extra_flags", "x"),
        "end its launcher's lease": ("lease", "revoke", lease(etcd, lock)),
        "end VM 8's lease": ("lease", "revoke", lease(etcd, lock.replace("/7/", "/8/"))),
        "be root": ("user", "grant-role", "tenant-7", "root"),
        "be the launcher": ("user", "grant-role", "tenant-7", "launcher"),
        "widen its role": ("role", "grant-permission", "tenant-7", "readwrite", "--prefix", "/kvm/"),
        "make a user": ("user", "add", "other", "--no-password"),
        "end the asking": ("auth", "disable"),
        "take all keys home": ("snapshot", "save", f"{tmp_path}/snapshot"),
        "stop etcd for a while": ("defrag",),
        "take a member out": ("member", "remove", "1234"),
    }  # fmt: skip
    stopped = {what: answer(etcd, "tenant-7", *words) for what, words in tries.items()}
    both = "\nput /kvm/7/title x\nput /kvm/8/power off\n\n\n"
    stopped["switch VM 8 off beside a key of its own"] = answer(etcd, "tenant-7", "txn", text=both)
    with capsys.disabled():
        print(f"\nA tenant, by etcd:\n{told(stopped)}")  # noqa: T201 - the record that is asked for
    assert {what: by for what, by in stopped.items() if "permission denied" not in by} == {}
    after = found(etcd, "/kvm/")
    assert {key: after[key] for key in described} == {key: before[key] for key in described}
    assert set(written) <= after.keys()
    assert all(alive(launcher.qemu()) for launcher in launchers)


def by_keys(images: str, shares: str) -> list[tuple[str, dict[str, str], str]]:
    """What is tried, by which keys, and what the launcher must say to each: they are all there at once."""
    return [
        ("another VM's disk by its path", {"disks/a/path": f"{images}/8/disk.raw"}, "disks/a/path"),
        ("a copy of it", {"disks/b/source/image": f"{images}/8/disk.raw"}, "disks/b/source/image"),
        ("a copy of another VM's volume", {"disks/c/source/volume": "8-root"}, "disks/c/source/volume"),
        ("another VM's image in Ceph", {"disks/d/rbd": "rbd/8-root"}, "disks/d/rbd"),
        ("to write what others are made from", {"disks/e/path": f"{images}/templates/golden.raw"}, "disks/e/path"),
        ("a file of the host", {"disks/f/path": "/etc/shadow"}, "disks/f/path"),
        ("a way out of its folder", {"disks/g/path": f"{images}/7/../8/disk.raw"}, "disks/g/path"),
        ("a pool that is not its", {"disks/h/pool": "other", "disks/h/size": "1M"}, "disks/h/pool"),
        ("a kernel of another VM's", {"kernel": f"{images}/8/vmlinuz"}, "kernel"),
        ("a folder of the host", {"shares/etc/path": "/etc"}, "shares/etc/path"),
        ("another VM's folder", {"shares/other/path": f"{images}/8"}, "shares/other/path"),
        ("a bridge that is not named", {"nics/a/bridge": "docker0"}, "nics/a/bridge"),
        ("the host's ssh", {"nics/b/mode": "user", "nics/b/ports": "22:22"}, "nics/b/ports"),
        ("the host's etcd", {"nics/c/mode": "user", "nics/c/ports": "2379:2379"}, "nics/c/ports"),
        ("a USB device", {"usb/stick": "0951:1666"}, "usb/stick"),
        ("a PCI device", {"pci/card": "0000:03:00.0"}, "pci/card"),
        ("a screen without TLS for all", {"spice_port": "5999", "spice_addr": "0.0.0.0"}, "spice_addr"),  # noqa: S104
        ("a way to etcd, as a serial port", {"extra_flags": "-serial tcp:127.0.0.1:2379"}, "extra_flags"),
        ("the launcher's memory, by YAML", {"meta_data": BOMB}, "meta_data"),
        ("an operator's terminal", {"title": "\x1b]0;mine\x07", "machine": "q\x1b[2J"}, r"\\x1b"),
    ]  # fmt: skip


def test_what_the_launcher_keeps_a_tenant_from(
    etcd: Etcd,
    start: Callable[[str], Launcher],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """He may write all of these keys, and does. The one that is refused is named, each of them, before the lock."""
    tries = by_keys(f"{tmp_path}/images", f"{tmp_path}/shares")
    keys = {key: value for _, given, _ in tries for key, value in given.items()}
    put(etcd, "tenant-7", "7", {**GOOD, **keys})
    before = epochs(etcd)
    launcher = start("7")
    assert launcher.ends() == 78, launcher.story()
    assert "\x1b" not in launcher.log
    lines = launcher.log.splitlines()
    stopped = {
        what: next((line for line in lines if re.search(named, line)), "")
        for what, _, named in tries
    }
    with capsys.disabled():
        print(f"\nA tenant, by his keys:\n{told(stopped)}")  # noqa: T201
    assert [what for what, by in stopped.items() if not by] == []
    assert epochs(etcd) == before
