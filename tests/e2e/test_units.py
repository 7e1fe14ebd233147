"""The command lines of kvm@.service, the two old ones and ours, word for word but for the image."""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import Ceph, Container, Runner, docker, lan_on, listening, taps
from etcd import Etcd

pytestmark = pytest.mark.e2e

DEFAULT_PORT = 2379
SPICE_PORT = 5909
MAC = "52:54:00:00:77:0a"
ULEXUS = """
    --rm --privileged --net=host --pid=host --ipc=host --name kvm-9
    -e BRIDGE_IF=public -e INSTANCE -e HOSTNAME -v /etc/ceph:/etc/ceph holdfast
"""
INTERSOFTLAB = """
    -i --rm --name=kvm-9 --privileged --net=host --pid=host --ipc=host -v /etc/ceph:/etc/ceph:ro
    -e ETCD_ENDPOINTS=http://127.0.0.1:2379 -e LOCK=/kvm/9/lock -e BRIDGE_IF=qemu0 holdfast
    -name 9 -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+x2apic -vga qxl
    -spice port=5909,addr=127.0.0.1,disable-ticketing -k en-us -m 192
    -drive format=rbd,file=rbd:rbd/vm9,cache=writeback,if=virtio
    -drive file=/iso/virtio-win.iso,media=cdrom
    -netdev bridge,br=qemu0,id=net0 -device virtio-net,netdev=net0,mac=52:54:00:00:77:0a
    -balloon virtio -machine accel=kvm -watchdog i6300esb -watchdog-action debug
"""

RAM = 192 * 1024**2
# `docker run --rm ... memory` is what it is; the container itself is the test's to make.
SHOW_THE_LAST = """
docker() {
    case "$2" in --detach) shift 2; printf '%s\\n' "$@" ;; *) command docker "$@" ;; esac
}
"""
UNIT = Path(__file__).parents[2] / "systemd" / "kvm@.service"


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    """Where the old units looked for it, unless somebody else's is there."""
    if listening(DEFAULT_PORT):
        pytest.skip(f"port {DEFAULT_PORT} of this machine is taken")
    with tempfile.TemporaryDirectory() as directory:
        server = Etcd(Path(directory) / "data")
        server.port, server.url = DEFAULT_PORT, f"http://127.0.0.1:{DEFAULT_PORT}"
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def disk(ceph: Ceph) -> Iterator[str]:
    yield ceph.boot_disk("vm9")
    ceph.rbd("rm", "--no-progress", "rbd/vm9")


def words(command: str, ceph: Ceph, privileged: list[str]) -> list[str]:
    """As a shell would split them. /etc/ceph is the test's own, and privileged what is possible."""
    text = command.replace("-v /etc/ceph:", f"-v {ceph.conf}:")
    return shlex.split(text.replace("--privileged", shlex.join(privileged)))


def test_the_unit_of_ulexus(
    run: Runner, etcd: Etcd, ceph: Ceph, disk: str, privileged: list[str]
) -> None:
    etcd.put("9", host="host-a", ram="192", mac=MAC, rbd=disk, spice_port=str(SPICE_PORT))
    etcd.put("9", extra_flags="-device virtio-balloon-pci")
    with lan_on("public", "10.77.202"):
        environ = {"INSTANCE": "9", "HOSTNAME": "host-a"}
        container = run.literally(words(ULEXUS, ceph, privileged), environ)
        expect_the_vm(container, etcd, "public")
        assert container.stop() == 0


def test_the_unit_of_intersoftlab(
    run: Runner, etcd: Etcd, ceph: Ceph, disk: str, privileged: list[str]
) -> None:
    with lan_on("qemu0", "10.77.203"):
        container = run.literally(words(INTERSOFTLAB, ceph, privileged))
        if not runs_with_kvm(container):
            command = INTERSOFTLAB.replace("accel=kvm", "accel=tcg")
            container = run.literally(words(command, ceph, privileged))
        expect_the_vm(container, etcd, "qemu0")
        for old in ("-balloon virtio", "-watchdog i6300esb", "/iso/virtio-win.iso"):
            assert old in container.log, f"no warning for {old}:\n{container.log}"
        assert container.stop() == 0


def test_our_own_unit(run: Runner, etcd: Etcd, ceph: Ceph, disk: str, tmp_path: Path) -> None:
    """With what systemd puts in, and folders of the test's own instead of the machine's."""
    etcd.put("9", ram="192", mac=MAC, rbd=disk, spice_port=str(SPICE_PORT), stop_timeout="30")
    unit = UNIT.read_text(encoding="utf-8").replace("\\\n", " ")
    environ = dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", unit))
    found = re.search(r"(?m)^ExecStartPre=/bin/sh -c '(.*)'$", unit)
    assert found
    command = found[1].replace("%i", "9").replace("%H", "host-a").replace("$$", "$")
    mounts = {"/etc/ceph": ceph.conf, "/etc/machine-id": tmp_path / "machine-id"}
    mounts |= {path: tmp_path / path[1:] for path in ("/etc/holdfast", "/var/lib/holdfast")}
    mounts["/etc/machine-id"].write_text("0" * 31 + "9\n", encoding="ascii")
    for path, ours in mounts.items():
        command = command.replace(f"-v {path}:", f"-v {ours}:")
    with lan_on("qemu0", "10.77.203"):
        made = subprocess.run(
            ["sh", "-ec", SHOW_THE_LAST + command],
            env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        container = run.literally(made.stdout.splitlines(), environ)
        expect_the_vm(container, etcd, "qemu0")
        assert limit_of(container) > RAM
        assert container.stop() == 0


def limit_of(container: Container) -> int:
    return int(docker("inspect", "--format={{.HostConfig.Memory}}", container.id))


def runs_with_kvm(container: Container) -> bool:
    """The old options insist on KVM: without it they are refused, and say why."""
    try:
        container.says("QEMU is up")
    except AssertionError:
        assert container.ends() == 77, container.story()
        assert "KVM" in container.log
        return False
    return True


def expect_the_vm(container: Container, etcd: Etcd, bridge: str) -> None:
    ready = container.ready()
    assert ready["boot"] == "1"
    assert ready["address"].startswith("10.77.20")
    assert f"mac={MAC}" in container.console
    assert docker("inspect", "--format={{.State.Running}}", "kvm-9").strip() == "true"
    assert etcd.get("/kvm/9/lock")
    assert listening(SPICE_PORT)
    assert len(taps(bridge)) == 1
