"""The keys of network cards."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from describing import Keys, described, faults, machine

from holdfast.errors import ConfigError
from holdfast.grammar import Refused, address
from holdfast.machine import Nic, NicMode, Port, Protocol


def test_a_vm_without_a_word_on_cards_has_one() -> None:
    (nic,) = machine({"ram": "1G"}).nics
    assert nic == Nic(name="nic0", mode=NicMode.user, mac=nic.mac)
    (bridged,) = machine({"ram": "1G"}, environ={"BRIDGE_IF": "br0"}).nics
    assert bridged == Nic(name="nic0", mode=NicMode.bridge, mac=nic.mac, bridge="br0")


def test_a_derived_mac_is_stable_local_and_unicast() -> None:
    own = {"nics/a/model": "virtio", "nics/b/model": "virtio"}
    macs = [nic.mac for vm in "78" for nic in machine(own, environ={"VM": vm}).nics]
    assert len(set(macs)) == 4
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)
    assert macs[:2] == [nic.mac for nic in machine(own).nics]
    assert machine({"ram": "1G"}).nics[0].mac == "52:4d:4b:76:c5:c3"


def test_the_mac_of_the_origin_is_nic0s() -> None:
    nics = machine({"mac": "52:54:00:00:00:01", "nics/storage/mode": "none"}).nics
    assert [(nic.name, nic.mode) for nic in nics] == [
        ("nic0", NicMode.user),
        ("storage", NicMode.none),
    ]


def test_a_card_without_a_bridge_has_none_though_one_is_known() -> None:
    (nic,) = machine({"nics/nic0/mode": "user"}, environ={"BRIDGE_IF": "br0"}).nics
    assert nic.bridge == ""


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"nics/a/mode": "bridge"}, "nics/a/bridge: is not set, and neither is BRIDGE_IF"),
        ({"nics/a/mode": "macvtap"}, "nics/a/device: is not set, and mode macvtap needs it"),
        ({"nics/a/device": "eth0"}, "nics/a/device: needs mode macvtap, and this card's is user"),
        ({"nics/a/device": "eth0", "nics/a/bridge": "br0"}, "nics/a/device: needs mode macvtap, and this card's is bridge"),
        ({"nics/a/mode": "nat"}, "nics/a/mode: 'nat': must be one of bridge, user, macvtap, none"),
        ({"nics/a/device": "lo", "nics/a/mode": "macvtap"}, "nics/a/device: 'lo': must be the name of a bridge or device: at most 15 letters, digits, dot, - and _"),
        ({"nics/a/macvtap_mode": "source"}, "nics/a/macvtap_mode: 'source': must be one of bridge, private, vepa, passthrough"),
        ({"nics/a/vlan": "4095"}, "nics/a/vlan: '4095': must be a whole number from 1 to 4094"),
        ({"nics/a/vlan": "-1"}, "nics/a/vlan: '-1': must be a whole number from 1 to 4094"),
        ({"nics/a/vlan": "7"}, "nics/a/vlan: needs mode bridge, and this card's is user"),
        ({"nics/a/queues": "0"}, "nics/a/queues: '0': must be a whole number from 1 to 64"),
        ({"nics/a/queues": "2"}, "nics/a/queues: needs mode bridge or macvtap, and this card's is user"),
        (
            {"nics/a/mac": "52:54:00:00:00:01", "mac": "52:54:00:00:00:01"},
            "nics/a/mac: '52:54:00:00:00:01': is the address of nics/nic0 as well",
        ),
        ({"nics/a/address": "10.0.0.1"}, "nics/a/address: '10.0.0.1': lacks the prefix length, such as /24"),
        ({"nics/a/address": "10.0.0.1/33"}, "nics/a/address: '10.0.0.1/33': must be an address with its prefix length, such as 10.77.0.5/24"),
        ({"nics/a/address": "224.0.0.1/4"}, "nics/a/address: '224.0.0.1/4': is no address for a network card"),
        ({"nics/a/dns": "1.1.1.1 x"}, "nics/a/dns: 'x': must be an IPv4 or IPv6 address"),
        ({"nics/a/search": ""}, "nics/a/search: '': is empty: delete the key instead"),
        ({"nics/a/dns": "fe80::1%x"}, "nics/a/dns: 'fe80::1%x': must not name an interface behind a %"),
        ({"nics/a/address": "fe80::1%x;/64"}, "nics/a/address: 'fe80::1%x;/64': must not name an interface behind a %"),
        ({"nics/a/mtu": "20"}, "nics/a/mtu: '20': must be a whole number from 68 to 65535"),
        ({"nics/a/mtu": "70000"}, "nics/a/mtu: '70000': must be a whole number from 68 to 65535"),
        ({"nics/a/mtu": "9000"}, "nics/a/mtu: '9000': must be at most 1500 in mode user"),
        ({"nics/a/mtu": "1400", "nics/a/model": "e1000"}, "nics/a/mtu: needs model virtio, and this card's is e1000"),
        ({"nics/a/link": "down"}, "nics/a/link: 'down': must be on or off (also yes, no, true, false, 1, 0)"),
        ({"nics/a/ports": "80:80", "nics/a/mode": "none"}, "nics/a/ports: needs mode user or bridge, and this card's is none"),
        ({"nics/a/ports": "[::1]:80:80"}, "nics/a/ports: '[::1]:80:80/tcp': mode user publishes on IPv4 addresses only"),
        (
            {"nics/a/ports": "80:80", "nics/b/ports": "127.0.0.1:80:81"},
            "nics/b/ports: '127.0.0.1:80:81/tcp': collides with 80:80/tcp of nics/a",
        ),
        ({"nics/a/ports": "80:80\n80:81"}, "nics/a/ports: '80:81/tcp': collides with 80:80/tcp of nics/a"),
        ({"nics/a/address": "10.0.0.1/8 10.0.0.1/24"}, "nics/a/address: '10.0.0.1/24': is the address of nics/a already"),
        (
            {"nics/a/address": "10.0.0.1/8", "nics/b/address": "10.0.0.1/8"},
            "nics/b/address: '10.0.0.1/8': is the address of nics/a already",
        ),
        (
            {"nics/a/address": " ".join(f"10.0.0.{number}/8" for number in range(1, 34))},
            "nics: 33 addresses, and a VM may have 32",
        ),
        ({"nics/-a/mode": "user"}, "nics/-a: its name must be 1 to 26 of a-z, 0-9, - and _, and start with neither sign"),
    ],
)  # fmt: skip
def test_v16_faults_of_network_cards(own: Keys, line: str) -> None:
    assert faults(own) == [line]


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080:80", Port(host=8080, guest=80)),
        ("8080:80/tcp", Port(host=8080, guest=80)),
        ("53:5353/udp", Port(host=53, guest=5353, protocol=Protocol.udp)),
        ("192.0.2.1:1:65535", Port(host=1, guest=65535, address=IPv4Address("192.0.2.1"))),
        ("[2001:db8::1]:80:80", Port(host=80, guest=80, address=IPv6Address("2001:db8::1"))),
    ],
)
def test_a_published_port(text: str, port: Port) -> None:
    assert address.port(text) == port
    assert address.port(str(port)) == port


@pytest.mark.parametrize(
    "text",
    [
        "", "80", ":80", "80:", "80:80:80", ":80:80", "80:80/", "80:80/sctp", "80:80/TCP", "80:80/tcp/udp", "0:80",
        "80:65536", "-1:80", "+80:80", "8_0:80", "80:80,hostfwd=tcp::22-:22", "80-:22,x=:80", "::1:80:80", "[::1:80:80",
        "[127.0.0.1]:80:80", "0.0.0.0:80:80", "[::]:80:80", "224.0.0.1:80:80", "[fe80::1%;drop]:80:80", "name:80:80",
        "[[::1]]:80:80", "\u0661:80", "80:80}",
    ],
)  # fmt: skip
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(Refused):
        address.port(text)


def test_two_ports_collide_where_one_connection_could_mean_both() -> None:
    everywhere, here, there = map(address.port, ("80:1", "127.0.0.1:80:2", "192.0.2.1:80:3"))
    assert everywhere.collides(here)
    assert there.collides(everywhere)
    assert not here.collides(there)
    assert not everywhere.collides(address.port("80:1/udp"))
    assert not everywhere.collides(address.port("81:1"))


def test_a_device_is_held_to_the_bridges_of_host_toml() -> None:
    own = {"nics/a/mode": "macvtap", "nics/a/device": "eth0"}
    assert machine(own).nics[0].parent == "eth0"
    with pytest.raises(ConfigError) as caught:
        described(own, host_toml='bridges = ["br0"]')
    assert caught.value.lines() == [
        "nics/a/device: 'eth0': is not one of bridges of host.toml (br0)"
    ]
