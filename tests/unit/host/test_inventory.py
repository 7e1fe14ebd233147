"""What `holdfast host` makes of what the host's tools print, and that it is a recorded host."""

import json
from pathlib import Path

import pytest

from holdfast.cli import argv, check, host
from holdfast.host import Kvm, inventory
from holdfast.policy import host_config

STATUS = """Package: librbd1
Status: install ok installed
Version: 18.2.7+ds-1
Description: RADOS block device
 Version: not this one

Package: swtpm
Status: deinstall ok config-files
Version: 0.7.1
"""
TOML = """bridges = ["br0"]
default_pool = "a"
emulators_allowlist = ["qemu-system-x86_64"]
[pools.a]
kind = "directory"
path = "/nowhere"
[pools.b]
kind = "rbd"
pool = "vms"
namespace = "n"
"""


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright", "10.0.13"),
        ("QEMU emulator version 7.2", "7.2"),
        ("", ""),
        ("QEMU emulator version ten", ""),
        ("[Errno 2] No such file or directory", ""),
    ],
)
def test_q17_the_version(said: str, version: str) -> None:
    assert inventory.version(said) == version


def test_q17_an_emulator_that_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "qemu"
    path.write_text("#!/bin/sh\necho what\n")
    path.chmod(0o755)
    config = host_config.parse(TOML, [])
    assert host.emulator("x86_64", str(path), config)["version"] == "unknown: what"
    gone = host.emulator("aarch64", str(tmp_path / "none"), config)
    assert gone["version"].startswith("unknown: [Errno 2]")
    assert gone["allowed"] is False


def test_versions_of_packages() -> None:
    assert inventory.packages(STATUS) == {"ceph client": "18.2.7+ds-1"}


def test_v22_the_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "host.toml").write_text(TOML)
    environ = {"HOLDFAST_CONFIG": str(tmp_path / "host.toml"), "HOSTNAME": "node1"}
    assert host.main(["--json"], environ) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert (found["name"], found["kvm"] in [*Kvm]) == ("node1", True)
    assert set(found["facts"]) == {
        "holdfast", "emulators", "accelerators", "firmware", "tpm", "cpus", "memory", "hugepages",
        "bridges", "vhost_net", "io_uring", "pools", "vms", "packages",
    }  # fmt: skip
    assert found["facts"]["pools"] == {
        "a": {"kind": "directory", "path": "/nowhere", "default": True, "missing": True},
        "b": {"kind": "rbd", "pool": "vms/n", "default": False},
    }
    assert found["facts"]["vms"].startswith("host.toml has no [vms]: each VM's keys may name all")
    recorded = tmp_path / "host.json"
    recorded.write_text(text)
    assert argv.recorded(str(recorded)).name == "node1"


def test_for_people() -> None:
    found = {"cpus": 2, "vhost_net": False, "bridges": {}, "pools": {"a": {"default": True}}}
    assert inventory.lines(found) == [
        "cpus: 2", "vhost_net: no", "bridges: -", "pools:", "  a:", "    default: yes",
    ]  # fmt: skip


def test_check_takes_a_recorded_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a VM's keys and that host make impossible together."""
    keys, recorded = tmp_path / "vm.yaml", tmp_path / "host.json"
    recorded.write_text('{"name": "a", "kvm": "no_module"}')
    arguments = ["--file", str(keys), "--host-file", str(recorded)]
    for text, said in (
        ("cpu_model: host\n", "cpu_model: 'host': needs KVM; use max without it"),
        (
            "arch: aarch64\ndisks: {root: {rbd: a/b}}\n",
            "qemu-system-aarch64 is not installed here",
        ),
        ("arch: aarch64\naccelerator: kvm\ndisks: {root: {rbd: a/b}}\n", "qemu-system-aarch64"),
    ):
        keys.write_text(text)
        assert check.main(arguments, {}) == 78
        assert said in capsys.readouterr().out
    keys.write_text("ram: 1G\n")
    assert check.main(arguments, {}) == 0
