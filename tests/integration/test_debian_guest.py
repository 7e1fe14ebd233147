"""A real Debian reads its seed, answers through its guest agent, and powers down when asked to."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from etcd import Etcd
from launcher import Launcher

pytestmark = pytest.mark.integration

VM = "debian"
RECIPE = Path(__file__).parents[1] / "guest" / "debian"
BOOT = 600  # seconds, without KVM on a busy machine
POWER_DOWN = 120
PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxWcKcGcTnGZ0C1kcWc7N3mU1q5y2yWwP9Fz2n3YV5k of-a-test"
)
WRITTEN = 'a, b = "c"\n{{ vm }} is no template, $HOME no variable, and this a \u00fc\n'
USER_DATA = f"""\
#cloud-config
users:
  - default
  - name: keeper
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    ssh_authorized_keys:
      - {PUBLIC_KEY}
write_files:
  - path: /etc/holdfast-test
    permissions: "0640"
    encoding: b64
    content: {base64.b64encode(WRITTEN.encode()).decode()}
  - path: /etc/holdfast-test-plain
    content: |
      a, b = "c"
runcmd:
  - [sh, -c, 'echo "ran on $(hostname)" >>/var/lib/holdfast-test']
"""

# What a naive text of YAML or of a shell would break on.
HOSTILE = ": # ' \" { } [ %  \\ $HOME"
VARIABLE = "a: 'b' \"c\" # {d} $HOME `id`\nand more\n"
COMMANDS = """\
echo "a: b # c { d } it's \\"e\\"" >>/var/lib/holdfast-test
printf %s "$HOSTILE" >/var/lib/holdfast-variable"""
OTHER_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmP2yGqE0GV6R4yqV0mGzI2p3uQF6cM1Jx4yXkV9wQe by-key"
)


@pytest.fixture(scope="module")
def debian() -> Path:
    done = subprocess.run([RECIPE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


class Agent:
    """qemu-guest-agent at the other end of the VM's socket (docs/interop/qemu-ga-ref)."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def sync(self, timeout: float) -> None:
        """Wait until it answers: what is said before it listens is lost."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                if self.ask("guest-sync", id=42) == 42:
                    return
        pytest.fail("the guest agent does not answer")

    def ask(self, command: str, **arguments: object) -> Any:
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._lines.readline())
        assert "return" in answer, answer
        return answer["return"]

    def read(self, path: str) -> str:
        handle = self.ask("guest-file-open", path=path, mode="r")
        found = self.ask("guest-file-read", handle=handle, count=65536)
        self.ask("guest-file-close", handle=handle)
        return base64.b64decode(found["buf-b64"]).decode()

    def run(self, *command: str) -> str:
        path, *arguments = command
        options = {"capture-output": True}
        pid = self.ask("guest-exec", path=path, arg=arguments, **options)["pid"]
        deadline = time.monotonic() + 60
        while not (status := self.ask("guest-exec-status", pid=pid))["exited"]:
            assert time.monotonic() < deadline, command
            time.sleep(0.2)
        assert status["exitcode"] == 0, status
        return base64.b64decode(status.get("out-data", "")).decode()


def the_keys_beside_it_count(agent: Agent) -> None:
    assert OTHER_KEY in agent.read("/home/debian/.ssh/authorized_keys")
    assert agent.read("/var/lib/holdfast-variable") == VARIABLE
    assert agent.run("/bin/bash", "-lc", 'printf %s "$HOSTILE"') == VARIABLE
    assert agent.run("/usr/bin/date", "-d", "2026-01-01T00:00Z", "+%Z %H:%M") == "ACDT 10:30\n"
    (shadow,) = (
        line.split(":")
        for line in agent.read("/etc/shadow").splitlines()
        if line.startswith("debian:")
    )
    crypt = "print crypt($ARGV[0], $ARGV[1])"
    assert agent.run("/usr/bin/perl", "-e", crypt, HOSTILE, shadow[1]) == shadow[1]
    assert shadow[2] != "0", "the password must be changed at the first log-in"


@pytest.fixture(scope="module")
def disk(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("debian") / "disk.qcow2"
    shutil.copyfile(debian / "disk.qcow2", path)
    yield path
    path.unlink()


def test_q20_v15_it_does_what_its_user_data_says(
    launch: Callable[..., Launcher], etcd_server: Etcd, disk: Path, host_toml: Path
) -> None:
    host_toml.write_text(f'image_paths = ["{disk.parent}"]\n', encoding="utf-8")
    etcd_server.put(
        VM,
        ram="768",
        cpus="2",
        hostname="seeded",
        disks__root__path=str(disk),
        disks__root__format="qcow2",
        nics__nic0__mode="user",
    )
    etcd_server.ctl("put", f"/kvm/{VM}/cloud-config", text=USER_DATA)
    etcd_server.ctl("put", f"/kvm/{VM}/default_user_password", text=HOSTILE)
    etcd_server.ctl("put", f"/kvm/{VM}/cmds", text=COMMANDS)
    etcd_server.ctl("put", f"/kvm/{VM}/env/HOSTILE", text=VARIABLE + "\n")
    etcd_server.ctl("put", f"/kvm/{VM}/ssh_authorized_keys", text=OTHER_KEY)
    etcd_server.ctl("put", f"/kvm/{VM}/timezone", text="Australia/Adelaide")
    launcher = launch({"VM": VM, "ETCD_ENDPOINTS": etcd_server.url})
    ready = launcher.ready(BOOT)
    assert (ready["hostname"], ready["address"], ready["boot"]) == ("seeded", "10.0.2.15", "1")
    with closing(Agent(Path("/run/holdfast") / VM / "agent")) as agent:
        agent.sync(60)
        assert agent.read("/etc/holdfast-test") == WRITTEN
        assert agent.read("/etc/holdfast-test-plain") == 'a, b = "c"\n'
        # Our commands come first, then the document's own.
        ran = 'a: b # c { d } it\'s "e"\nran on seeded\n'
        assert agent.read("/var/lib/holdfast-test") == ran
        assert PUBLIC_KEY in agent.read("/home/keeper/.ssh/authorized_keys")
        assert agent.run("/usr/bin/stat", "-c", "%a", "/etc/holdfast-test") == "640\n"
        assert "NOPASSWD" in agent.run("/usr/bin/sudo", "-l", "-U", "keeper")
        assert agent.run("/usr/bin/cloud-init", "status") == "status: done\n"
        the_keys_beside_it_count(agent)
    launcher.signal()
    assert launcher.ends(POWER_DOWN) == 0
    assert "the guest's agent shuts the guest down" in launcher.log
    assert "GUEST-DOWN" in launcher.console
    assert not etcd_server.get(f"/kvm/_own/{VM}/fence")
    last = json.loads(etcd_server.get(f"/kvm/_last/{VM}") or "{}")
    assert (last["why"], last["forced"]) == ("stopped", False)
