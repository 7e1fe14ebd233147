"""[network] of host.toml: which ports a VM may publish."""

from ipaddress import ip_address, ip_network

import pytest
from describing import described

from holdfast.errors import ConfigError, Fault
from holdfast.policy.host_config import HostConfig, parse
from holdfast.policy.network_limits import NetworkLimits, Place


def limits(text: str) -> NetworkLimits:
    faults: list[Fault] = []
    found = parse(f"[network]\n{text}", faults)
    assert not faults
    return found.network


def refused(ports: str, host_toml: str = "[network]\n") -> str:
    given = {"nics/lan/bridge": "br0", "nics/lan/ports": ports, "disks/root/rbd": "vms/7"}
    with pytest.raises(ConfigError) as caught:
        described(given, host_toml=host_toml)
    return " ".join(caught.value.lines())


def test_what_can_be_said() -> None:
    found = limits(
        'published_addresses = ["192.0.2.7", "2001:db8::7"]\npublished_ports = [80, "8000-8999"]\n'
        'ports_per_vm = 2\nanti_spoofing = false\nreachable = ["169.254.169.254", "10.0.0.0/8:3300"]\n'
        'unreachable = ["[fd00::/64]:443", "fd00::7", "192.0.2.7:80"]'
    )
    assert found == NetworkLimits(
        addresses=(ip_address("192.0.2.7"), ip_address("2001:db8::7")),
        ports=(range(80, 81), range(8000, 9000)),
        ports_per_vm=2,
        anti_spoofing=False,
        reachable=(
            Place(network=ip_network("169.254.169.254")),
            Place(network=ip_network("10.0.0.0/8"), port=3300),
        ),
        unreachable=(
            Place(network=ip_network("fd00::/64"), port=443),
            Place(network=ip_network("fd00::7")),
            Place(network=ip_network("192.0.2.7"), port=80),
        ),
    )
    assert HostConfig().network == NetworkLimits()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("published = []", "host.toml [network]"),
        ('published_ports = "80"', "published_ports"),
        ("published_ports = [0]", "published_ports"),
        ('published_ports = ["9-8"]', "published_ports"),
        ('published_ports = ["80-"]', "published_ports"),
        ('published_addresses = ["0.0.0.0"]', "published_addresses"),
        ('published_addresses = ["127.0.0.1"]', "published_addresses"),
        ('published_addresses = ["fe80::1%eth0"]', "published_addresses"),
        ("ports_per_vm = true", "ports_per_vm"),
        ("ports_per_vm = 100000", "ports_per_vm"),
        ('anti_spoofing = "no"', "anti_spoofing"),
        ('reachable = ["etcd"]', "reachable"),
        ('reachable = ["10.0.0.1/8"]', "reachable"),
        ('unreachable = ["[fd00::1"]', "unreachable"),
        ('unreachable = ["10.0.0.1:0"]', "unreachable"),
        ('unreachable = ["[fd00::1]80"]', "unreachable"),
    ],
)
def test_a_misspelt_limit_is_refused(text: str, key: str) -> None:
    faults: list[Fault] = []
    parse(f"[network]\n{text}", faults)
    assert [fault for fault in faults if key in fault.key]


def test_a_table_it_must_be() -> None:
    faults: list[Fault] = []
    parse("network = 7", faults)
    assert "must be a table" in str(faults)


def test_ports_are_limited_in_count_and_range() -> None:
    many = "\n".join(f"{number}:80" for number in range(9000, 9033))
    assert "33 ports are published, and ports_per_vm of host.toml's [network] is 32" in refused(
        many
    )
    assert "ports_per_vm of host.toml's [network] is 0" in refused(
        "1:1", "[network]\nports_per_vm=0"
    )
    only = '[network]\npublished_ports = ["8000-8999", 443]'
    assert "'80': is not one of published_ports of host.toml (8000-8999, 443)" in refused(
        "80:1", only
    )
    described(
        {"nics/lan/bridge": "br0", "nics/lan/ports": "443:1\n8999:1", "disks/root/rbd": "v/7"},
        host_toml=only,
    )


@pytest.mark.parametrize("port", ["22", "2379", "2380"])
def test_the_hosts_own_ports_must_be_listed(port: str) -> None:
    assert "published_ports of host.toml must list it" in refused(f"{port}:80")
    assert "published_ports of host.toml must list it" in refused(f"192.0.2.1:{port}:80")
    described(
        {"nics/lan/bridge": "br0", "nics/lan/ports": f"{port}:80", "disks/root/rbd": "v/7"},
        host_toml=f"[network]\npublished_ports = [{port}]",
    )
