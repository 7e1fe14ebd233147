"""What a tenant may write is of any size and shape; what is made of it ends soon, with a fault of ours.

Nothing here is timed: a parser that is worse than linear would not end within the test's patience.
"""

import pytest
from describing import described, faults, machine

from holdfast.description.layers import MOST_MEMBERS, MOST_UNKNOWN
from holdfast.description.template import rendered
from holdfast.grammar import MOST_ITEMS

MIB = 1024**2


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("nics/a/ports", "1024:1 " * 150_000),
        ("nics/a/dns", "192.0.2.1 " * 100_000),
        ("host", "a " * 500_000),
        ("boot_order", "root " * 200_000),
        ("cpu_set", "0-8191," * 140_000 + "0"),
        ("cpu_topology", "sockets:1," * 100_000),
        ("cmds", "a\n" * 500_000),
        ("tags", "a\n" * 500_000),
        ("ssh_authorized_keys", "ssh-ed25519 AAAA\n" * 60_000),
        ("extra_flags", "-append a " * 100_000),
        ("extra_flags", "'" * MIB),
        ("meta_data", "[" * MIB),
        ("network_config", "a: " * 300_000),
        ("ram", "9" * MIB),
        ("uuid", "-" * MIB),
        ("mac", ":" * MIB),
        ("nics/a/address", "1/" * 500_000),
        ("nics/a/search", "a." * 500_000),
        ("disks/root/rbd", "a/" * 500_000),
        ("timezone", "a/" * 500_000 + " "),
    ],
)
def test_long_values(key: str, text: str) -> None:
    found = faults({"disks/root/path": "/images/a", key: text[:MIB]})
    assert found
    assert all(len(line) < 500 for line in found)


def test_many_unknown_keys_of_any_length() -> None:
    own = {f"rma{number}" + "x" * 5000: "1" for number in range(900)}
    unknown = described({"ram": "1G", **own}).unknown
    assert len(unknown) == MOST_UNKNOWN + 1
    assert all(len(line) < 300 for line in unknown)


@pytest.mark.parametrize(
    "family", ["disks/{}/path", "nics/{}/mac", "shares/{}/path", "usb/{}", "pci/{}"]
)
def test_crowds(family: str) -> None:
    own = {family.format(number): "/images/a" for number in range(MOST_MEMBERS + 1)}
    (line,) = faults(own)
    assert f"a VM may have {MOST_MEMBERS}" in line


def test_many_ports_of_many_cards() -> None:
    ports = "\n".join(f"{2000 + number}:80" for number in range(MOST_ITEMS))
    found = faults(
        {f"nics/{card}/ports": ports for card in "ab"}
        | {f"nics/{card}/mode": "user" for card in "ab"}
    )
    assert any("published ports" in line or "ports" in line for line in found)


def test_what_people_have_is_not_limited() -> None:
    made = machine(
        {"host": " ".join(f"host{number}" for number in range(200)), "cpu_set": "0-63,128"}
    )
    assert len(made.hosts) == 200


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 10**9 * 'a' }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ lipsum(100000000) }}",
        "{{ range(100000) | length }}",
        "{% for a in 'aaaa' %}{% for b in 'aaaa' %}{% endfor %}{% endfor %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% set a = vm %}" + "{% set a = a ~ a %}" * 40,
        "{{ '" + "a" * 30_000 + "' | replace('a', '" + "b" * 30_000 + "') }}",
        "{{ '" + "a" * 30_000 + "'.replace('a', '" + "b" * 30_000 + "') }}",
        "{{ vm | replace('', 'a') | format }}",
        "{{ '" + "(" * 50_000 + "' }}{{ " + "(" * 50_000 + " }}",
        "{{ vm" + " ~ vm" * 20_000 + " }}",
        "{% include 'a' %}",
        "{% with a = vm %}{% endwith %}",
        "{{ vm.replace }}{{ vm['format'](1) }}",
        "{{ cycler('a') }}",
        "{{ vm | attr('format') }}",
        "{{ [vm] * 100000000 }}",
    ],
)  # fmt: skip
def test_a_template_is_no_program(template: str) -> None:
    (line,) = faults({"ram": "1G"}, {"title": template})
    assert line.startswith("title (_defaults): ")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ vm }}.example", "7.example"),
        ("{{ host | upper }}-{{ vm | int + 5900 }}", "NODE1-5907"),
        ("{{ 'a' if host == 'node1' else 'b' }}", "a"),
        ("{% if vm in ['7', '8'] and not host.startswith('x') %}yes{% endif %}", "yes"),
        ("{{ vm.replace('7', 'x') ~ host[:4] | title }}", "xNode"),
        ("{{ host.split('d')[1] }}{{ vm | int * 2 % 5 }}{{ vm | replace('7', 'y') }}", "e14y"),
    ],
)
def test_a_template_may_choose_and_change(template: str, text: str) -> None:
    assert rendered(template, vm="7", host="node1", key="title") == text
