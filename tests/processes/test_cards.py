"""Taps, links and tables in a network namespace of the test's own."""

import fcntl
import json
import os
import queue
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from processes import netns

from holdfast.errors import ConfigError, HostLacks, LockHeld
from holdfast.grammar import address
from holdfast.machine import MacvtapMode, Nic, NicMode
from holdfast.network import addresses, agent, bridge_helper, cards, links, macvtap, ports, tap
from holdfast.network.nftables import Nftables
from holdfast.network.publication import Publication
from holdfast.network.ruleset import Way, ruleset
from holdfast.runtime.registry import announce, announced
from holdfast.system import rtnetlink

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason=netns.NEEDS_ROOT),
]

TUNGETIFF = 0x800454D2
MULTI_QUEUE = 0x0100
FOLDER = Path(bridge_helper.ACL).parent
MAC = "52:54:00:00:00:07"


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    present = FOLDER.exists()
    FOLDER.mkdir(exist_ok=True)  # a place to mount on; the machine's own list is not touched
    try:
        with netns.namespaces():
            netns.run("mount", "-t", "sysfs", "sysfs", "/sys")
            netns.mount_tmpfs(FOLDER)
            netns.add_bridge("br0")
            netns.run("ip", "address", "add", "10.79.0.1/24", "dev", "br0")
            netns.run("ip", "address", "add", "fd00:79::1/64", "dev", "br0", "nodad")
            yield
    finally:
        if not present:
            FOLDER.rmdir()


def nic(mode: NicMode = NicMode.bridge, **given: object) -> Nic:
    bridge = "br0" if mode is NicMode.bridge else ""
    return Nic(**{"name": "lan", "mode": mode, "mac": MAC, "bridge": bridge, **given})  # type: ignore[arg-type]


def links_of(*options: str) -> list[str]:
    shown = json.loads(netns.run("ip", "-j", "link", "show", *options) or "[]")
    return [link["ifname"] for link in shown]


def test_a_tap_with_queues_is_on_the_bridge_and_up() -> None:
    netns.run("ip", "link", "set", "br0", "mtu", "9000")
    with ExitStack() as life:
        made = cards.connect("7", [nic(queues=3)], {"lan": "br0"}, vhost=False, life=life)
    (card,) = made.values()
    assert (len(card.queues), card.mtu) == (3, 9000)
    answers = [fcntl.ioctl(fd, TUNGETIFF, bytes(40)) for fd in card.queues]
    assert len({answer[:16] for answer in answers}) == 1
    assert all(struct.unpack_from("16sH", answer)[1] & MULTI_QUEUE for answer in answers)
    assert links_of("master", "br0", "up") == [answers[0][:16].rstrip(b"\0").decode()]
    shown = netns.run("ip", "link", "show", "master", "br0")
    assert "mtu 9000" in shown
    assert "link/ether fe:" in shown  # the bridge keeps its own address
    cards.close(made)
    assert links_of("master", "br0") == []


JOIN = """
import fcntl, os, struct, sys
node = os.open("/dev/net/tun", os.O_RDWR)
os.setgid(0x70000001); os.setuid(0x70000001)
fcntl.ioctl(node, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x0002 | 0x1000 | 0x4000 | 0x0100))
"""


def test_nobody_joins_a_tap_with_queues() -> None:
    """A broken-out QEMU, or another VM's by its options: it would be sent a share of the frames."""
    with ExitStack() as life:
        made = cards.connect("7", [nic(queues=2)], {"lan": "br0"}, vhost=False, life=life)
        life.callback(cards.close, made)
        name = fcntl.ioctl(made["lan"].queues[0], TUNGETIFF, bytes(40))[:16].rstrip(b"\0").decode()
        done = subprocess.run(
            [sys.executable, "-c", JOIN, name], capture_output=True, text=True, check=False
        )
        assert "Operation not permitted" in done.stderr


def test_the_helpers_list_holds_for_such_taps_too() -> None:
    Path(bridge_helper.ACL).write_text("allow br1\n")
    with pytest.raises(HostLacks, match="access denied"):
        tap.own_tap(nic(queues=2))
    assert links_of("master", "br0") == []


def test_a_vlan_needs_a_bridge_that_filters() -> None:
    with pytest.raises(ConfigError) as caught:
        cards.check([nic(vlan=7)], {"lan": "br0"}, lambda _: None)
    assert "nics/lan/vlan: '7': the bridge br0 does not filter VLANs" in caught.value.lines()
    assert "vlan_filtering 1" in caught.value.hint


def test_a_vlan_keeps_to_itself() -> None:
    """What a guest sends reaches those of its VLAN only, and without a tag. It holds from the first frame."""
    done = subprocess.run(
        ["ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1"],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("this kernel cannot filter VLANs on a bridge")
    netns.run("ip", "link", "set", "br0", "up")
    numbers = {"one": 10, "same": 10, "other": 20}
    with ExitStack() as life:
        given = [nic(name=name, vlan=vlan) for name, vlan in numbers.items()]
        made = cards.connect("7", given, dict.fromkeys(numbers, "br0"), vhost=False, life=life)
    life.callback(cards.close, made)
    with life:
        ends = {name: card.queues[0] for name, card in made.items()}
        frame = b"\xff" * 6 + bytes.fromhex("525400000001") + b"\x88\xb5" + b"holdfast" * 8
        deadline = time.monotonic() + 10
        heard: set[str] = set()
        while "same" not in heard and time.monotonic() < deadline:  # ports may have to come up
            os.write(ends["one"], bytes(10) + frame)
            readable, _, _ = select.select([ends["same"], ends["other"]], [], [], 0.2)
            heard |= {
                name
                for name, end in ends.items()
                if end in readable and frame in os.read(end, 2048)
            }
        assert heard == {"same"}


def test_an_mtu_above_the_bridges_is_refused() -> None:
    with pytest.raises(ConfigError, match="br0 takes 1500 at most"):
        cards.check([nic(mtu=1501)], {"lan": "br0"}, lambda _: None)


@pytest.fixture
def device() -> str:
    netns.run("ip", "link", "add", "eth7", "type", "veth", "peer", "name", "wire")
    netns.run("ip", "link", "set", "eth7", "up")
    netns.run("ip", "link", "set", "wire", "up")
    return "eth7"


@pytest.mark.parametrize("mode", MacvtapMode)
def test_a_macvtap_link_in_each_mode(device: str, mode: MacvtapMode) -> None:
    card = nic(NicMode.macvtap, device=device, macvtap_mode=mode, queues=2)
    name = macvtap.link_name("7", "lan")
    with ExitStack() as life:
        made = cards.connect("7", [card], {}, vhost=False, life=life)
        shown = netns.run("ip", "-d", "link", "show", name)
        assert f"mode {links.KERNEL_MODES.get(mode, mode)} " in shown
        assert "alias Holdfast: lan of 7" in shown
        assert MAC in shown
        os.write(made["lan"].queues[0], bytes(10) + b"\xff" * 6 + bytes(60))
        cards.close(made)
        with pytest.raises(LockHeld):
            announce(f"link/{name}")
    assert name not in links_of()
    assert not list(Path("/dev").glob(".holdfast*"))


def test_what_a_killed_launcher_leaves_is_swept(device: str) -> None:
    """By any later start; a link whose owner is alive stays."""
    program = """
import os, signal
from contextlib import ExitStack
from holdfast.machine import Nic, NicMode
from holdfast.network import macvtap
life = ExitStack()
macvtap.connect("dead", Nic(name="lan", mode=NicMode.macvtap, mac="52:54:00:00:00:08", device="eth7"), life)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    left = macvtap.link_name("dead", "lan")
    assert left in links_of(), done.stderr
    card = nic(NicMode.macvtap, device=device)
    with ExitStack() as life:
        cards.close(cards.connect("7", [card], {}, vhost=False, life=life))
        assert left not in links_of()
        macvtap.sweep()
        assert macvtap.link_name("7", "lan") in links_of()


def test_why_there_is_no_link_is_told(device: str) -> None:
    netns.run("ip", "link", "set", device, "master", "br0")
    with ExitStack() as life, pytest.raises(HostLacks, match="Device or resource busy") as caught:
        macvtap.connect("7", nic(NicMode.macvtap, device=device), life)
    assert "A port of a bridge" in caught.value.hint
    with pytest.raises(HostLacks, match="there is no interface eth8"):
        cards.check([nic(NicMode.macvtap, device="eth8")], {}, lambda _: None)


def test_an_announcement_goes_with_its_socket() -> None:
    with announce("port/7/80:80/tcp"):
        assert announced("port/") == ["7/80:80/tcp"]
        with pytest.raises(LockHeld):
            announce("port/7/80:80/tcp")
    assert announced("port/") == []


SQUAT = """
import os, socket, sys
os.setgid(0x70000001); os.setuid(0x70000001)
taken = []
for name in sys.argv[1:]:
    taken.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    taken[-1].bind("\\0holdfast/" + name)
print("bound", flush=True)
sys.stdin.read()
"""


def test_only_roots_announcements_count() -> None:
    """Squatted names keep no VM from its ports, no link from being made or swept."""
    names = ("port/x/8080:80/tcp", "port/x/5930/tcp", "port/7/8080:80/tcp", "link/hf-1")
    with subprocess.Popen(
        [sys.executable, "-c", SQUAT, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as squatter:
        assert squatter.stdin
        assert squatter.stdout
        assert squatter.stdout.readline() == "bound\n"
        assert announced("port/") == []
        with ExitStack() as stack:
            ports.claim("7", ports.of_cards([nic(ports=(address.port("8080:80"),))]), stack)
            assert announced("port/") == ["7/8080:80/tcp"]
            stack.enter_context(announce("link/hf-1"))
            with pytest.raises(LockHeld):
                announce("link/hf-1")
            squatter.stdin.close()
            squatter.wait()
            with pytest.raises(LockHeld):
                announce("link/hf-1")  # though the plain name is free again
        with announce("link/hf-1"):
            assert announced("link/") == ["hf-1"]


def test_a_malformed_announcement_is_nobodys() -> None:
    with ExitStack() as stack:
        stack.enter_context(announce("port/x/5930/tcp"))
        ports.claim("7", ports.of_cards([nic(ports=(address.port("5930:80"),))]), stack)


def test_the_longest_names_can_be_announced() -> None:
    long = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535:65535/udp"
    with ExitStack() as stack:
        ports.claim("v" * 63, ports.of_cards([nic(ports=(address.port(long),))]), stack)
        assert announced("port/") == [f"{'v' * 32}/{long}"]
    with pytest.raises(HostLacks, match="cannot be announced"):
        announce("x" * 107)


def test_v18_the_agents_own_word_is_heard(tmp_path: Path) -> None:
    """Behind what an earlier client has left unread; one that says nothing is not waited for long."""
    answer = [
        {"name": "eth0", "hardware-address": MAC, "ip-addresses": [{"ip-address": "10.79.0.5"}]}
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen(2)

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                asked = client.recv(4096)
                number = json.loads(asked[1:].partition(b"}}")[0] + b"}}")["arguments"]["id"]
                client.sendall(
                    b'{"return": {}}\n\xff' + json.dumps({"return": number}).encode() + b"\n"
                )
                client.sendall(json.dumps({"return": answer}).encode() + b"\n")

        server = threading.Thread(target=serve)
        server.start()
        assert agent.interfaces(tmp_path / "agent") == {MAC: (ip_address("10.79.0.5"),)}
        server.join()
        assert agent.interfaces(tmp_path / "agent") == {}
    assert agent.interfaces(tmp_path / "nobody") == {}


def test_a_port_that_a_service_has_is_refused_and_kept_from_later_ones() -> None:
    netns.run("ip", "link", "set", "lo", "up")
    card = nic(ports=(address.port("8080:80"), address.port("[fd00:79::1]:53:53/udp")))
    with ExitStack() as stack:
        ports.claim("7", ports.of_cards([card]), stack)
        busy = nic(name="other", ports=(address.port("10.79.0.1:8080:81"),))
        with (
            ExitStack() as other,
            pytest.raises(LockHeld, match="the VM 7 on this host publishes"),
        ):
            ports.claim("8", ports.of_cards([busy]), other)
    with ExitStack() as stack:
        listening = subprocess.Popen(["socat", "TCP-LISTEN:8080,fork", "STDOUT"])
        stack.callback(listening.wait)
        stack.callback(listening.kill)
        while ":8080" not in netns.run("ss", "-ltn"):
            assert listening.poll() is None
        with pytest.raises(LockHeld, match="listens there already"):
            ports.claim("7", ports.of_cards([card]), stack)


def ways(*texts: str, localnet: bool = False) -> list[Way]:
    guests = (ip_address("10.79.0.5"), ip_address("fd00:79::5"))
    made = [address.port(text) for text in texts]
    return [
        Way(port=one, bridge="br0", guest=to, localnet=localnet) for one in made for to in guests
    ]


@pytest.mark.parametrize("localnet", [False, True])
def test_the_kernel_takes_every_kind_of_rule(localnet: bool) -> None:
    """Twice is as once; nobody else can change the table; it goes with its owner."""
    text = ruleset(
        "a-7",
        ways(
            "8080:80", "53:53/udp", "10.79.0.1:81:81", "[fd00:79::1]:82:82/udp", localnet=localnet
        ),
    )
    nftables = Nftables()
    nftables.run(text)
    shown = nftables.run("list ruleset")
    nftables.run(text)
    assert nftables.run("list ruleset") == shown
    assert len(re.findall("dnat ip6? to", shown)) == 12
    assert shown.count("masquerade") == 1 + localnet
    with pytest.raises(subprocess.CalledProcessError):
        netns.run("nft", "delete", "table", "inet", "holdfast-a-7")
    nftables.run(ruleset("a-7", []))
    assert nftables.run("list tables") == ""
    nftables.run(text)
    nftables.close()
    assert netns.run("nft", "list", "tables") == ""


def test_a_port_is_led_to_nobody_but_the_guests_own_bridge() -> None:
    card = nic(ports=(address.port("8080:80"),))
    publication = Publication("7", [card])
    for away in ("192.0.2.1", "127.0.0.1", "10.79.0.1", "2001:db8::1"):
        publication.lead({"lan": [ip_address(away)]})
        assert "dnat" not in netns.run("nft", "list", "ruleset")
    publication.lead(
        {"lan": [ip_address("192.0.2.1"), ip_address("10.79.0.5"), ip_address("fd00:79::5")]}
    )
    shown = netns.run("nft", "list", "ruleset")
    assert "dnat ip to 10.79.0.5:80" in shown
    assert "dnat ip6 to [fd00:79::5]:80" in shown
    publication.lead({"lan": [ip_address("10.79.0.6")]})
    assert "10.79.0.5" not in netns.run("nft", "list", "ruleset")
    publication.close()


def test_v18_each_card_has_its_own_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the agent, else of the neighbour table; one that nobody knows of keeps the VM from nothing."""
    ours = [
        nic(name=name, mac=f"52:54:00:00:00:0{number}")
        for number, name in enumerate(("agent", "table", "silent"))
    ]
    still = nic(name="still", mac="52:54:00:00:00:09", ports=(address.port("8080:80"),),
                address=(ip_interface("10.79.0.7/24"),))  # fmt: skip
    for number in ("0", "1"):
        netns.run(
            "ip",
            "neigh",
            "add",
            f"10.79.0.2{number}",
            "lladdr",
            f"52:54:00:00:00:0{number}",
            "dev",
            "br0",
        )
    heard = {
        ours[0].mac: (ip_address("10.79.0.10"), ip_address("fe80::1")),
        "52:54:00:00:00:ff": (ip_address("10.79.0.66"),),  # a card that is none of the VM's
    }
    monkeypatch.setattr(agent, "interfaces", lambda path: heard)
    monkeypatch.setattr(addresses, "SOON", 0.05)
    told: queue.Queue[object] = queue.Queue()
    with addresses.Whereabouts("7", [*ours, still], tmp_path / "agent", told.put):
        assert "dnat ip to 10.79.0.7:80" in netns.run("nft", "list", "ruleset")
        assert told.get(timeout=10) == {"agent": ["10.79.0.10"], "table": ["10.79.0.21"]}
        heard.clear()  # the agent falls silent: what the kernel has seen counts
        assert told.get(timeout=10) == {"agent": ["10.79.0.20"], "table": ["10.79.0.21"]}
        assert "10.79.0.66" not in netns.run("nft", "list", "ruleset")
    assert "holdfast" not in netns.run("nft", "list", "tables")


def test_v18_the_neighbour_table() -> None:
    netns.run("ip", "neigh", "add", "10.79.0.9", "lladdr", MAC, "dev", "br0", "nud", "stale")
    netns.run("ip", "neigh", "add", "fd00:79::9", "lladdr", MAC, "dev", "br0", "nud", "reachable")
    netns.run("ip", "neigh", "add", "10.79.0.10", "lladdr", "52:54:00:00:00:ff", "dev", "br0")
    netns.run("ip", "neigh", "add", "10.79.0.11", "dev", "br0", "nud", "failed")
    assert {str(one) for one in rtnetlink.neighbours(MAC, "br0")} == {"10.79.0.9", "fd00:79::9"}
    assert rtnetlink.neighbours("52:54:00:00:00:fe", "br0") == ()
    netns.run("ip", "route", "add", "198.51.100.0/24", "via", "10.79.0.9", "dev", "br0")
    neighbours, others = (
        ("10.79.0.9", "fd00:79::9"),
        ("198.51.100.1", "203.0.113.1", "10.79.0.255", "10.79.0.1"),
    )
    assert [rtnetlink.on_link(ip_address(one), "br0") for one in neighbours] == [True, True]
    assert [rtnetlink.on_link(ip_address(one), "br0") for one in others] == [False] * 4
    assert [one for one in (*neighbours, *others) if rtnetlink.is_own(ip_address(one))] == [
        "10.79.0.1"
    ]


def test_a_port_is_led_to_nobody_who_is_heard_with_another_mac() -> None:
    """Another VM's address in this VM's own keys would lead past the firewall that guards it."""
    card = nic(ports=(address.port("8080:80"),))
    netns.run("ip", "neigh", "add", "10.79.0.5", "lladdr", "52:54:00:00:00:ff", "dev", "br0")
    publication = Publication("7", [card])
    publication.lead({"lan": [ip_address("10.79.0.5")]})
    assert "dnat" not in netns.run("nft", "list", "ruleset")
    netns.run("ip", "neigh", "replace", "10.79.0.5", "lladdr", MAC, "dev", "br0")
    publication.lead({"lan": [ip_address("10.79.0.5")]})
    assert "dnat ip to 10.79.0.5:80" in netns.run("nft", "list", "ruleset")
    publication.close()


def test_a_port_on_somebody_elses_address_is_refused() -> None:
    """etcd's, a resolver's, a monitor's: what this host sends there would become the guest's."""
    for foreign in ("172.20.0.2:2379:2379", "8.8.8.8:53:53/udp", "[fd00:79::2]:53:53/udp"):
        card = nic(ports=(address.port(foreign),))
        with pytest.raises(HostLacks, match="this host has no address"):
            cards.check([card], {"lan": "br0"}, lambda _: None)
    own = [nic(ports=(address.port("10.79.0.1:80:80"), address.port("[fd00:79::1]:80:80")))]
    cards.check(own, {"lan": "br0"}, lambda _: None)
    moves = [nic(ports=(address.port("192.0.2.7:80:80"),))]
    cards.check(moves, {"lan": "br0"}, lambda _: None, [ip_address("192.0.2.7")])
