"""Where a stranger's URL may lead, by what host.toml and the tables of this host's routes say."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from holdfast.fetch import destination
from holdfast.fetch.destination import gateways, refusal, spelled
from holdfast.machine import UrlLimits
from holdfast.policy.network_limits import NetworkLimits, Place, place
from holdfast.system import rtnetlink

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""
ROUTES6 = """\
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0
"""


@pytest.fixture(autouse=True)
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """172.17.0.2 in a container, whose host is 172.17.0.1."""
    own = {ip_address(one) for one in ("172.17.0.2", "172.17.0.9", "fd00::2")}
    monkeypatch.setattr(rtnetlink, "is_own", lambda address: address in own)
    for name, text in (("IPV4", ROUTES), ("IPV6", ROUTES6)):
        (tmp_path / name).write_text(text, encoding="ascii")
        monkeypatch.setattr(destination, name, tmp_path / name)


def test_gateways_are_read_from_both_tables() -> None:
    assert gateways() == {ip_address("172.17.0.1"), ip_address("fd00::1")}


def test_a_kernel_without_ipv6(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(destination, "IPV6", tmp_path / "not there")
    assert gateways() == {ip_address("172.17.0.1")}


@pytest.mark.parametrize(
    ("address", "port", "what"),
    [
        ("172.17.0.2", 80, "an address of this host"),
        ("172.17.0.9", 443, "an address of this host"),
        ("fd00::2", 80, "an address of this host"),
        ("172.17.0.1", 80, "a gateway of this host"),
        ("fd00::1", 80, "a gateway of this host"),
        ("192.0.2.7", 2379, "a port of etcd"),
        ("192.0.2.7", 2380, "a port of etcd"),
        ("2001:db8::7", 6789, "a port of Ceph"),
        ("192.0.2.7", 3300, "a port of Ceph"),
        ("192.0.2.7", 80, ""),
        ("10.1.2.3", 8080, ""),
        ("fd00::7", 80, ""),
    ],
)
def test_where_nothing_is_said(address: str, port: int, what: str) -> None:
    assert refusal(ip_address(address), port, UrlLimits()) == what


@pytest.mark.parametrize(
    ("opened", "address", "port", "opens"),
    [
        ("172.17.0.2", "172.17.0.2", 80, True),
        ("172.17.0.0/24:8080", "172.17.0.2", 8080, True),
        ("172.17.0.0/24:8080", "172.17.0.2", 80, False),
        ("172.17.0.1:80", "172.17.0.1", 80, True),
        ("[fd00::1]:80", "fd00::1", 80, True),
        ("[fd00::/64]:80", "fd00::1", 81, False),
        ("192.0.2.7", "192.0.2.7", 2379, True),
        ("192.0.2.7", "fd00::2", 80, False),
    ],
)
def test_what_host_toml_opens(opened: str, address: str, port: int, opens: bool) -> None:
    limits = NetworkLimits(reachable=(place(opened),))
    assert (refusal(ip_address(address), port, limits.reach) == "") is opens


def test_what_host_toml_closes_and_which_comes_first() -> None:
    closed = NetworkLimits(unreachable=(place("10.0.0.0/8"),))
    assert "unreachable" in refusal(ip_address("10.1.2.3"), 80, closed.reach)
    both = NetworkLimits(unreachable=closed.unreachable, reachable=(place("10.1.2.3:80"),))
    assert refusal(ip_address("10.1.2.3"), 80, both.reach) == ""
    assert refusal(ip_address("10.1.2.3"), 81, both.reach)


@pytest.mark.parametrize(
    "text", ["192.0.2.0/24", "192.0.2.7/32:80", "fd00::/64", "[fd00::/64]:80"]
)
def test_a_place_is_spelled_as_it_is_read(text: str) -> None:
    assert str(place(text)) == text
    assert place(str(place(text))) == place(text)


@pytest.mark.parametrize("address", ["192.0.2.7", "fd00::7"])
def test_the_advice_can_be_pasted(address: str) -> None:
    found = Place(network=ip_network(address), port=80)
    assert place(spelled(ip_address(address), 80)) == found
