"""What a guest finds in its machine, asked on its own console."""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from deadline import eventually
from etcd import Etcd
from launcher import Launcher

from holdfast.qemu.slots import FIXED

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]

KEYS = """
ram: 256M
ram_max: 512M
cpus: 2
cpus_max: 4
cpu_topology: cores:2,threads:2
cpu_set: "{cpu}"
watchdog: reset
rtc: localtime
timezone: Pacific/Kiritimati
disks:
  data: {{pool: default, size: 16M, serial: DATA-1, primary: on}}
  more: {{pool: default, size: 32M, serial: MORE-1}}
nics:
  lan: {{mode: user, mac: "52:54:00:00:00:01"}}
  dmz: {{mode: user, mac: "52:54:00:00:00:02"}}
kernel: {guest}/vmlinuz
initrd: {guest}/initrd.img
cmdline: console=ttyS0 quiet no_timer_check
stop_timeout: 30
"""
VIRTIO, INTEL = "0x1af4", "0x8086"


class Shell:
    """The guest's shell, by the console's socket. Who does not read there stops what the guest prints."""

    def __init__(self, vm: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(f"/run/holdfast/{vm}/console")

    def run(self, command: str) -> list[str]:
        """The lines that the command prints."""
        self._socket.sendall(f"echo SA''ID; ({command}); echo DO''NE\n".encode())
        said = b""
        while b"\nDONE" not in said:
            said += self._socket.recv(65536)
        text = said.decode().replace("\r", "")
        return text.partition("\nSAID\n")[2].partition("\nDONE")[0].splitlines()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def launcher(launch: Launch, guest: Path, tmp_path: Path) -> Iterator[Launcher]:
    file = tmp_path / "vm.yaml"
    file.write_text(KEYS.format(guest=guest, cpu=max(os.sched_getaffinity(0))), encoding="utf-8")
    launcher = launch({"VM_FILE": str(file), "VM": "machine"})
    launcher.ready()
    yield launcher
    launcher.signal()
    assert launcher.ends() == 0


def test_the_guest_has_what_its_keys_say(launcher: Launcher) -> None:
    with closing(Shell("machine")) as shell:
        assert devices(shell) == {
            ("balloon", VIRTIO, "0x1002"),
            ("memory", VIRTIO, "0x1058"),
            ("watchdog", INTEL, "0x25ab"),
            ("rng", VIRTIO, "0x1005"),
            ("serial-ports", VIRTIO, "0x1003"),
        }
        assert shell.run("ls -d /sys/bus/acpi/devices/QEMU0001:*")  # pvpanic
        # Two cards and one port to spare, two disks and one, and the seed.
        assert ports(shell) == {0x10: 3, 0x14: 3, 0x1E: 1}
        # What of a topology without KVM a guest takes for threads, and what it takes for room to grow,
        # differs from kernel to kernel.
        assert packages(shell) == ["0", "0"]
        assert shell.run("ls /sys/bus/pci/devices/0000:00:14.0/*/virtio*/block") == ["vda"]
        assert shell.run("for f in /sys/block/vd[ab]/serial; do echo $(cat $f); done") == [
            "DATA-1",
            "MORE-1",
        ]
        assert shell.run("cat /sys/block/vd[ab]/size") == ["32768", "65536"]
        # In the order of their names: the guest numbers them so.
        macs = ["52:54:00:00:00:02", "52:54:00:00:00:01"]
        assert shell.run("cat /sys/class/net/e*/address") == macs
        ahead = int(shell.run("echo $(($(date +%s) - $(cat /sys/class/rtc/rtc0/since_epoch)))")[0])
        assert abs(ahead) < 60
    threads = affinities(launcher.qemu())
    assert len(threads) > 2
    assert set(threads) == {str(max(os.sched_getaffinity(0)))}
    assert os.sched_getaffinity(launcher.process.pid) == os.sched_getaffinity(0)


def devices(shell: Shell) -> set[tuple[str, ...]]:
    """What sits on the fixed slots: the name, vendor and device."""
    lines = shell.run("cd /sys/bus/pci/devices; grep . 0000:00:0*.0/vendor 0000:00:0*.0/device")
    found: dict[int, list[str]] = {}
    for line in lines:
        address, _, value = line.partition(":0x")  # busybox names the file before the value
        found.setdefault(int(address[8:10], 16), []).append(f"0x{value}")
    names = {number: name for name, number in FIXED.items()}
    return {(names[slot], *values) for slot, values in found.items() if slot in names}


def ports(shell: Shell) -> dict[int, int]:
    """How many root ports each slot has. Linux has a driver on each."""
    lines = shell.run("ls /sys/bus/pci/drivers/pcieport")
    slots = [
        int(found[1], 16)
        for line in " ".join(lines).split()
        if (found := re.match(r"0000:00:(..)\.", line))
    ]
    return {slot: slots.count(slot) for slot in slots}


def packages(shell: Shell) -> list[str]:
    """The package of each CPU that is there."""
    return shell.run("cat /sys/devices/system/cpu/cpu*/topology/physical_package_id")


def affinities(pid: int) -> list[str]:
    statuses = Path(f"/proc/{pid}/task").glob("*/status")
    texts = [status.read_text(encoding="ascii") for status in statuses]
    return [text.partition("Cpus_allowed_list:")[2].split()[0] for text in texts]


def test_vnc_asks_for_its_password(launch: Launch, tmp_path: Path) -> None:
    """RFC 6143: the server names its protocol, and VNC authentication (2) as the only one it takes."""
    port = next(number for number in range(5950, 6100) if is_free(number))
    file = tmp_path / "vm.yaml"
    file.write_text(f"ram: 64M\nvideo: std\nvnc_port: {port}\nstop_timeout: 0\n", encoding="utf-8")
    launcher = launch({"VM_FILE": str(file), "VM": "vnc"})
    path = launcher.says(rf"VNC on 127.0.0.1:{port}; its password is in (\S+)").group(1)
    launcher.says("QEMU is up")
    assert len(Path(path).read_text(encoding="ascii")) == 8
    assert Path(path).read_text(encoding="ascii") not in launcher.log
    with socket.create_connection(("127.0.0.1", port), timeout=30) as viewer:
        assert viewer.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n"
        viewer.sendall(b"RFB 003.008\n")
        assert viewer.recv(2, socket.MSG_WAITALL) == b"\x01\x02"
    launcher.signal()
    assert launcher.ends() == 0


@pytest.mark.parametrize("server", ["spice", "vnc"])
def test_56_a_port_of_the_screen_that_somebody_has(
    launch: Launch, tmp_path: Path, server: str
) -> None:
    """Another program, or another VM: said before QEMU starts."""

    def vm(name: str, port: int) -> Launcher:
        file = tmp_path / f"{name}.yaml"
        file.write_text(f"ram: 64M\n{server}_port: {port}\nstop_timeout: 0\n", encoding="utf-8")
        return launch({"VM_FILE": str(file), "VM": f"{server}-{name}"})

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        late = vm("late", port)
        assert late.ends() == 75
        said = f"{server}_port: {port}: something on this host listens there already"
        assert said in late.log
        assert "qemu-system" not in late.log
    first = vm("first", port)
    first.says("QEMU is up")
    second = vm("second", port)
    assert second.ends() == 75
    assert f"{server}_port: {port}: the VM {server}-first on this host publishes" in second.log
    first.signal()
    assert first.ends() == 0


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_newer_qemu_does_not_change_the_board(launch: Launch, etcd_server: Etcd) -> None:
    vm = "pinned"
    etcd_server.put(vm, cpus="1", ram="64", cpu_model="Westmere-v1", stop_timeout="0")
    environ = {"VM": vm, "ETCD_ENDPOINTS": etcd_server.url}
    first = launch(environ)
    first.qemu()
    eventually(lambda: etcd_server.get(f"/kvm/_own/{vm}/pinned"))
    record = json.loads(etcd_server.get(f"/kvm/_own/{vm}/pinned") or "")
    assert re.fullmatch(r"pc-q35-\d+\.\d+", record["machine"])
    assert record["cpu"] == "Westmere-v1"
    first.signal()
    assert first.ends() == 0

    etcd_server.put(vm, pinned=json.dumps({"machine": "pc-q35-8.2", "cpu": "Westmere-v1"}))
    second = launch(environ)
    words = Path(f"/proc/{second.qemu()}/cmdline").read_text(encoding="utf-8").split("\0")
    assert words[words.index("-machine") + 1].startswith("pc-q35-8.2")
    second.signal()
    assert second.ends() == 0

    etcd_server.put(vm, pinned=json.dumps({"machine": "pc-q35-1.1", "cpu": "Westmere-v1"}))
    third = launch(environ)
    assert third.ends() == 78
    assert "machine: 'pc-q35-1.1': is no machine of this QEMU" in third.log
    assert "delete the key `pinned`" in third.log
