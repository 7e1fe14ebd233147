"""A log driver of the engine's that hangs: syslog over TCP, to a server that takes the connection and never reads."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from container import IMAGES, Runner, docker
from deadline import eventually
from etcd import Etcd

pytestmark = pytest.mark.e2e

TTL = 5
FLOOD = "while :; do echo 0123456789012345678901234567890123456789; done & echo FLO''ODS"
TYPE = """
import glob, socket, sys
with socket.socket(socket.AF_UNIX) as console:
    console.connect(glob.glob("/run/holdfast/*/console")[0])
    console.settimeout(60)
    console.sendall(sys.argv[1].encode() + b"\\n")
    said = b""
    while sys.argv[2].encode() not in said:
        said = said[-4096:] + console.recv(65536)
"""


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def queued(taken: socket.socket) -> int:
    """Bytes that wait in the kernel for the server that never reads."""
    place = f"{taken.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, _, theirs, state, queues, *_ = line.split()
        if state == "01" and theirs.endswith(f":{place}"):
            return int(queues.split(":")[0], 16)
    return 0


def test_a_log_driver_that_hangs(
    run: Runner, etcd_server: Etcd, sink: socket.socket, tmp_path: Path, boot_disk: Path, vm: str
) -> None:
    etcd_server.put(vm, ram="192", disks__root__path=f"{IMAGES}/{boot_disk.name}")
    etcd_server.put(vm, nics__lan__mode="user", stop_timeout="60")
    container = run(
        "--detach", "--net=host", f"--volume={tmp_path}:{IMAGES}",
        "--log-driver=syslog", f"--log-opt=syslog-address=tcp://127.0.0.1:{sink.getsockname()[1]}",
        VM=vm, HOSTNAME="host-a", TTL=str(TTL), ETCD_ENDPOINTS=etcd_server.url,
    )  # fmt: skip

    def typed(line: str, answer: str) -> None:
        docker("exec", container.id, "python3", "-c", TYPE, line, answer, timeout=120)

    def status() -> dict[str, Any]:
        path = f"/run/holdfast/{vm}/status.json"
        found: dict[str, Any] = json.loads(docker("exec", container.id, "cat", path))
        return found

    taken, _ = sink.accept()
    with closing(taken):
        eventually(lambda: b"boot=1" in marker(boot_disk), "the guest's mark")
        typed(FLOOD, "FLOODS")
        eventually(lambda: queued(taken) > 0, "a driver that cannot go on")
        renewed = status()["lease"]["renewed"]
        typed("echo THR''OUGH", "THROUGH")
        time.sleep(2 * TTL)  # no event: a lease that nobody renews would be gone by then
        now = status()
        assert now["lease"]["renewed"] != renewed
        assert now.get("trouble", "") == ""
        assert etcd_server.get(f"/kvm/{vm}/lock")
        typed("echo AG''AIN", "AGAIN")
        container.kill("TERM")
        eventually(lambda: etcd_server.get(f"/kvm/_last/{vm}"), "an end")
        last = json.loads(etcd_server.get(f"/kvm/_last/{vm}") or "{}")
        assert (last["why"], last["exit"], last["forced"]) == ("stopped", 0, False)
        assert not etcd_server.get(f"/kvm/{vm}/lock")


def marker(disk: Path) -> bytes:
    """Where the guest notes its boots."""
    with disk.open("rb") as file:
        file.seek(40 * 512)
        return file.read(512)
