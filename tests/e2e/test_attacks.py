"""Who is root in a guest, or has broken out of QEMU, tries each way of docs/security.md. What stopped him is printed.

One VM that attacks, one that is attacked, on one host: they share its network, a bridge, and a pool.
"""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from container import RIGHTS, Container, Runner, taps
from deadline import PATIENCE
from etcd import Etcd
from launcher import alive
from ptrace import filters

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
POOL = "/var/lib/holdfast/pool"
HOST_TOML = """
image_paths = ["/var/lib/holdfast/images"]
default_pool = "default"
[pools.default]
kind = "directory"
path = "/var/lib/holdfast/pool"
"""
IFF_MULTI_QUEUE = 0x100
METADATA = "169.254.169.254"
THROUGH = ("done", "nothing")
REFUSED = {"EPERM", "EACCES"}
CLOSED = {*REFUSED, "SIGSYS", "ENOSYS"}
NOWHERE = {"EROFS", "ENOENT", *REFUSED}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`places` are what nobody but root shall reach: where something listens now."""

    attacker: Container
    name: str
    victim: Container
    other: str
    bridge: str
    address: str  # of the bridge
    places: Mapping[str, tuple[str, int]]
    open_port: int


@pytest.fixture(scope="module")
def scene(
    engine: None,
    lan: str,
    etcd_server: Etcd,
    guest: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "pool").mkdir()
    (folder / "host.toml").write_text(HOST_TOML, encoding="utf-8")
    (folder / "resolv.conf").write_text(
        f"nameserver {METADATA}\n", encoding="ascii"
    )  # as on many a cloud
    network = re.findall(r"inet (\S+)\.1/24", ran("ip", "-4", "address", "show", "dev", lan))[0]
    names = [f"attacks-{who}-{os.getpid()}" for who in ("attacker", "victim")]
    # Not on the bridge: its DNS server may take whatever address the bridge is given, and port 53 with it.
    ran("ip", "address", "replace", f"{METADATA}/32", "dev", "lo")
    etcd_server.put(
        names[0], ram="192", disks__root__source__image="/var/lib/holdfast/images/disk.raw",
        disks__root__source__format="raw", nics__lan__bridge=lan, nics__lan__address=f"{network}.20/24",
        nics__out__mode="user", guest_agent="on",
    )  # fmt: skip
    etcd_server.put(
        names[1],
        ram="64",
        cpus="2",
        disks__root__size="1M",
        nics__lan__bridge=lan,
        nics__lan__queues="2",
    )
    with ExitStack() as stack:
        stack.callback(ran, "ip", "address", "delete", f"{METADATA}/32", "dev", "lo")
        open_port, *ports = (
            listening(stack, where, port)
            for where, port in ((f"{network}.1", 0), ("127.0.0.1", 0), (f"{network}.1", 2379), (f"{network}.1", 3300), (METADATA, 80), (METADATA, 53))
        )  # fmt: skip
        run = Runner(stack)
        started = [
            run("--net=host", f"--volume={folder}/pool:{POOL}", f"--volume={folder}/host.toml:/etc/holdfast/host.toml:ro",
                f"--volume={guest}:/var/lib/holdfast/images:ro", f"--volume={folder}/resolv.conf:/etc/resolv.conf:ro", *RIGHTS, "--env=HOLDFAST_CONFIG=/etc/holdfast/host.toml",
                VM=name, HOSTNAME="host-a", ETCD_ENDPOINTS=etcd_server.url, STOP_TIMEOUT="1")
            for name in names
        ]  # fmt: skip
        started[1].says("the guest runs|QEMU is up")
        started[0].ready()
        yield Scene(
            attacker=started[0],
            name=names[0],
            victim=started[1],
            other=names[1],
            bridge=lan,
            address=f"{network}.1",
            places={
                "etcd": ("127.0.0.1", etcd_server.port),
                "the host's loopback": ("127.0.0.1", ports[0]),
                "etcd's port on the host": (f"{network}.1", 2379),
                "a monitor of Ceph's": (f"{network}.1", 3300),
                "the cloud's metadata": (METADATA, 80),
            },
            open_port=open_port,
        )


def ran(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def listening(stack: ExitStack, where: str, port: int) -> int:
    """Who connects is hung up on."""
    server = ThreadingTCPServer((where, port), BaseRequestHandler)
    stack.callback(server.server_close)
    Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    return int(server.server_address[1])


def table(found: Mapping[str, str]) -> str:
    """What is printed, and what a failure shows."""
    came = {
        name: "went through" if by in THROUGH else f"stopped by {by}" for name, by in found.items()
    }
    return "\n".join(f"  {name:<44} {how}" for name, how in came.items())


# -- broken out of QEMU


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_all_in_the_container_may_gain_nothing(scene: Scene) -> None:
    pids = scene.attacker.pids()
    assert len(pids) >= 2
    for pid, command in pids.items():
        assert status(pid)["NoNewPrivs"] == "1", command
    qemu = status(scene.attacker.qemu())
    assert {qemu[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")} == {
        "0" * 16
    }
    assert (qemu["Seccomp"], qemu["Groups"]) == ("2", "")
    assert qemu["Uid"].split() != status(scene.victim.qemu())["Uid"].split()


def of_several_queues(bridge: str) -> str:
    """The victim's: the attacker's own has one."""
    flags = {
        tap: Path(f"/sys/class/net/{tap}/tun_flags").read_text(encoding="ascii")
        for tap in taps(bridge)
    }
    (found,) = [tap for tap, text in flags.items() if int(text, 16) & IFF_MULTI_QUEUE]
    return found


def stopped(scene: Scene) -> dict[str, dict[str, str]]:
    qemu, victim = scene.attacker.qemu(), status(scene.victim.qemu())
    own = status(qemu)
    who = {
        "uid": int(own["Uid"].split()[0]),
        "gid": int(own["Gid"].split()[0]),
        "groups": [int(one) for one in own["Groups"].split()],
        "filters": filters(qemu),
        "vm": scene.name,
        "other": scene.other,
        "bridge": scene.bridge,
        "places": scene.places,
        "secrets": {
            "another VM's volume": f"{POOL}/{scene.other}-root.raw",
            "its own volume by its name": f"{POOL}/{scene.name}-root.raw",
            "the operator's passwords": "/etc/shadow",
        },
        "tap": of_several_queues(scene.bridge),
        "word": f"holdfast/uid/{victim['Uid'].split()[0]}",
    }
    command = [
        "docker",
        "exec",
        "--interactive",
        scene.attacker.id,
        "python3",
        "-I",
        "-",
        json.dumps(who),
    ]
    text = (HERE / "stand_in.py").read_text(encoding="utf-8")
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def allowed(name: str) -> set[str]:
    """What may stop a try: a word of the kernel's that means no, not one that means that it was asked wrongly."""
    if name.startswith("connect to"):
        return {"ECONNREFUSED"}
    if name.startswith(("change", "write", "leave", "reset")):
        return {*NOWHERE}
    return {
        "take another launcher's name": {"EADDRINUSE"},
        "read another VM's run directory": {"ENOENT"},
    }.get(name, CLOSED)


def test_a_broken_out_qemu(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    found = stopped(scene)
    with capsys.disabled():
        print(f"\nA broken-out QEMU:\n{table(found['tries'])}")  # noqa: T201 - the record that is asked for
    assert set(found["root"].values()) == {"nothing"}, found[
        "root"
    ]  # there was something to reach
    assert len(found["tries"]) > 50
    got = {name: by for name, by in found["tries"].items() if by not in allowed(name)}
    assert not got, table(got)
    assert alive(scene.attacker.qemu())
    assert alive(scene.victim.qemu())


# -- root in the guest


def typed(scene: Scene, lines: Mapping[str, str]) -> dict[str, str]:
    """What came of each line at the guest's console: `done`, or its exit status."""
    path = f"/proc/{scene.attacker.launcher()}/root/run/holdfast/{scene.name}/console"
    with socket.socket(socket.AF_UNIX) as console:
        console.settimeout(PATIENCE)
        console.connect(path)
        return {
            name: answer(console, number, line)
            for number, (name, line) in enumerate(lines.items())
        }


def answer(console: socket.socket, number: int, line: str) -> str:
    """One line at a time: the echo of the next one would come between."""
    done = f"({line}) >/dev/null 2>&1 && echo TRY-{number}-''done || echo TRY-{number}-$?\n"
    console.sendall(done.encode())
    said = ""
    while not (found := re.search(rf"^TRY-{number}-(done|\d+)\s*$", said, re.MULTILINE)):
        said += console.recv(4096).decode(errors="replace")
    return found[1]


def test_root_in_the_guest(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    def asks(where: str, port: int) -> str:
        return f"timeout 10 nc -w 3 {where} {port} </dev/null"

    gateway, etcd = scene.address, scene.places["etcd"][1]
    other, loopback = f"{gateway[:-1]}66", scene.places["the host's loopback"][1]
    answers, own = f"arping -I eth0 -c 2 -w 3 {gateway}", f"{gateway[:-1]}20"
    lines = {
        "control: a port of the host that is open": asks(gateway, scene.open_port),
        "control: the host answers ARP": answers,
        "control: a way to metadata": f"ip route add {METADATA} via {gateway}",
        "etcd through user mode": asks("10.0.2.2", etcd),
        "the host's loopback through user mode": asks("10.0.2.2", loopback),
        "control: the resolver is asked for names": asks("10.0.2.3", 53),
        "the cloud's metadata, as the resolver": asks("10.0.2.3", 80),
        "etcd's port over the bridge": asks(gateway, 2379),
        "a monitor of Ceph's over the bridge": asks(gateway, 3300),
        "the cloud's metadata over the bridge": asks(METADATA, 80),
        "another's MAC": f"mac=$(cat /sys/class/net/eth0/address); ip link set eth0 address 52:54:00:66:66:66; {answers}; "
        "came=$?; ip link set eth0 address $mac; exit $came",
        "control: as itself again": answers.replace("-c", f"-s {own} -c"),
        "another's address by ARP": f"ip address add {other}/24 dev eth0; "
        + answers.replace("-c", f"-s {other} -c"),
    }
    found = typed(scene, lines)
    with capsys.disabled():
        print(f"\nRoot in the guest:\n{table(found)}")  # noqa: T201
    good = {name for name in lines if name.startswith("control")}
    assert {name for name, came in found.items() if came == "done"} == good, table(found)
    assert alive(scene.attacker.qemu())
