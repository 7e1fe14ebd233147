"""`holdfast check`, on a file: without etcd, root or KVM."""

import json
from pathlib import Path

import pytest

from holdfast.cli.check import main
from holdfast.errors import UsageError

GOOD = "ram: 512\nrbd: vms/7\n"
BAD = "ram: 0\nrma: 1G\nusb: {stick: '1:2'}\ndisks: {root: {path: /etc/shadow}}\n"
UNLIMITED = (
    "(host.toml has no [vms]: another VM's keys may name the same disks; see docs/security.md)\n"
)
FINDINGS = [
    "disks/root/path: '/etc/shadow': is not under image_paths of host.toml (/images)",
    "ram: '0': must be at least 16 MiB",
    "usb/stick: '1:2': must be vendor:product, four hexadecimal digits each, such as 0951:1666",
    "rma: is no key of a VM; did you mean ram?",
]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "host.toml").write_text('image_paths = ["/images"]\n', encoding="utf-8")
    return {"HOLDFAST_CONFIG": str(tmp_path / "host.toml")}


@pytest.fixture
def vm_file(tmp_path: Path) -> Path:
    return tmp_path / "web.yaml"


def test_a_good_file(
    vm_file: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    vm_file.write_text(GOOD, encoding="utf-8")
    assert main(["--file", str(vm_file)], environ) == 0
    assert capsys.readouterr().out == f"{vm_file}: all keys are good\n{UNLIMITED}"
    assert main(["--file", str(vm_file), "--json"], environ) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_good_file_for_a_host(
    vm_file: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    vm_file.write_text(GOOD, encoding="utf-8")
    host = vm_file.with_name("host.json")
    host.write_text('{"name": "host-a", "kvm": "usable"}', encoding="utf-8")
    assert main(["--file", str(vm_file), "--host-file", str(host)], environ) == 0
    assert capsys.readouterr().out == f"{vm_file}: all keys are good for host host-a\n{UNLIMITED}"


def test_all_faults_a_line_each(
    vm_file: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    vm_file.write_text(BAD, encoding="utf-8")
    assert main(["--file", str(vm_file)], environ) == 78
    assert capsys.readouterr().out.splitlines() == FINDINGS


def test_as_json(
    vm_file: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    vm_file.write_text(BAD, encoding="utf-8")
    assert main(["web", "--file", str(vm_file), "--json"], environ) == 78
    assert json.loads(capsys.readouterr().out) == FINDINGS


def test_a_file_that_is_no_description(
    vm_file: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    vm_file.write_text("ram: 1G\nram: 2G\n", encoding="utf-8")
    assert main(["--file", str(vm_file)], environ) == 78
    assert capsys.readouterr().out == "ram: stands in the file twice (line 2)\n"


def test_variables_and_lock_of_the_environment(vm_file: Path, environ: dict[str, str]) -> None:
    vm_file.write_text(GOOD, encoding="utf-8")
    around = {**environ, "LOCK": "/kvm/7/lock", "INSTANCE": "7", "VM_RAM": "1G"}
    assert main(["web", "--file", str(vm_file)], around) == 0


@pytest.mark.parametrize(
    "arguments", [["--fil", "x.yaml"], ["--file"], ["a", "b"], [], ["--file", "/nowhere.yaml"]]
)
def test_usage(arguments: list[str], environ: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        main(arguments, environ)
