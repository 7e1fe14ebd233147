"""What becomes of published ports, and what a guest's agent may say: without a kernel."""

from ipaddress import ip_address

import pytest

from holdfast.grammar import address
from holdfast.network import addresses, agent
from holdfast.network.ruleset import Way, dnat, ruleset

LED = """\
table inet holdfast-web-7 { flags owner; }
delete table inet holdfast-web-7
table inet holdfast-web-7 {
  flags owner
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local ip daddr != 127.0.0.0/8 tcp dport 8080 dnat ip to 10.77.0.5:80
  }
  chain output {
    type nat hook output priority -100
    fib daddr type local ip daddr != 127.0.0.0/8 tcp dport 8080 dnat ip to 10.77.0.5:80
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ct status dnat iifname "br0" oifname "br0" masquerade
  }
}
"""


def way(port: str, guest: str, *, localnet: bool = False) -> Way:
    return Way(port=address.port(port), bridge="br0", guest=ip_address(guest), localnet=localnet)


def test_v17_a_table_of_a_vm() -> None:
    assert ruleset("web-7", [way("8080:80", "10.77.0.5")]) == LED
    assert ruleset("web-7", []) == "\n".join([*LED.splitlines()[:2], ""])


@pytest.mark.parametrize(
    ("one", "rules"),
    [
        (way("1:2", "fd00::5"), ["fib daddr type local ip6 daddr != ::1 tcp dport 1 dnat ip6 to [fd00::5]:2"]),
        (way("1:2/udp", "10.0.0.5", localnet=True), ["fib daddr type local udp dport 1 dnat ip to 10.0.0.5:2"]),
        (way("192.0.2.1:1:2", "10.0.0.5"), ["fib daddr type local ip daddr 192.0.2.1 tcp dport 1 dnat ip to 10.0.0.5:2"]),
        (way("[2001:db8::1]:1:2", "fd00::5"), ["fib daddr type local ip6 daddr 2001:db8::1 tcp dport 1 dnat ip6 to [fd00::5]:2"]),
        (way("192.0.2.1:1:2", "fd00::5"), []),
        (way("[2001:db8::1]:1:2", "10.0.0.5"), []),
    ],
)  # fmt: skip
def test_a_rule_for_each_kind_of_port(one: Way, rules: list[str]) -> None:
    assert dnat(one) == rules


def test_v18_what_the_agent_says() -> None:
    said = [
        {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1", "prefix": 8}]},
        {
            "name": "eth0",
            "hardware-address": "52:54:00:AA:00:01",
            "ip-addresses": [{"ip-address": "10.77.0.5"}, {"ip-address": "fe80::1"}],
        },
    ]
    found = agent.parsed(said)["52:54:00:aa:00:01"]
    assert [str(one) for one in addresses.usable(found)] == ["10.77.0.5"]


@pytest.mark.parametrize(
    "said",
    [
        None, 7, "text", {}, [], [None], [7], [{}], [{"ip-addresses": 7}], [{"ip-addresses": [None, 7, {}]}],
        [{"hardware-address": "x", "ip-addresses": [{"ip-address": 7}, {"ip-address": "10.0.0.5; drop"}]}],
        [{"hardware-address": "x", "ip-addresses": [{"ip-address": "fe80::1%eth0 } drop"}]}],
        [{"hardware-address": "x", "ip-addresses": [{"ip-address": ["10.0.0.5"]}]}],
    ],
)  # fmt: skip
def test_v18_a_guest_may_say_anything(said: object) -> None:
    usable = [one for given in agent.parsed(said).values() for one in addresses.usable(given)]
    assert usable == []
