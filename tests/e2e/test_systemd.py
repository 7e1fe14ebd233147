"""kvm@.service under a real systemd, the first process of a container; the VM is a container beside it."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from container import Container, docker
from deadline import PATIENCE
from etcd import Etcd

from holdfast.config.settings import parse

pytestmark = pytest.mark.e2e

UNITS = Path(__file__).parents[2] / "systemd"
MIB = 1024**2
VM, UNIT, CONTAINER = "unit", "kvm@unit.service", "kvm-unit"
# They are the machine's business, of which this container is a part.
MASKED = (
    "blk-availability binfmt ldconfig lvm2-monitor systemd-binfmt systemd-journal-catalog-update systemd-logind "
    "systemd-modules-load systemd-pcrphase systemd-pcrphase-sysinit systemd-sysctl systemd-udevd systemd-update-done"
)
BOOT = (
    f"for unit in {MASKED}; do ln -sf /dev/null /etc/systemd/system/$unit.service; done; "
    "exec /lib/systemd/systemd --system --unit=basic.target"
)
DOCKER_SERVICE = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
TYPE = """
import socket, sys
with socket.socket(socket.AF_UNIX) as console:
    console.connect("/run/holdfast/unit/console")
    console.sendall(sys.argv[1].encode() + b"\\n")
    said = b""
    while sys.argv[2].encode() not in said:
        said += console.recv(4096)
"""


@dataclass(frozen=True, kw_only=True)
class Systemd:
    id: str

    def run(self, *command: str, timeout: float = 120) -> str:
        return docker("exec", self.id, *command, timeout=timeout)

    def ctl(self, *words: str) -> str:
        return self.run("systemctl", *words)

    def shows(self, name: str) -> str:
        return self.ctl("show", "--value", f"--property={name}", UNIT).strip()

    def comes(self, name: str, value: str, seconds: float = PATIENCE) -> None:
        until = time.monotonic() + seconds
        while (found := self.shows(name)) != value:
            assert time.monotonic() < until, f"{name} is {found}, not {value}:\n{self.journal()}"
            time.sleep(0.1)

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}")

    def says(self, pattern: str, *, after: int = 0, seconds: float = PATIENCE) -> int:
        """Waits for it in the journal, beyond the first `after` characters; where it ends."""
        until = time.monotonic() + seconds
        while not (found := re.compile(pattern).search(said := self.journal(), after)):
            assert time.monotonic() < until, f"never said {pattern!r}:\n{said[-4000:]}"
            time.sleep(0.2)
        return found.end()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, guest: Path, etcd_server: Etcd) -> Path:
    """What the unit mounts from the machine, below a folder of the test's own."""
    tmp_path = tmp_path_factory.mktemp("units")
    for folder in (
        "etc/holdfast",
        "etc/ceph",
        "var/lib/holdfast/images",
        "var/lib/holdfast/pool",
        "units",
    ):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(guest / "disk.raw", tmp_path / "var/lib/holdfast/images/disk.raw")
    (tmp_path / "etc/machine-id").write_text("0" * 31 + "9\n", encoding="ascii")
    env = f"# systemd takes quotes off\nETCD_ENDPOINTS='{etcd_server.url}'\n"
    (tmp_path / "etc/holdfast/kvm.env").write_text(env, encoding="ascii")
    text = (UNITS / "kvm@.service").read_text(encoding="utf-8")
    text = text.replace("RestartSec=10", "RestartSec=1")
    for path in ("/etc/machine-id", "/etc/ceph", "/etc/holdfast", "/var/lib/holdfast"):
        text = text.replace(f"-v {path}:", f"-v {tmp_path}{path}:")
    (tmp_path / "units/kvm@.service").write_text(text, encoding="utf-8")
    (tmp_path / "units/docker.service").write_text(DOCKER_SERVICE, encoding="ascii")
    shutil.copy(UNITS / "kvm.slice", tmp_path / "units")
    return tmp_path


def up(container: str) -> bool:
    """Also while the container itself is still coming up."""
    command = ["docker", "exec", container, "systemctl", "is-system-running"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "running"


@pytest.fixture(scope="module")
def systemd(folders: Path, privileged: list[str]) -> Iterator[Systemd]:
    mounts = {
        "/run/docker.sock": "/var/run/docker.sock",
        "/usr/local/lib/systemd/system": folders / "units",
        "/etc/holdfast": folders / "etc/holdfast",
    }
    words = [*privileged, "--network=none", "--hostname=host-a", "--env=container=docker"]
    words += [f"--tmpfs={path}" for path in ("/run", "/run/lock", "/tmp")]
    words += [f"--volume={theirs}:{ours}" for ours, theirs in mounts.items()]
    container = Container([*words, "holdfast:test", "sh", "-c", BOOT])
    try:
        found = Systemd(id=container.id)
        until = time.monotonic() + 60
        while not up(found.id):
            assert time.monotonic() < until, container.story()
            time.sleep(0.1)
        yield found
    finally:
        container.close()
        subprocess.run(["docker", "rm", "--force", CONTAINER], capture_output=True, check=False)


def typed(line: str, answer: str) -> None:
    """At the guest's console."""
    docker("exec", CONTAINER, "python3", "-c", TYPE, line, answer, timeout=60)


def made(template: str) -> str:
    """What docker knows of the container."""
    return docker("inspect", f"--format={template}", CONTAINER).strip()


def test_the_life_of_a_unit(systemd: Systemd, folders: Path, etcd_server: Etcd) -> None:
    etcd_server.put(VM, ram="192", nics__nic0__mode="user", stop_timeout="30")
    etcd_server.put(VM, disks__root__path="/var/lib/holdfast/images/disk.raw")

    systemd.ctl("start", UNIT)
    at = systemd.says(r"GUEST-READY.* boot=1\b")
    limit, parent = made("{{.HostConfig.Memory}} {{.HostConfig.CgroupParent}}").split()
    assert parent == systemd.shows("Slice") == "kvm.slice"
    assert int(limit) > 192 * MIB

    # Nobody reads: neither the log's client, nor who waits for the end.
    systemd.ctl("kill", "--signal=STOP", UNIT)
    typed("yes 0123456789 | head -c 300000; echo GOT-'THROUGH'", "GOT-THROUGH")
    systemd.ctl("kill", "--signal=CONT", UNIT)

    docker("kill", CONTAINER)  # a crash of the launcher
    at = systemd.says(r"GUEST-READY.* boot=2\b", after=at)
    assert systemd.shows("NRestarts") == "1"

    systemd.ctl("restart", UNIT)
    at = systemd.says(r"GUEST-DOWN", after=at)
    at = systemd.says(r"GUEST-READY.* boot=3\b", after=at)

    typed("poweroff", "GUEST-DOWN")
    at = systemd.says("waiting: the VM is switched off", after=at)
    assert systemd.shows("ActiveState") == "active"
    # Who waits for a VM that has grown makes room for it, before he takes it.
    restarts = int(systemd.shows("NRestarts"))
    etcd_server.put(VM, ram="256")
    at = systemd.says("it must be made anew", after=at)
    etcd_server.put(VM, power="on")
    at = systemd.says(r"GUEST-READY.* boot=4\b", after=at)
    assert systemd.shows("NRestarts") == str(restarts + 1)
    assert int(made("{{.HostConfig.Memory}}")) >= int(limit) + 64 * MIB

    systemd.ctl("stop", UNIT)
    systemd.says("GUEST-DOWN", after=at)
    assert (systemd.shows("ActiveState"), systemd.shows("Result")) == ("inactive", "success")
    assert not docker("ps", "--all", "--quiet", f"--filter=name=^{CONTAINER}$")


ENV_FILES = {
    "plain": "VM=7\nETCD_ENDPOINTS=http://etcd:2379\n",
    "double": 'VM="7"\nETCD_ENDPOINTS="http://etcd:2379"\n',
    "single": "VM='7'\nETCD_ENDPOINTS='http://etcd:2379'\n",
    "comments": "# the VM\n; and\n\nVM=7\n  # etcd\nETCD_ENDPOINTS=etcd\n",
    "blanks": "  VM = 7  \n ETCD_ENDPOINTS=etcd   \n",
    "continued": "VM=7\nETCD_ENDPOINTS=\\\netcd\n",
    "dos": "VM=7\r\nETCD_ENDPOINTS=http://etcd:2379\r\n",
    "twice": "VM=6\nVM=7\nETCD_ENDPOINTS=etcd\n",
    "empty": "VM=7\nTTL=\nLOCK=\nETCD_ENDPOINTS=etcd\n",
    "unended": "VM=7\nETCD_ENDPOINTS=etcd",
}
SHAPE = """
[Service]
Type=oneshot
EnvironmentFile=/etc/holdfast/%i.env
ExecStart=/usr/bin/env -0
StandardOutput=truncate:/etc/holdfast/%i.out
"""


def test_env_files_as_people_write_them(systemd: Systemd, folders: Path) -> None:
    """What systemd makes of each is a VM and its etcd to us."""
    (folders / "units/shape@.service").write_text(SHAPE, encoding="ascii")
    etc = folders / "etc/holdfast"
    for name, text in ENV_FILES.items():
        (etc / f"{name}.env").write_bytes(text.encode("ascii"))
    systemd.ctl("daemon-reload")
    systemd.ctl("start", *(f"shape@{name}.service" for name in ENV_FILES))
    found = {}
    for name in ENV_FILES:
        said = (etc / f"{name}.out").read_text(encoding="ascii")
        settings = parse(dict(one.split("=", 1) for one in said.split("\0") if one), host_toml="")
        found[name] = (settings.vm, *map(str, settings.endpoints))
    assert found == dict.fromkeys(ENV_FILES, ("7", "etcd:2379"))


def test_wrong_keys_end_it_once(systemd: Systemd, folders: Path, etcd_server: Etcd) -> None:
    etcd_server.put(VM, ram="lots")
    (folders / "etc/holdfast/unit.env").write_text("CONFIG_WAIT=off\n", encoding="ascii")
    systemd.ctl("start", UNIT)
    systemd.comes("ActiveState", "failed")
    assert systemd.shows("ExecMainStatus") == "78"
    assert systemd.shows("NRestarts") == "0"
    assert "ram: 'lots'" in systemd.journal()
    systemd.ctl("reset-failed", UNIT)
