"""The commands of docs/operations.md, as they stand there."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from etcd import Etcd, serving
from launcher import Launcher

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PASSWORD = "a password"  # noqa: S105 - of the test's own etcd


def commands(first: str) -> list[list[str]]:
    """The block that begins so, a command a line."""
    found = re.findall(
        r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    (block,) = [one for one in found if one.startswith(first)]
    return [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with serving(tmp_path) as made:
        yield made


def test_the_rights_of_one_host_suffice(
    launch: Launch, etcd: Etcd, guest: Path, tmp_path: Path
) -> None:
    """From the first look at the keys to the end of a clean stop, and no more than these."""
    disk = tmp_path / "images" / "disk.raw"
    disk.parent.mkdir()
    shutil.copy(guest / "disk.raw", disk)
    config = tmp_path / "host.toml"
    config.write_text(f'image_paths = ["{disk.parent}"]\n', encoding="ascii")
    etcd.put("7", ram="192", disks__root__path=str(disk))
    for _, *words in commands("etcdctl role add"):
        etcd.ctl(
            *words,
            text=f"{PASSWORD}\n{PASSWORD}\n" if words[1] == "add" and words[0] == "user" else None,
        )
    etcd.ctl("user", "add", "root:root")
    etcd.ctl("user", "grant-role", "root", "root")
    etcd.ctl("auth", "enable")
    etcd.client = ["--user=root:root"]
    password = tmp_path / "password"
    password.write_text(PASSWORD, encoding="ascii")
    login = {"ETCD_USERNAME": "holdfast", "ETCD_PASSWORD_FILE": str(password)}
    environ = {"VM": "7", "ETCD_ENDPOINTS": etcd.url, "HOLDFAST_CONFIG": str(config), **login}
    launcher = launch(environ)
    assert launcher.ready()["boot"] == "1"
    launcher.signal()
    assert launcher.ends() == 0
    assert "permission denied" not in launcher.log
    assert etcd.get("/kvm/_own/7/fence") is None, "it could say good-bye"
    other = launch({**environ, "VM": "8", "LOCK_WAIT": "1"})
    other.says(r"user holdfast asked to read /kvm/8/\*, /kvm/_defaults/\*")


def test_the_restore(etcd: Etcd, tmp_path: Path) -> None:
    etcd.put("7", ram="1G")
    etcd.ctl("snapshot", "save", str(tmp_path / "backup.db"))
    (words,) = commands("etcdutl snapshot restore")
    data = str(tmp_path / "restored")
    command = [data if word == "/var/lib/etcd" else word for word in words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    etcd.stop()
    etcd.data = Path(data)
    etcd.name, etcd.peer = "default", "http://localhost:2380"
    etcd.flags = ["--force-new-cluster"]
    etcd.start()
    assert etcd.get("/kvm/7/ram") == "1G"
    status = etcd.ctl("endpoint", "status", "--write-out=json")
    found = re.search(r'"revision":(\d+)', status)
    assert found
    assert int(found[1]) > 1_000_000_000
