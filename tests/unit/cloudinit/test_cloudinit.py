"""The seed's documents: what cloud-init will read must be what the keys said."""

import shlex
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
import yaml

from holdfast.cloudinit.nocloud import Documents, documents
from holdfast.errors import ConfigError
from holdfast.machine import Guest, Machine, Nic, NicMode, Share

MACHINE = Machine(
    vm="7", hostname="web-7", uuid="0d9c2f4e-6a0b-5c1d-8e3f-102132435465", machine="q35"
)
NIC = Nic(name="nic0", mode=NicMode.bridge, mac="52:54:00:12:34:56", bridge="br0")


def network(*nics: Nic) -> Any:
    return yaml.safe_load(documents(replace(MACHINE, nics=nics), "").network_config)


def ethernet(**facts: Any) -> Any:
    return network(replace(NIC, **facts))["ethernets"]["nic0"]


def test_meta_data_names_the_instance_and_the_host() -> None:
    assert yaml.safe_load(documents(MACHINE, "").meta_data) == {
        "instance-id": MACHINE.uuid,
        "local-hostname": "web-7",
    }


@pytest.mark.parametrize("hostname", ["on", "123", "0x1f", "1e3", "null", "2020-01-01", "12-3"])
def test_a_hostname_stays_text(hostname: str) -> None:
    meta_data = documents(replace(MACHINE, hostname=hostname), "").meta_data
    assert yaml.safe_load(meta_data)["local-hostname"] == hostname


def test_other_user_data_or_nics_are_still_the_same_instance() -> None:
    before = documents(MACHINE, "#cloud-config\npackages: [vim]\n")
    after = documents(replace(MACHINE, nics=(NIC,)), "#!/bin/sh\n")
    assert before.meta_data == after.meta_data


@pytest.mark.parametrize("text", ["", "\n", "  \n"])
def test_no_user_data_is_an_empty_cloud_config(text: str) -> None:
    user_data = documents(MACHINE, text).user_data
    assert user_data.startswith("#cloud-config\n")
    assert yaml.safe_load(user_data) == {}


@pytest.mark.parametrize(
    "text",
    [
        "#cloud-config\npackages: [vim]",
        "#cloud-config\r\nruncmd:\r\n- echo {{ ''.__class__ }} {% raw %}\r\n\r\n",
        "#cloud-config\nwrite_files: [{path: /a, content: 'ä€\u2028\t'}]\n\n\n",
        "#cloud-config-archive\n- '#!/bin/sh'\n",
        "#!/bin/sh\ntrue\n",
        "#include\nhttps://example.org/a\n",
        "#include-once\nhttps://example.org/a\n",
        "#cloud-boothook\n#!/bin/sh\n",
        "#part-handler\n",
        "## template: jinja\n#cloud-config\nhostname: {{ v1.region }}\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b--\n",
        'Content-Type: multipart/mixed; boundary="="\nmime-version: 1.0\n\n--=--\n',
    ],
)
def test_user_data_goes_in_untouched(text: str) -> None:
    assert documents(MACHINE, text).user_data == text


def test_documents_do_not_show_user_data() -> None:
    assert "hunter2" not in repr(Documents(meta_data="", user_data="hunter2", network_config=""))


def test_a_nic_asks_dhcp() -> None:
    assert network(NIC) == {
        "version": 2,
        "ethernets": {"nic0": {"match": {"macaddress": "52:54:00:12:34:56"}, "dhcp4": True}},
    }


def test_a_nic_has_static_addresses_of_both_kinds() -> None:
    assert ethernet(
        address=(ip_interface("192.0.2.10/24"), ip_interface("2001:db8::10/64")),
        gateway=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
        dns=(ip_address("192.0.2.53"), ip_address("2001:db8::53")),
        search=("example.org", "example.net"),
    ) == {
        "match": {"macaddress": "52:54:00:12:34:56"},
        "dhcp4": False,
        "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
        "routes": [
            {"to": "0.0.0.0/0", "via": "192.0.2.1"},
            {"to": "::/0", "via": "2001:db8::1"},
        ],
        "nameservers": {
            "addresses": ["192.0.2.53", "2001:db8::53"],
            "search": ["example.org", "example.net"],
        },
    }


def test_addresses_of_one_kind_only_end_dhcp() -> None:
    assert ethernet(address=(ip_interface("2001:db8::10/64"),)) == {
        "match": {"macaddress": "52:54:00:12:34:56"},
        "dhcp4": False,
        "addresses": ["2001:db8::10/64"],
    }


@pytest.mark.parametrize(
    ("address", "gateway", "on_link"),
    [
        (("192.0.2.10/24",), "192.0.2.1", False),
        (("192.0.2.10/32",), "198.51.100.1", True),
        (("192.0.2.10/32", "2001:db8::10/64"), "2001:db8::1", False),
        (("2001:db8::10/128",), "2001:db8:1::1", True),
        (("2001:db8::10/128",), "fe80::1", False),
        ((), "192.0.2.1", False),
    ],
)
def test_a_gateway_outside_the_network_is_reached_directly(
    address: tuple[str, ...], gateway: str, on_link: bool
) -> None:
    found = ethernet(address=tuple(map(ip_interface, address)), gateway=(ip_address(gateway),))
    assert found["routes"][0].get("on-link", False) is on_link


def test_only_what_is_given_of_the_name_servers_is_written() -> None:
    assert ethernet(dns=(ip_address("192.0.2.53"),))["nameservers"] == {
        "addresses": ["192.0.2.53"]
    }
    assert ethernet(search=("example.org",))["nameservers"] == {"search": ["example.org"]}


def test_several_nics_of_all_modes_and_awkward_names() -> None:
    nics = [
        replace(NIC, name=name, mac=f"52:54:00:00:00:{number:02x}", mode=mode)
        for number, (name, mode) in enumerate(
            [
                ("lan", NicMode.bridge),
                ("off", NicMode.user),
                ("a: b # c", NicMode.user),
                ('"{%', NicMode.bridge),
                ("0", NicMode.bridge),
                ("unplugged", NicMode.none),
            ]
        )
    ]
    ethernets = network(*nics)["ethernets"]
    assert list(ethernets) == ["lan", "off", "a: b # c", '"{%', "0"]
    assert [e["match"]["macaddress"] for e in ethernets.values()] == [n.mac for n in nics[:5]]


@pytest.mark.parametrize("mac", ["52:54:00:12:34:56", "02:00:00:00:00:01", "52:54:00:ab:cd:ef"])
def test_a_mac_stays_text(mac: str) -> None:
    # YAML 1.1 reads digits between colons as a number to the base of 60.
    assert ethernet(mac=mac)["match"] == {"macaddress": mac}


def test_without_a_known_nic_cloud_init_is_left_to_find_one() -> None:
    assert documents(MACHINE, "").network_config == ""


def test_equal_machines_have_equal_documents() -> None:
    machine = replace(MACHINE, nics=(NIC, replace(NIC, name="nic1")))
    assert documents(machine, "#!/bin/sh\n") == documents(replace(machine), "#!/bin/sh\n")


# vendor-data: what our keys say, beside the user's document


def vendor(**facts: Any) -> Any:
    guest = Guest(**facts)
    text = documents(replace(MACHINE, guest=guest), "").vendor_data
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def test_nothing_said_is_no_vendor_data() -> None:
    assert documents(MACHINE, "#cloud-config\nruncmd: [true]\n").vendor_data == ""


HOSTILE = ": a # b ' \" { } [ ] & * ! | > % @ ` \\ $HOME $(id) {{ vm }} - ? \u00e4 \u2028"


def test_what_is_said_is_data_and_not_text() -> None:
    said = vendor(
        password=HOSTILE,
        ssh_authorized_keys=(HOSTILE,),
        commands=(HOSTILE, "- b", "on", "#c"),
        timezone="Europe/Berlin",
    )
    assert said["password"] == HOSTILE
    assert said["chpasswd"] == {"expire": False}
    assert said["ssh_authorized_keys"] == [HOSTILE]
    assert said["runcmd"] == [HOSTILE, "- b", "on", "#c"]
    assert said["timezone"] == "Europe/Berlin"


@pytest.mark.parametrize("value", ["", "a b", "it's", HOSTILE, "a\n'b'\n\n", "\t", "`id`"])
def test_a_shell_reads_a_variable_as_it_was_said(value: str) -> None:
    said = vendor(env=(("A", value), ("B", "b")), commands=("env",))
    (file,) = said["write_files"]
    name, *words = shlex.split(file["content"])
    assert (name, words) == ("export", [f"A={value}", "export", "B=b"])
    assert said["runcmd"] == [f". {file['path']}", "env"]


def test_the_users_document_counts_and_lists_are_joined() -> None:
    """As cloud-init joins them (cloudinit/mergers): `merge_type` is what it finds when it does."""
    said = vendor(timezone="UTC")
    assert said["merge_how"] == said["merge_type"]
    assert {"name": "list", "settings": ["prepend"]} in said["merge_type"]
    assert {"name": "dict", "settings": ["no_replace", "recurse_list"]} in said["merge_type"]


def test_a_password_is_in_no_repr() -> None:
    hidden = "hunter2"
    guest = Guest(password=hidden, commands=(hidden,), env=(("A", hidden),))
    machine = replace(MACHINE, guest=guest)
    assert "hunter2" not in repr(machine) + repr(documents(machine, ""))


def test_meta_data_goes_over_ours() -> None:
    given = {"instance-id": "i-1", "public-keys": ["k"]}
    assert yaml.safe_load(documents(MACHINE, "", given).meta_data) == {
        "instance-id": "i-1",
        "local-hostname": "web-7",
        "public-keys": ["k"],
    }


def test_two_names_for_one_host_are_a_fault() -> None:
    named = {"local-hostname": "other"}
    with pytest.raises(ConfigError, match="meta_data: has a local-hostname"):
        documents(MACHINE, "", named)
    unnamed = replace(MACHINE, hostname=MACHINE.vm)
    assert yaml.safe_load(documents(unnamed, "", named).meta_data)["local-hostname"] == "other"


def test_a_network_config_goes_in_untouched() -> None:
    text = "# mine\nversion: 1\nconfig: []\n"
    machine = replace(MACHINE, nics=(NIC,))
    assert documents(machine, "", network_config=text).network_config == text


def test_a_share_is_mounted_at_every_boot() -> None:
    shares = (
        Share(name="a", path="/srv", read_only=True, mount="/mnt/it's: # a"),
        Share(name="b", path="/srv"),
    )
    text = documents(replace(MACHINE, shares=shares), "").vendor_data
    (command,) = yaml.safe_load(text)["bootcmd"]
    assert command[:2] == ["sh", "-c"]
    assert command[3:] == ["mount", "a", "/mnt/it's: # a", "ro"]
