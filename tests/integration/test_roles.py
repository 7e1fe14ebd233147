"""The roles of docs/security.md, made by its own lines: what each may do, and what etcd keeps it from."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from etcd import Etcd, serving
from launcher import Launcher

from holdfast.keys import KEYS, WRITTEN

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PASSWORD = "a password"  # noqa: S105 - of the test's own etcd
RECORDS = (*WRITTEN, "secret/tpm")
OTHERS = ("8/ram", "70", "_defaults/ram", "_id", "_own/7/volumes/root", "_claims/file/x")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with serving(tmp_path_factory.mktemp("roles")) as made:
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
    etcd.client = [f"--user={user}:{PASSWORD}"]
    done = etcd._ctl(*words)
    assert done.returncode == 0 or "permission denied" in done.stderr, done.stderr
    return done.returncode == 0


def test_a_tenant_writes_the_keys_of_his_vm(etcd: Etcd) -> None:
    assert may(etcd, "tenant", "get", "--prefix", "/kvm/7/")
    for key in KEYS:
        assert may(etcd, "tenant", "put", f"/kvm/7/{key}", "x")


@pytest.mark.parametrize("key", [*(f"7/{record}" for record in RECORDS), *OTHERS])
def test_a_tenant_writes_nothing_else(etcd: Etcd, key: str) -> None:
    assert not may(etcd, "tenant", "put", f"/kvm/{key}", "x")
    assert not may(etcd, "tenant", "del", f"/kvm/{key}")


@pytest.mark.parametrize("key", OTHERS)
def test_a_tenant_reads_nothing_else(etcd: Etcd, key: str) -> None:
    assert not may(etcd, "tenant", "get", f"/kvm/{key}")


def test_a_reader_reads(etcd: Etcd) -> None:
    assert may(etcd, "reader", "get", "--prefix", "/kvm/")
    assert not may(etcd, "reader", "put", "/kvm/7/ram", "1G")


def test_an_operator_writes_all_of_the_tree(etcd: Etcd) -> None:
    assert may(etcd, "operator", "put", "/kvm/_defaults/title", "a machine")
    assert may(etcd, "operator", "del", "/kvm/7/fence")
    assert not may(etcd, "operator", "get", "/other")


def test_a_launcher_runs_a_vm(etcd: Etcd, launch: Launch, guest: Path, tmp_path: Path) -> None:
    disk = tmp_path / "images" / "disk.raw"
    disk.parent.mkdir()
    shutil.copy(guest / "disk.raw", disk)
    config = tmp_path / "host.toml"
    config.write_text(f'image_paths = ["{disk.parent}"]\n', encoding="ascii")
    etcd.client = [f"--user=operator:{PASSWORD}"]
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
    assert etcd.get("/kvm/r/fence") is None
    assert not may(etcd, "launcher", "put", "/kvm/_defaults/ram", "1G")
