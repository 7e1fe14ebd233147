"""The roles of docs/security.md, made by its own lines: what each may do, and what etcd keeps it from."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commanding import told
from etcd import Etcd, serving
from launcher import Launcher

from holdfast.keys import KEYS

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PATIENT = ("--command-timeout=60s", "--dial-timeout=60s")
PASSWORD = "a password"  # noqa: S105 - of the test's own etcd
KEPT = ("7/lock", "7/epoch", "7/fence")  # the lock, and what keeps older launchers off
RECORDS = tuple(f"_own/{{}}/{name}" for name in ("epoch", "fence", "pinned", "volumes/root"))
RECORDS += ("_run/{}", "_last/{}", "_secret/{}/tpm")
SEEN = ("_run/7", "_last/7")  # by the tenant of 7
BESIDE = (
    "8/ram",
    "70",
    "_defaults/ram",
    "_id",
    "_claims/file/x",
    "_log/70/x",
    "_log/8/x",
    "_run/70",
    "_last/8",
)
OTHERS = (*BESIDE, *(record.format(7) for record in RECORDS))


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    # Each command logs in anew, and would spend most of its time with the hash of a password.
    with serving(tmp_path_factory.mktemp("roles"), "--bcrypt-cost=4") as made:
        lines = [line for block in blocks() for line in block if line[1:] != ["auth", "enable"]]
        for _, *words in lines:
            asks = words[:2] == ["user", "add"]
            made.ctl(*words, text=f"{PASSWORD}\n{PASSWORD}\n" if asks else None)
        made.ctl(
            "auth", "enable"
        )  # the document has it where a person would do it: before the roles
        yield made


def blocks() -> list[list[list[str]]]:
    """Blocks of commands, a line each, of the chapter about roles."""
    chapter = PAGE.read_text("utf-8").partition("### Roles\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```sh\n(.*?)^```", chapter, flags=re.DOTALL | re.MULTILINE)
    return [[shlex.split(line) for line in block.splitlines()] for block in found]


def may(etcd: Etcd, user: str, *words: str) -> bool:
    """Whether etcd lets the user. Anything else that goes wrong fails the test."""
    etcd.client = [f"--user={user}:{PASSWORD}", *PATIENT]
    done = etcd._ctl(*words)
    assert done.returncode == 0 or "permission denied" in done.stderr, done.stderr
    return done.returncode == 0


def test_a_tenant_writes_the_keys_of_his_vm(etcd: Etcd) -> None:
    assert may(etcd, "tenant-7", "get", "--prefix", "/kvm/7/")
    for key in KEYS:
        assert may(etcd, "tenant-7", "put", f"/kvm/7/{key}", "x")


@pytest.mark.parametrize("key", [*KEPT, *OTHERS])
def test_a_tenant_writes_nothing_else(etcd: Etcd, key: str) -> None:
    assert not may(etcd, "tenant-7", "put", f"/kvm/{key}", "x")
    assert not may(etcd, "tenant-7", "del", f"/kvm/{key}")


@pytest.mark.parametrize("key", [key for key in OTHERS if key not in SEEN])
def test_a_tenant_reads_nothing_else(etcd: Etcd, key: str) -> None:
    assert not may(etcd, "tenant-7", "get", f"/kvm/{key}")


def commanded(etcd: Etcd, tmp_path: Path, user: str, *words: str) -> tuple[int, str]:
    password = tmp_path / "password"
    password.write_text(PASSWORD, encoding="ascii")
    return told(etcd.url, *words, ETCD_USERNAME=user, ETCD_PASSWORD_FILE=str(password))


def test_a_tenant_changes_and_sees_his_vm_by_holdfast(etcd: Etcd, tmp_path: Path) -> None:
    etcd.client = [f"--user=operator:{PASSWORD}", *PATIENT]
    etcd.ctl("del", "--prefix", "/kvm/7/")
    etcd.put("7", ram="1G")
    etcd.put("8", ram="1G")
    assert commanded(etcd, tmp_path, "tenant-7", "set", "7", "ram=2G")[0] == 0
    assert "tenant-7@" in commanded(etcd, tmp_path, "tenant-7", "history", "7")[1]
    assert commanded(etcd, tmp_path, "tenant-7", "show", "7")[0] == 0
    for words in (
        ["set", "8", "ram=2G"],
        ["show", "8"],
        ["history", "8"],
        ["ls"],
        ["rm", "7", "--yes"],
    ):
        status, said = commanded(etcd, tmp_path, "tenant-7", *words)
        assert status == 69
        assert "permission denied" in said


def test_an_operator_of_some_vms_lists_and_changes_those(etcd: Etcd, tmp_path: Path) -> None:
    etcd.client = [f"--user=operator:{PASSWORD}", *PATIENT]
    etcd.put("web-5", ram="1G")
    status, said = commanded(etcd, tmp_path, "web", "ls", "web-*")
    assert status == 0, said
    assert "web-5" in said
    assert commanded(etcd, tmp_path, "web", "set", "web-5", "ram=2G")[0] == 0
    assert commanded(etcd, tmp_path, "web", "ls")[0] == 69
    assert commanded(etcd, tmp_path, "web", "set", "7", "ram=3G")[0] in (69, 78)


def test_a_reader_lists_and_changes_nothing(etcd: Etcd, tmp_path: Path) -> None:
    assert commanded(etcd, tmp_path, "reader", "ls")[0] == 0
    assert not may(etcd, "reader", "put", "/kvm/_log/7/x", "x")
    etcd.client = [f"--user=operator:{PASSWORD}", *PATIENT]
    etcd.put("9", ram="1G")
    assert commanded(etcd, tmp_path, "reader", "show", "9")[0] == 0
    assert commanded(etcd, tmp_path, "reader", "set", "9", "ram=2G")[0] == 69


def test_a_reader_reads(etcd: Etcd) -> None:
    assert may(etcd, "reader", "get", "--prefix", "/kvm/7/")
    assert may(etcd, "reader", "get", "/kvm/_run/7")
    assert not may(etcd, "reader", "put", "/kvm/7/ram", "1G")
    assert not may(etcd, "reader", "get", "/kvm/_secret/7/tpm")
    assert not may(etcd, "reader", "get", "--prefix", "/kvm/_secret/")


@pytest.mark.parametrize("record", RECORDS)
def test_who_may_write_all_of_a_vms_keys_writes_no_record_of_it(etcd: Etcd, record: str) -> None:
    """One range over several VMs, with all that stands below their names."""
    assert may(etcd, "web", "put", "/kvm/web-1/fence", "x")
    assert not may(etcd, "web", "put", f"/kvm/{record.format('web-1')}", "x")
    assert not may(etcd, "web", "del", f"/kvm/{record.format('web-1')}")
    reads = record.startswith(("_run/", "_last/"))
    assert may(etcd, "web", "get", f"/kvm/{record.format('web-1')}") is reads
    assert not may(etcd, "web", "get", f"/kvm/{record.format('webx')}")
    assert not may(etcd, "web", "put", "/kvm/webx/ram", "x")


def test_an_operator_writes_all_of_the_tree(etcd: Etcd) -> None:
    assert may(etcd, "operator", "put", "/kvm/_defaults/title", "a machine")
    assert may(etcd, "operator", "del", "/kvm/_own/7/fence")
    assert not may(etcd, "operator", "get", "/other")


def test_a_launcher_runs_a_vm(etcd: Etcd, launch: Launch, guest: Path, tmp_path: Path) -> None:
    disk = tmp_path / "images" / "disk.raw"
    disk.parent.mkdir()
    shutil.copy(guest / "disk.raw", disk)
    config = tmp_path / "host.toml"
    config.write_text(f'image_paths = ["{disk.parent}"]\n', encoding="ascii")
    etcd.client = [f"--user=operator:{PASSWORD}", *PATIENT]
    etcd.put("r", ram="192", disks__root__path=str(disk))
    password = tmp_path / "password"
    password.write_text(PASSWORD, encoding="ascii")
    login = {"ETCD_USERNAME": "launcher", "ETCD_PASSWORD_FILE": str(password)}
    launcher = launch(
        {"VM": "r", "ETCD_ENDPOINTS": etcd.url, "HOLDFAST_CONFIG": str(config), **login}
    )
    assert launcher.ready()["boot"] == "1"
    launcher.signal()
    assert launcher.ends() == 0
    assert "permission denied" not in launcher.log
    assert etcd.get("/kvm/_own/r/fence") is None
    assert not may(etcd, "launcher", "put", "/kvm/_defaults/ram", "1G")
