"""The rules around QEMU and its taps, in a network namespace of the test's own, with real frames and sockets."""

import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from processes import netns

from holdfast.dataclass import replace
from holdfast.grammar import address
from holdfast.instance import firewall
from holdfast.instance.plan import Plan
from holdfast.launcher.start import Attention, make_volumes
from holdfast.machine import Disk, Nic, NicMode, RbdImage, Source, Volume
from holdfast.machine.ceph import Monitor
from holdfast.network import bridge_helper, cards, spoofing
from holdfast.network.boundary import Boundary, label, of_guest, of_qemu
from holdfast.network.nftables import Nftables
from holdfast.network.publication import Publication
from holdfast.network.ruleset import ruleset
from holdfast.policy.network_limits import NetworkLimits, Place
from holdfast.runtime.confinement import Identity
from holdfast.runtime.worker import idle
from holdfast.storage.ceph.keyring import Keyring
from holdfast.storage.image import client
from holdfast.storage.pathname import ANYWHERE
from holdfast.system import rtnetlink

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason=netns.NEEDS_ROOT),
]

FOLDER = Path(bridge_helper.ACL).parent
MAC, OTHER = "52:54:00:00:00:07", "52:54:00:00:00:08"
UID = 0x7000_0007
VNET = bytes(10)  # the header before each frame of a tap
ALL = b"\xff" * 6
NOBODY = "0.0.0.0"  # noqa: S104 - who has no address yet


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    present = FOLDER.exists()
    FOLDER.mkdir(exist_ok=True)
    try:
        with netns.namespaces():
            netns.run("mount", "-t", "sysfs", "sysfs", "/sys")
            netns.mount_tmpfs(FOLDER)
            netns.add_bridge("br0")
            netns.run("ip", "link", "set", "lo", "up")
            netns.run("ip", "address", "add", "10.79.0.1/24", "dev", "br0")
            netns.run("ip", "address", "add", "fe80::79/64", "dev", "br0", "nodad")
            yield
    finally:
        if not present:
            FOLDER.rmdir()


def card(name: str = "lan", mac: str = MAC, **given: object) -> Nic:
    return Nic(**{"name": name, "mode": NicMode.bridge, "mac": mac, "bridge": "br0", **given})  # type: ignore[arg-type]


@pytest.fixture
def wires() -> Iterator[Mapping[str, int]]:
    """Two guests' ends: `lan` under the rules of VM 7, `free` under none."""
    given = [
        card(address=(ip_interface("10.79.0.7/24"), ip_interface("fd00:79::7/64"))),
        card("free", OTHER),
    ]
    with ExitStack() as life:
        made = cards.connect("7", given, {"lan": "br0", "free": "br0"}, vhost=False, life=life)
        life.callback(cards.close, made)
        nftables = Nftables()
        life.callback(nftables.close)
        plugged = spoofing.Plugged(nic=given[0], tap=firewall.device_name(made["lan"].queues[0]))
        boundary = Boundary(
            etcd=(ip_address("172.20.0.2"),), etcd_ports=(4001,),
            monitors=(ip_address("172.20.0.9"), ip_address("fd00:20::9")), monitor_ports=(13300,),
        )  # fmt: skip
        rules = of_guest(boundary, rtnetlink.own_addresses())
        nftables.run(spoofing.guarded("7", [plugged], rules, guard=True))
        yield {name: one.queues[0] for name, one in made.items()}


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(protocol: int, payload: bytes, *, mac: str = MAC, to: bytes = ALL) -> bytes:
    return to + octets(mac) + struct.pack("!H", protocol) + payload


def arp(sender: str, mac: str = MAC) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + octets(mac) + ip_address(sender).packed
    return body + ALL + ip_address("10.79.0.1").packed


def ipv4(to: str, protocol: int, payload: bytes, sender: str = "10.79.0.7") -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    head += ip_address(sender).packed + ip_address(to).packed
    total = sum(struct.unpack("!10H", head))
    checksum = 0xFFFF - (total % 0xFFFF)  # br_netfilter, where it is loaded, wants a good one
    return head[:10] + struct.pack("!H", checksum) + head[12:] + payload


def ipv6(to: str, payload: bytes) -> bytes:
    """TCP."""
    head = struct.pack("!IHBB", 0x6000_0000, len(payload), 6, 64)
    return head + ip_address("fd00:79::7").packed + ip_address(to).packed + payload


def udp(source: int, port: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", source, port, 8 + len(payload), 0) + payload


def tcp(port: int) -> bytes:
    return struct.pack("!HHIIBBHHH", 50000, port, 1, 0, 0x50, 0x02, 1024, 0, 0)


def dhcp(kind: int, chaddr: str, yours: str = NOBODY) -> bytes:
    return (
        struct.pack("!BBBBIHH", 2, 1, 6, 0, 7, 0, 0)
        + bytes(4)
        + ip_address(yours).packed
        + bytes(8)
        + octets(chaddr).ljust(16, b"\0")
        + bytes(192)
        + b"\x63\x82\x53\x63"
        + bytes((53, 1, kind, 255))
    )


def icmp6(kind: int, target: str) -> bytes:
    body = struct.pack("!BBHI", kind, 0, 0, 0) + ip_address(target).packed
    head = struct.pack("!IHBB", 0x6000_0000, len(body), 58, 255)
    return head + ip_address("fe80::7").packed + ip_address("ff02::1").packed + body


def passes(wires: Mapping[str, int], sent: bytes) -> bool:
    """Whether the other guest hears it; a frame that is let through for certain comes behind it."""
    marker = frame(0x88B5, os.urandom(8) + bytes(46))
    deadline, heard = time.monotonic() + 10, b""
    while marker not in heard and time.monotonic() < deadline:
        os.write(wires["lan"], VNET + sent)
        os.write(wires["lan"], VNET + marker)
        while select.select([wires["free"]], [], [], 0.2)[0]:
            heard += os.read(wires["free"], 4096)
    assert marker in heard
    return sent in heard


IP, ARP, IP6 = 0x0800, 0x0806, 0x86DD
TAGGED = struct.pack("!HH", 7, ARP)


@pytest.mark.parametrize(
    ("sent", "let_through"),
    [
        (frame(ARP, arp("10.79.0.7")), True),
        (frame(ARP, arp(NOBODY)), True),
        (frame(ARP, arp("10.79.0.8")), False),
        (frame(ARP, arp("10.79.0.7", mac=OTHER)), False),
        (frame(ARP, arp("10.79.0.7"), mac=OTHER), False),
        (frame(0x8100, TAGGED + arp("10.79.0.8")), False),
        (frame(0x88A8, struct.pack("!HH", 7, 0x8100) + TAGGED + arp("10.79.0.8")), False),
        (frame(IP6, icmp6(136, "fd00:79::7")), True),
        (frame(IP6, icmp6(136, "fe80::7")), True),
        (frame(IP6, icmp6(136, "fd00:79::1")), False),
        (frame(IP6, icmp6(134, "fd00:79::7")), False),
        (frame(IP6, icmp6(137, "fd00:79::7")), False),
        (frame(IP, ipv4("255.255.255.255", 17, udp(68, 67, dhcp(1, MAC)))), True),
        (frame(IP, ipv4("255.255.255.255", 17, udp(68, 67, dhcp(1, OTHER)))), False),
        (frame(IP, ipv4("255.255.255.255", 17, udp(67, 68, dhcp(5, OTHER, "10.79.0.66")))), False),
    ],
)
def test_a_guest_speaks_as_itself(
    wires: Mapping[str, int], sent: bytes, let_through: bool
) -> None:
    assert passes(wires, sent) is let_through


REACHED = (
    (frame(IP, ipv4("10.79.0.8", 6, tcp(2379))), True),  # another guest's own etcd
    (frame(IP, ipv4("172.20.0.2", 6, tcp(80))), True),
    (frame(IP, ipv4("172.20.0.2", 6, tcp(2379))), False),
    (frame(IP, ipv4("172.20.0.2", 6, tcp(4001))), False),
    (frame(IP, ipv4("10.79.0.1", 6, tcp(80))), True),
    (frame(IP, ipv4("10.79.0.1", 6, tcp(2380))), False),
    (frame(0x8100, struct.pack("!HH", 7, IP) + ipv4("10.79.0.1", 6, tcp(2380))), False),
    (frame(IP6, ipv6("fe80::79", tcp(80))), True),
    (frame(IP6, ipv6("fe80::79", tcp(2379))), False),
    (frame(IP, ipv4("127.0.0.1", 6, tcp(80))), False),  # route_localnet would lead it there
    (frame(IP, ipv4("127.9.9.9", 17, udp(9, 53))), False),
    (frame(IP6, ipv6("::1", tcp(80))), False),
    (frame(IP, ipv4("10.79.0.8", 6, tcp(3300))), True),  # another guest's own Ceph
    (frame(IP, ipv4("10.79.0.1", 6, tcp(3300))), False),
    (frame(IP, ipv4("10.79.0.1", 6, tcp(13300))), False),
    (frame(IP, ipv4("172.20.0.9", 6, tcp(80))), True),
    (frame(IP, ipv4("172.20.0.9", 6, tcp(6789))), False),
    (frame(IP, ipv4("172.20.0.9", 6, tcp(13300))), False),
    (frame(IP6, ipv6("fd00:20::9", tcp(13300))), False),
    (frame(IP, ipv4("169.254.169.254", 6, tcp(80))), False),
    (frame(IP, ipv4("169.254.169.254", 17, udp(9, 53))), False),
    (frame(IP6, ipv6("fd00:ec2::254", tcp(80))), False),
)


def test_what_a_guest_on_a_bridge_may_reach(wires: Mapping[str, int]) -> None:
    wrong = [
        number for number, (sent, way) in enumerate(REACHED) if passes(wires, sent) is not way
    ]
    assert not wrong


def test_a_lease_is_what_the_server_says_to_this_card(wires: Mapping[str, int]) -> None:
    """And not for longer than until it is somebody else's."""
    nic = card(ports=(address.port("8080:80"),))
    publication = Publication("7", [nic])
    publication.lead({})

    def said(kind: int, chaddr: str, yours: str) -> None:
        answer = ipv4("255.255.255.255", 17, udp(67, 68, dhcp(kind, chaddr, yours)), "10.79.0.1")
        os.write(wires["free"], VNET + frame(IP, answer, mac=OTHER))

    def leases(wanted: str) -> bool:
        deadline = time.monotonic() + 10
        while (found := "".join(map(str, publication.leased(nic)))) != wanted:
            if time.monotonic() > deadline:
                return False
        return found == wanted

    said(2, MAC, "10.79.0.60")  # an offer
    said(5, OTHER, "10.79.0.61")
    said(5, MAC, "10.79.0.62")
    assert leases("10.79.0.62")
    said(5, OTHER, "10.79.0.62")
    assert leases("")
    publication.close()


TRY = """
import os, socket, sys
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[2]]
with socket.socket(socket.AF_INET6 if ":" in sys.argv[3] else socket.AF_INET, kind) as one:
    one.settimeout(10)
    one.connect((sys.argv[3], int(sys.argv[4])))
    one.send(b"?")
    print(one.recv(16))
"""


def reaches(where: str, port: int, *, uid: int = UID, kind: str = "tcp") -> bool:
    return "!" in tried(where, port, uid=uid, kind=kind).stdout


def tried(
    where: str, port: int, *, uid: int = UID, kind: str = "tcp"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TRY, str(uid), kind, where, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def plan(**given: object) -> Plan:
    """What a firewall asks of one: of a VM without a name, a card or an etcd, if nothing else is given."""
    fields = {"machine": SimpleNamespace(vm="", nics=()), "bridges": {}, "disks": (), "endpoints": (), "ceph": None,
              "network": NetworkLimits(), "adapted": None, "monitors": (), "ceph_conf": "/nowhere"}  # fmt: skip
    return cast("Plan", SimpleNamespace(**{**fields, **given}))


@pytest.fixture
def services() -> Iterator[None]:
    """Something that answers on each of these ports, at every address."""
    with ExitStack() as stack:
        for port in (53, 80, 2379, 3300, 8000):
            for kind in ("TCP", "UDP"):
                listens = f"{kind}6-LISTEN:{port},fork,reuseaddr,ipv6only=0"
                one = subprocess.Popen(["socat", listens, "SYSTEM:head -c1 >/dev/null; printf !"])
                stack.callback(one.wait)
                stack.callback(one.terminate)
        for address in ("169.254.169.254/32", "fd00:ec2::254/128"):
            netns.run("ip", "address", "add", address, "dev", "lo")
        netns.run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
        deadline = time.monotonic() + 60
        while not all(reaches("127.0.0.1", port, uid=0) for port in (53, 80, 2379, 3300, 8000)):
            assert time.monotonic() < deadline
        yield


@pytest.mark.usefixtures("services")
def test_what_qemus_uid_may_reach() -> None:
    assert reaches("127.0.0.1", 2379)  # before there are rules
    nftables = Nftables()
    places = (Place(network=ip_network("127.0.0.1/32"), port=8000),)
    closed = (Place(network=ip_network("192.0.2.7/32"), port=8000),)
    boundary = Boundary(
        reachable=places, unreachable=closed, resolvers=(ip_address("127.0.0.1"),), answers=True
    )
    nftables.run(of_qemu("7", UID, [UID + 1], boundary))
    for where, port in (("127.0.0.1", 80), ("::1", 80), (NOBODY, 80), ("127.9.9.9", 80), ("::ffff:127.0.0.1", 80),
                        ("192.0.2.7", 2379), ("10.79.0.1", 2379), ("192.0.2.7", 3300), ("192.0.2.7", 8000),
                        ("169.254.169.254", 80)):  # fmt: skip
        assert not reaches(where, port), (where, port)
        assert reaches(where, port, uid=0), (where, port)
    assert not reaches("127.0.0.1", 80, kind="udp")
    assert reaches("127.0.0.1", 53, kind="udp")
    for elsewhere in (2379, 6789):  # nobody is there: without a rule nothing would be refused
        assert "ConnectionRefused" in tried("10.79.0.55", elsewhere).stderr
    assert reaches("192.0.2.7", 80)
    assert reaches("127.0.0.1", 8000)
    assert not reaches("192.0.2.7", 80, uid=UID + 1)
    nftables.run(of_qemu("7", UID, [], Boundary(ceph=True, loopback=True)))
    assert reaches("127.0.0.1", 3300)
    assert not reaches("127.0.0.1", 2379)
    kept = nftables.kept()
    nftables.close()
    assert not reaches("127.0.0.1", 2379)
    for one in kept:
        os.close(one)
    assert reaches("127.0.0.1", 2379)


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("metadata", ["169.254.169.254", "fd00:ec2::254"])
def test_metadata_that_is_the_resolver_is_asked_for_names_only(metadata: str) -> None:
    """As on a cloud's machines."""
    nftables = Nftables()
    nftables.run(of_qemu("7", UID, [], Boundary(resolvers=(ip_address(metadata),))))
    for kind in ("tcp", "udp"):
        assert reaches(metadata, 53, kind=kind)
        assert not reaches(metadata, 80, kind=kind)
        assert reaches(metadata, 80, uid=0, kind=kind)
    nftables.close()


@pytest.mark.usefixtures("services")
def test_two_vms_without_a_name_have_rules_of_their_own() -> None:
    """And of two names none is the other's, however they end."""
    with ExitStack() as life:
        firewall.Firewall(plan()).around(UID, [], {}, life)
        firewall.Firewall(plan()).around(UID + 1, [], {}, life)
        for uid in (UID, UID + 1):
            assert not reaches("127.0.0.1", 80, uid=uid)
            assert reaches("192.0.2.7", 80, uid=uid)
        assert reaches("127.0.0.1", 80, uid=UID + 2)
    assert reaches("127.0.0.1", 80)
    names = [ruleset(name, ()).split()[2] for name in ("7", "7-qemu", "uid-7")]
    names += [of_qemu(label(vm, 7), 7, [], Boundary()).split()[2] for vm in ("7", "uid-7", "")]
    assert len(set(names)) == len(names)


@pytest.mark.usefixtures("services")
def test_what_the_process_that_fetches_may_reach() -> None:
    """It has QEMU's uid, and is there first. Of Ceph it has no need."""
    disk = Disk(name="root", backend=RbdImage(pool="rbd", image="7"), source=Source(image="http://192.0.2.7/"))  # fmt: skip
    own = replace(disk, source=Source(image="http://127.0.0.1/", trusted=True))
    closed = NetworkLimits(unreachable=(Place(network=ip_network("192.0.2.7/32"), port=8000),))
    for given, opened in ((disk, False), (own, True)):
        rules = firewall.Firewall(plan(disks=(given,), network=closed))
        with ExitStack() as life:
            rules.around_fetch(UID)
            rules.around_fetch(UID)  # for the next disk
            assert reaches("192.0.2.7", 80)
            for where, port in (("127.0.0.1", 80), ("::1", 80), ("192.0.2.7", 8000)):
                assert reaches(where, port) is opened, (where, port)
            for where, port in (("169.254.169.254", 80), ("192.0.2.7", 2379), ("192.0.2.7", 3300)):
                assert not reaches(where, port), (where, port)
            rules.around(UID, [], {}, life)
            assert reaches("192.0.2.7", 3300)  # as QEMU must
            assert not reaches("127.0.0.1", 80)
        assert reaches("127.0.0.1", 80)
        rules.around_fetch(UID)
        rules.close()  # of a start that comes to no QEMU
        assert reaches("127.0.0.1", 2379)


@pytest.mark.usefixtures("services")
def test_an_image_is_fetched_behind_these_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried_while_fetching: list[bool] = []

    class Fetching(Exception):
        pass

    class Work:
        def __init__(self, *_: object) -> None:
            tried_while_fetching.extend([reaches("127.0.0.1", 80), reaches("192.0.2.7", 80)])
            raise Fetching

    monkeypatch.setattr(client, "Work", Work)
    volume = Volume(pool="default", directory=str(tmp_path), name="7-root.raw")
    disk = Disk(name="root", backend=volume, source=Source(image="http://192.0.2.1/"))
    described = plan(disks=(disk,), image_cache=str(tmp_path / "cache"), cluster=None, bounds=ANYWHERE, identities={})  # fmt: skip
    with closing(firewall.Firewall(described)) as rules, pytest.raises(Fetching):
        make_volumes(described, Identity(uid=UID, gid=UID), rules, cast("Attention", idle))
    assert tried_while_fetching == [False, True]


def test_a_card_of_qemus_own_words_has_the_boundary(wires: Mapping[str, int]) -> None:
    """`-netdev bridge`: who sends there is the operator's business, what may be reached is not."""
    own = SimpleNamespace(vm="", nics=())
    with ExitStack() as life:
        given = [card("net0", OTHER)]
        made = cards.connect("", given, {"net0": "br0"}, vhost=False, life=life)
        life.callback(cards.close, made)
        described = plan(machine=own, bridges={"net0": "br0"}, adapted=object())
        firewall.Firewall(described).around(UID, [], made, life)
        ends = {"lan": made["net0"].queues[0], "free": wires["free"]}
        assert passes(ends, frame(ARP, arp("10.79.0.8")))
        assert passes(ends, frame(IP, ipv4("10.79.0.1", 6, tcp(80))))
        for to, port in (("10.79.0.1", 2379), ("127.0.0.1", 80), ("169.254.169.254", 80)):
            assert not passes(ends, frame(IP, ipv4(to, 6, tcp(port)))), to


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_that_qemu_publishes_answers_on_loopback(kind: str) -> None:
    """What was tried before closed it: all packets of the uid on lo."""
    nftables = Nftables()
    nftables.run(of_qemu("7", UID, [], Boundary(answers=True)))
    listens = f"{kind.upper()}-LISTEN:8088,fork,reuseaddr"
    with subprocess.Popen(
        [
            "setpriv",
            f"--reuid={UID}",
            "--clear-groups",
            "socat",
            listens,
            "SYSTEM:head -c1 >/dev/null; printf !",
        ]
    ) as one:
        deadline = time.monotonic() + 60
        while not reaches("127.0.0.1", 8088, uid=0, kind=kind):
            assert time.monotonic() < deadline
        one.terminate()
    nftables.close()


def test_who_is_asked_for_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# nameserver 1.1.1.1\nnameserver 127.0.0.11\nnameserver fe80::1%eth0\nnameserver\nnameserver x\n"
    )
    monkeypatch.setattr(firewall, "RESOLV_CONF", file)
    assert [str(one) for one in firewall.resolvers()] == ["127.0.0.11", "fe80::1"]
    monkeypatch.setattr(firewall, "RESOLV_CONF", tmp_path / "none")
    assert list(firewall.resolvers()) == []


def test_where_monitors_are(tmp_path: Path) -> None:
    conf = tmp_path / "ceph.conf"
    conf.write_text(
        "[global]\nfsid = 10.9.9.9\nmon host = [v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.2, [fd00::3]:7000; ceph4\n"
        "[mon.a]\nmon_addr=10.0.0.5:99999999\n"
    )
    found = list(firewall.in_conf(conf))
    assert sorted(set(map(str, firewall.literal(found)))) == [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.5",
        "fd00::3",
    ]
    assert {one.port for one in found} == {3300, 6789, 7000, 65535}
    assert not list(firewall.in_conf(tmp_path))
    assert not list(firewall.literal([Monitor(host="ceph4", port=1)]))


@pytest.mark.parametrize(
    ("monitor", "conf", "loopback"),
    [
        ("127.0.0.1", "", True),
        ("localhost", "", True),
        ("::1", "", True),
        ("fd00::12", "", False),
        ("10.127.0.0", "", False),
        ("ceph", "mon host = [v2:127.0.0.1:3300/0]", True),
        ("ceph", "mon host = localhost:6789", True),
        ("ceph", "# localhost, 127.0.0.1\nmon host = fd00::1", False),
    ],
)
def test_a_cluster_on_loopback(tmp_path: Path, monitor: str, conf: str, loopback: bool) -> None:
    """For any other, loopback stays closed."""
    file = tmp_path / "ceph.conf"
    file.write_text(conf)
    found = Keyring(conf=str(file), user="u", monitors=(Monitor(host=monitor, port=3300),))
    assert firewall.is_on_loopback(found) is loopback
