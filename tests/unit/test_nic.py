"""The keys of network cards."""

import pytest
from describing import Keys, faults, machine

from holdfast.machine import (
    Nic,
    NicMode,
)


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
        (
            {"nics/a/mode": "macvtap"},
            "nics/a/mode: 'macvtap': is not supported by this version",
        ),
        (
            {"nics/a/mac": "52:54:00:00:00:01", "mac": "52:54:00:00:00:01"},
            "nics/a/mac: '52:54:00:00:00:01': is the address of nics/nic0 as well",
        ),
        ({"nics/a/address": "10.0.0.1"}, "nics/a/address: '10.0.0.1': lacks the prefix length, such as /24"),
        ({"nics/a/address": "10.0.0.1/33"}, "nics/a/address: '10.0.0.1/33': must be an address with its prefix length, such as 10.77.0.5/24"),
        ({"nics/a/address": "224.0.0.1/4"}, "nics/a/address: '224.0.0.1/4': is no address for a network card"),
        ({"nics/a/dns": "1.1.1.1 x"}, "nics/a/dns: 'x': must be an IPv4 or IPv6 address"),
        ({"nics/a/search": ""}, "nics/a/search: '': is empty: delete the key instead"),
        ({"nics/-a/mode": "user"}, "nics/-a: its name must be 1 to 26 of a-z, 0-9, - and _, and start with neither sign"),
    ],
)  # fmt: skip
def test_faults_of_network_cards(own: Keys, line: str) -> None:
    assert faults(own) == [line]
