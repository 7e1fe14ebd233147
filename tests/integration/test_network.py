"""What a guest's cards lead to, with real guests."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from etcd import Etcd, free_port
from launcher import Launcher
from processes import netns

pytestmark = pytest.mark.integration

Launch = Callable[..., Launcher]
Start = Callable[..., Launcher]


@pytest.fixture
def start(launch: Launch, guest: Path, tmp_path: Path) -> Start:
    """A small guest of that name and with these cards (YAML)."""

    def with_cards(vm: str, cards: str, **environ: str) -> Launcher:
        file = tmp_path / f"{vm}.yaml"
        file.write_text(
            f"ram: 192\nkernel: {guest}/vmlinuz\ninitrd: {guest}/initrd.img\n"
            "cmdline: console=ttyS0 quiet no_timer_check\nstop_timeout: 30\n"
            f"hostname: {vm}-guest\ndisks: {{data: {{pool: default, size: 16M}}}}\nnics:\n"
            + re.sub("^", "  ", cards, flags=re.MULTILINE),
            encoding="utf-8",
        )
        return launch({"VM_FILE": str(file), "VM": vm, **environ})

    return with_cards


def page(where: str) -> str:
    """What the guest's web server says."""
    with urlopen(f"http://{where}/", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_q10_a_port_in_user_mode_is_reached_and_belongs_to_one_vm(start: Start) -> None:
    port = free_port()
    first = start(
        "net-first",
        f"nat: {{mode: user, ports: '127.0.0.1:{port}:80'}}\nidle: {{mode: user, link: off}}",
    )
    first.ready()
    assert "hostname=net-first-guest" in page(f"127.0.0.1:{port}")
    assert re.search("nic=eth. .* address=none", first.console)
    second = start("net-second", f"nat: {{mode: user, ports: '{port}:80'}}")
    assert second.ends() == 75
    assert (
        f"{port}:80/tcp: the VM net-first on this host publishes 127.0.0.1:{port}:80/tcp"
        in second.log
    )
    third = start("net-third", "nat: {mode: user, ports: '203.0.113.7:8080:80'}")
    assert third.ends() == 77
    assert "this host has no such address" in third.log
    first.signal()
    assert first.ends() == 0


@pytest.fixture
def network() -> Iterator[None]:
    """A host of the test's own: the bridge br-pub with DHCP, and behind a router's leg a neighbour."""
    with netns.namespaces(), ExitStack() as stack:
        netns.run("mount", "-t", "sysfs", "sysfs", "/sys")
        netns.run("ip", "link", "set", "lo", "up")
        netns.add_bridge("br-pub")
        netns.run("ip", "netns", "add", "outside")
        stack.callback(netns.run, "ip", "netns", "delete", "outside")
        ip(
            """
            address add 10.78.0.1/24 dev br-pub
            link add leg type veth peer name eth0 netns outside
            address add 192.0.2.1/24 dev leg
            link set leg up
            """
        )
        ip("address add 192.0.2.2/24 dev eth0\nlink set eth0 up", "-netns", "outside")
        dhcp = subprocess.Popen(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=br-pub",
             "--bind-interfaces", "--no-ping", "--dhcp-authoritative", "--dhcp-leasefile=/dev/null",
             "--dhcp-range=10.78.0.50,10.78.0.99,1h"],
        )  # fmt: skip
        stack.callback(dhcp.wait)
        stack.callback(dhcp.terminate)
        yield


def ip(lines: str, *options: str) -> None:
    subprocess.run(["ip", *options, "-batch", "-"], input=lines, text=True, check=True)


def from_outside(where: str) -> str:
    return netns.run(
        "ip", "netns", "exec", "outside", "curl", "-sS", "-m", "10", f"http://{where}/"
    )


def tables() -> str:
    return netns.run("nft", "list", "tables")


@pytest.mark.usefixtures("network")
def test_v17_ports_on_a_bridge(start: Start, launch: Launch, own_etcd: Etcd, guest: Path) -> None:
    """Reached from elsewhere and from the host itself; gone with the launcher, however that ends."""
    still = start(
        "pub-still",
        "lan:\n  bridge: br-pub\n  address: ['10.78.0.5/24', 'fd00:78::5/64']\n  gateway: 10.78.0.1\n"
        "  ports: ['8080:80', '192.0.2.1:81:80']",
    )
    own_etcd.put(
        "pub-found",
        ram="192",
        kernel=f"{guest}/vmlinuz",
        initrd=f"{guest}/initrd.img",
        cmdline="console=ttyS0 quiet no_timer_check",
        hostname="pub-found-guest",
        disks__data__pool="default",
        disks__data__size="16M",
        stop_timeout="30",
        nics__lan__bridge="br-pub",
        nics__lan__ports="8090:80/tcp",
        nics__second__bridge="br-pub",
    )
    found = launch({"VM": "pub-found", "ETCD_ENDPOINTS": own_etcd.url})
    still.ready()
    for where in ("192.0.2.1:8080", "192.0.2.1:81"):
        assert "hostname=pub-still-guest" in from_outside(where)
    for where in ("192.0.2.1:8080", "10.78.0.1:8080"):
        assert "hostname=pub-still-guest" in page(where)
    with pytest.raises(OSError, match="refused"):
        page("127.0.0.1:8080")
    found.ready()
    found.says(r"the guest's addresses on lan: 10\.78\.0\.")
    found.says(r"port 8090:80/tcp of this host leads to 10\.78\.0\.")
    found.says(r"the guest's addresses on second: 10\.78\.0\.")
    told: dict[str, list[str]] = {}
    until = time.monotonic() + 60
    while len(told) < 2 and time.monotonic() < until:  # the keep-alive writes in its own time
        status = json.loads(own_etcd.get("/kvm/_run/pub-found") or "{}")
        told = status.get("addresses", {})
    assert re.fullmatch(r"10\.78\.0\.\d+", told["lan"][0])
    assert "hostname=pub-found-guest" in from_outside("192.0.2.1:8090")
    late = start("pub-late", "lan: {bridge: br-pub, ports: '192.0.2.1:8090:80'}")
    assert late.ends() == 75
    assert "the VM pub-found on this host publishes 8090:80/tcp" in late.log
    assert "holdfast-pub-still" in tables()
    still.signal(signal.SIGKILL)
    still.ends()
    assert "holdfast-pub-still" not in tables()
    found.signal()
    assert found.ends() == 0
    assert "holdfast" not in tables()


@pytest.mark.usefixtures("network")
def test_of_two_vms_with_one_mac_the_second_waits(launch: Launch, own_etcd: Etcd) -> None:
    """As after copying a VM's keys. It names the first, and raises no epoch while it waits."""
    card = {"nics__nic0__bridge": "br-pub", "nics__nic0__mac": "52:54:00:aa:bb:cc"}
    for vm in ("cp1", "cp2"):
        own_etcd.put(vm, ram="64", disks__root__pool="default", disks__root__size="1M", **card)
    first = launch({"VM": "cp1", "ETCD_ENDPOINTS": own_etcd.url})
    first.says("QEMU is up")
    second = launch({"VM": "cp2", "ETCD_ENDPOINTS": own_etcd.url})
    second.says(
        "waiting: nics/nic0/mac: 52:54:00:aa:bb:cc is VM cp1's.*holdfast claim release mac/"
    )
    assert not own_etcd.get("/kvm/_own/cp2/epoch")
    assert not own_etcd.get("/kvm/cp2/lock")
    for _ in range(2):  # its disk is empty: nobody hears the power button
        first.signal()
        first.says("powering the guest down")
    assert first.ends() == 0
    second.says("QEMU is up")
    assert own_etcd.get("/kvm/_own/cp2/epoch") == "1"
    assert '"vm":"cp2"' in (own_etcd.get("/kvm/_claims/mac/52:54:00:aa:bb:cc") or "")


@pytest.mark.usefixtures("network")
def test_macvtap_and_queues(start: Start) -> None:
    """A guest on a device of the host without a bridge, and one with several queues on a bridge."""
    ip(
        "link add eth7 type veth peer name wire\nlink set eth7 up\nlink set wire up\naddress add 10.80.0.1/24 dev wire"
    )
    launcher = start(
        "macvtap",
        "direct: {mode: macvtap, device: eth7, address: 10.80.0.5/24}\n"
        "wide: {bridge: br-pub, queues: 2, address: 10.78.0.7/24}",
    )
    launcher.ready()
    for where in ("10.80.0.5", "10.78.0.7"):
        assert "hostname=macvtap-guest" in page(where)
    left = {name for _, name in socket.if_nameindex() if name.startswith("hf-")}
    assert len(left) == 1
    launcher.says("the guest's addresses on wide: 10.78.0.7")
    launcher.signal(signal.SIGKILL)
    launcher.ends()
    assert left <= {name for _, name in socket.if_nameindex()}
    later = start("later", "nat: {mode: user}")
    later.says(f"removing the link {left.pop()}, which a launcher has left")
    later.says("QEMU is up")
    assert not [name for _, name in socket.if_nameindex() if name.startswith("hf-")]
