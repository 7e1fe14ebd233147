"""A VM's keys -> Machine."""

from ipaddress import ip_address, ip_interface

import pytest
from describing import Keys, described, faults, machine

from holdfast.config import settings
from holdfast.description import Description, describe
from holdfast.errors import ConfigError
from holdfast.machine import (
    Accelerator,
    Cache,
    Disk,
    DiskKind,
    Document,
    Format,
    Guest,
    LocalPath,
    Machine,
    Nic,
    NicMode,
    Power,
    RbdImage,
    Share,
    Spice,
    Volume,
)

ORIGIN = {
    "host": "node1",
    "lock": "{}",
    "ram": "512",
    "mac": "52:54:00:12:34:56",
    "rbd": "/vms/vm7",
    "spice_port": "5907",
    "extra_flags": "-name 'a b'",
    "cloud-config": "http://seeds/7",
}


def test_a_vm_of_the_origin() -> None:
    assert machine(ORIGIN, environ={"BRIDGE_IF": "public"}) == Machine(
        vm="7",
        hostname="7",
        uuid="1d0cea6f-c5bf-50ec-be81-ea41b9e7dd46",
        machine="pc",
        hosts=("node1",),
        ram=512 * 1024**2,
        disks=(Disk(name="root", backend=RbdImage(pool="vms", image="vm7"), primary=True),),
        nics=(Nic(name="nic0", mode=NicMode.bridge, mac="52:54:00:12:34:56", bridge="public"),),
        spice=Spice(port=5907),
        guest=Guest(user_data=Document(url="http://seeds/7")),
        extra_flags=("-name", "a b"),
    )


def test_a_vm_with_everything() -> None:
    own = {
        "host": "node1 node2\n",
        "power": "off",
        "stop_timeout": "60",
        "hostname": "web",
        "uuid": "6F2C0F7E-5D0C-4B61-9D49-3C1DDC5AC8D5",
        "cpus": "4",
        "cpu_model": "max",
        "machine": "q35",
        "accelerator": "tcg",
        "ram": "4G",
        "kernel": "/images/vmlinuz",
        "initrd": "/images/initrd",
        "cmdline": "console=ttyS0",
        "guest_agent": "off",
        "rng": "off",
        "spice_port": "5907",
        "spice_addr": "::1",
        "spice_password": "none",
        "user_data": "file:/images/seed.yaml",
        "disks/root/pool": "default",
        "disks/root/size": "10G",
        "disks/root/format": "qcow2",
        "disks/root/serial": "S1",
        "disks/root/cache": "writethrough",
        "disks/cd/path": "/images/a.iso",
        "disks/cd/kind": "cdrom",
        "disks/log/rbd": "vms/space/log",
        "disks/log/read_only": "on",
        "nics/lan/mode": "bridge",
        "nics/lan/bridge": "br0",
        "nics/lan/mac": "02:00:00:00:00:01",
        "nics/lan/model": "e1000",
        "nics/lan/address": "10.77.0.5/24\nfd00:77::5/64\n",
        "nics/lan/gateway": "10.77.0.1",
        "nics/lan/dns": "1.1.1.1 8.8.8.8",
        "nics/lan/search": "example.org lan",
        "title": "The web",
        "x/whose": "ours",
    }
    assert described(own) == Description(
        machine=Machine(
            vm="7",
            hosts=("node1", "node2"),
            power=Power.off,
            stop_timeout=60,
            hostname="web",
            uuid="6f2c0f7e-5d0c-4b61-9d49-3c1ddc5ac8d5",
            cpus=4,
            cpu_model="max",
            machine="q35",
            accelerator=Accelerator.tcg,
            ram=4 * 1024**3,
            kernel="/images/vmlinuz",
            initrd="/images/initrd",
            cmdline="console=ttyS0",
            guest_agent=False,
            rng=False,
            spice=Spice(port=5907, addr="::1", password=None),
            guest=Guest(user_data=Document(path="/images/seed.yaml")),
            disks=(
                Disk(
                    name="root",
                    backend=Volume(pool="default", directory="/pool", name="7-root.qcow2"),
                    format=Format.qcow2,
                    size=10 * 1024**3,
                    primary=True,
                    serial="S1",
                    cache=Cache.writethrough,
                ),
                Disk(name="cd", backend=LocalPath(path="/images/a.iso"), kind=DiskKind.cdrom),
                Disk(
                    name="log",
                    backend=RbdImage(pool="vms", namespace="space", image="log"),
                    read_only=True,
                ),
            ),
            nics=(
                Nic(
                    name="lan",
                    mode=NicMode.bridge,
                    bridge="br0",
                    mac="02:00:00:00:00:01",
                    model="e1000",
                    address=(ip_interface("10.77.0.5/24"), ip_interface("fd00:77::5/64")),
                    gateway=(ip_address("10.77.0.1"),),
                    dns=(ip_address("1.1.1.1"), ip_address("8.8.8.8")),
                    search=("example.org", "lan"),
                ),
            ),
        )
    )


# Where a value comes from.


def test_a_variable_before_the_key_before_the_default_before_what_is_built_in() -> None:
    assert machine({"title": ""}).ram == 1024 * 1024**2
    assert machine({"title": ""}, {"ram": "2G"}).ram == 2 * 1024**3
    assert machine({"ram": "3G"}, {"ram": "2G"}).ram == 3 * 1024**3
    assert machine({"ram": "3G"}, {"ram": "2G"}, {"VM_RAM": "4G"}).ram == 4 * 1024**3


def test_what_is_overridden_may_be_wrong() -> None:
    assert machine({"ram": "3G"}, {"ram": "{{ wrong"}).ram == 3 * 1024**3


def test_no_key_is_taken_from_a_variable_by_its_capitals() -> None:
    environ = {"RAM": "4G", "CPUS": "4", "POWER": "off", "KERNEL": "/images/a"}
    assert machine({"title": ""}, environ=environ) == machine({"title": ""})


def test_a_fault_says_where_the_value_stands() -> None:
    lines = faults({"ram": "1G", "rbd": "a/b"}, {"cpus": "x"}, {"VM_RAM": "y", "VM_MAC": "z"})
    assert [line.partition(": ")[0] for line in lines] == [
        "mac (VM_MAC)",
        "ram (VM_RAM)",
        "cpus (_defaults)",
    ]


def test_variables_alone_can_be_a_vm() -> None:
    environ = {"VM_RBD": "vms/7", "VM_RAM": "1G", "SPICE_PORT": "5900", "STOP_TIMEOUT": "9"}
    found = machine({}, environ=environ)
    assert found.disks[0].backend == RbdImage(pool="vms", image="7")
    assert found.spice == Spice(port=5900)
    assert found.stop_timeout == 9


def test_two_names_of_one_thing_must_agree() -> None:
    assert machine({"mac": "52:54:00:00:00:0a", "nics/nic0/mac": "52-54-00-00-00-0A"}).nics[0].mac
    (line,) = faults({"rbd": "a/b", "disks/root/rbd": "a/c"})
    assert line == "rbd: says something else than disks/root/rbd, another name of the same thing"


def test_the_own_key_counts_even_under_its_other_name() -> None:
    found = machine({"user_data": "#cloud-config\n"}, {"cloud-config": "http://seeds/{{ vm }}"})
    assert found.guest.user_data == Document(inline="#cloud-config")


def test_defaults_are_templates() -> None:
    defaults = {
        "hostname": "{{ vm }}-on-{{ host }}",
        "cloud-config": "http://seeds/{{ vm }}/{{ key }}",
        "cmdline": "{{ '{' }}",
    }
    found = machine({"kernel": "/images/a"}, defaults)
    assert found.hostname == "7-on-node1"
    assert found.guest.user_data == Document(url="http://seeds/7/cloud-config")
    assert found.cmdline == "{"


def test_an_own_key_is_no_template() -> None:
    own = {"kernel": "/images/a", "cmdline": "{{ vm }}"}
    assert machine(own).cmdline == "{{ vm }}"


def test_a_misspelt_vm_is_no_vm() -> None:
    for own in ({}, {"lock": "{}", "x/a": "b"}, {"rma": "1G"}):
        assert faults(own, {"ram": "1G"}) == [
            "/kvm/7/: no key of a VM is there: is this its name?"
        ]


def test_the_lock_may_have_another_name() -> None:
    found = described({"ram": "1G", "mutex": "{}"}, environ={"LOCK": "/kvm/7/mutex"})
    assert found.unknown == ()


def test_unknown_keys_are_warnings() -> None:
    found = described({"ram": "1G", "rma": "2G"}, {"Ram": "3G"})
    assert found.unknown == (
        "rma: is no key of a VM; did you mean ram?",
        "Ram (_defaults): is no key of a VM; did you mean ram?",
    )


def test_an_unknown_key_cannot_disturb_the_terminal() -> None:
    found = described({"ram": "1G", "a\nb\x1b": "2G"})
    assert all(line.isprintable() for line in found.unknown)


# host.toml limits what is not the operator's own.


def test_the_operators_own_values_are_not_limited() -> None:
    environ = {"CLOUD_CONFIG": "file:/etc/seed.yaml", "EXTRA_FLAGS": "-usb", "BRIDGE_IF": "br9"}
    config = settings.parse(
        {"VM": "7", **environ}, host_toml="args_allowlist = []\nbridges = ['br0']\n"
    )
    found = describe(config, {"ram": b"1G"}, {}).machine
    assert found.guest.user_data == Document(path="/etc/seed.yaml")
    assert found.extra_flags == ("-usb",)
    assert found.nics[0].bridge == "br9"


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ("-usb -name a", ""),
        ("-name '-usb'", ""),
        ("-usb -m 1G", "-m"),
        ("--usb", "--usb"),
        ("-name -x", "-x"),
        ("-name ' -x'", " -x"),
        ("-name '\t-x'", "\\t-x"),
    ],
)
def test_args_allowlist(flags: str, refused: str) -> None:
    toml = 'args_allowlist = ["-usb", "-name"]'
    if not refused:
        described({"extra_flags": flags}, host_toml=toml)
        return
    with pytest.raises(ConfigError) as caught:
        described({"extra_flags": flags}, host_toml=toml)
    line = f"extra_flags: '{refused}': is not in args_allowlist of host.toml"
    assert caught.value.lines() == [line]


def test_an_empty_args_allowlist_allows_none_and_an_unset_one_what_is_harmless() -> None:
    with pytest.raises(ConfigError):
        described({"extra_flags": "-usb"}, host_toml="args_allowlist = []")
    assert machine({"extra_flags": "-usb"}).extra_flags == ("-usb",)


def test_an_unlimited_host_takes_any_bridge() -> None:
    assert machine({"nics/nic0/bridge": "br7"}).nics[0].bridge == "br7"


# The board.


@pytest.mark.parametrize(
    ("own", "board"),
    [
        ({"ram": "1G", "rbd": "a/b", "spice_port": "5900", "mac": "52:54:00:00:00:01"}, "pc"),
        ({"ram": "1G", "title": "a", "hostname": "a", "power": "on", "stop_timeout": "9"}, "pc"),
        ({"rbd": "a/b", "spice_port": "5900", "spice_password": "none"}, "pc"),
        ({"ram": "1G", "cpus": "2"}, "q35"),
        ({"ram": "1G", "rng": "off"}, "q35"),
        ({"disks/root/rbd": "a/b"}, "q35"),
        ({"rbd": "a/b", "machine": "pc-i440fx-7.2", "cpus": "2"}, "pc-i440fx-7.2"),
    ],
)
def test_a_vm_of_the_origin_keeps_its_board(own: Keys, board: str) -> None:
    assert machine(own).machine == board


def test_defaults_make_no_vm_a_new_one() -> None:
    assert machine({"rbd": "a/b"}, {"cpus": "2"}).machine == "pc"
    assert machine({"rbd": "a/b"}, {"machine": "q35"}).machine == "q35"


def test_a_uuid_is_the_vms_own_and_stays() -> None:
    found = {vm: machine({"ram": "1G"}, environ={"VM": vm}).uuid for vm in ("7", "8")}
    assert found == {
        "7": "1d0cea6f-c5bf-50ec-be81-ea41b9e7dd46",
        "8": "0eb40cca-3239-504e-aa64-7ee4f2de8577",
    }


# QEMU's own options replace the description.


def test_in_argv_mode_only_what_concerns_the_launcher_is_heeded() -> None:
    own = {"ram": "wrong", "rbd": "wrong", "host": "node2", "power": "off", "stop_timeout": "9"}
    found = described(own, {"cloud-config": ""}, options=("-m", "512")).machine
    assert found.options == ("-m", "512")
    assert found.hosts == ("node2",)
    assert found.power is Power.off
    assert found.stop_timeout == 9
    assert found.disks == ()
    assert found.nics == ()


def test_in_argv_mode_keys_may_be_absent_and_the_vm_too() -> None:
    config = settings.parse({"CLOUD_CONFIG": "http://seeds/7"}, options=["-m", "512"])
    found = describe(config, {}, {}).machine
    assert (found.vm, found.hostname) == ("", "localhost")
    assert found.guest.user_data == Document(url="http://seeds/7")


def test_how_the_guest_is_set_up() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxWcKcGcTnGZ0C1kcWc7N3mU1q5y2yWwP9Fz2n3YV5k a b"
    own = {
        "meta_data": "a: b",
        "network_config": "http://seeds/net",
        "ssh_authorized_keys": f'# mine\n{key}\n\n  from="a b" {key}',
        "default_user_password": "a: b",
        "cmds": "echo a\n\n  echo b",
        "env/B": "b\n",
        "env/A": "",
        "timezone": "Etc/GMT+1",
    }
    assert machine(own).guest == Guest(
        meta_data=Document(inline="a: b"),
        network_config=Document(url="http://seeds/net"),
        ssh_authorized_keys=(key, f'from="a b" {key}'),
        password="a: b",  # noqa: S106 - a made-up one
        commands=("echo a", "  echo b"),
        env=(("A", ""), ("B", "b")),
        timezone="Etc/GMT+1",
    )
    assert described(own, options=("-nodefaults",)).machine.guest == machine(own).guest


def test_two_sources_of_one_network_are_a_fault() -> None:
    own = {"network_config": "version: 2", "nics/a/address": "10.0.0.2/24", "nics/a/dns": "::1"}
    assert faults(own) == [
        "network_config: says what nics/a/address says: remove one of them",
        "network_config: says what nics/a/dns says: remove one of them",
    ]


def test_shared_folders() -> None:
    own = {
        "shares/b/path": "/srv",
        "shares/a/path": "/data/a b,c",
        "shares/a/read_only": "on",
        "shares/a/mount": "/mnt/a",
    }
    assert described(own, host_toml='share_paths = ["/srv/", "/data"]').machine.shares == (
        Share(name="a", path="/data/a b,c", read_only=True, mount="/mnt/a"),
        Share(name="b", path="/srv"),
    )


def test_shared_folders_that_contradict() -> None:
    own = {
        **{f"shares/s{number}/path": "/srv" for number in range(8)},
        "shares/s0/mount": "/mnt",
        "shares/s1/mount": "/mnt",
        "shares/a/mount": "/mnt",
        "shares/-/path": "/srv",
        "shares/s8/path": "/srv",
    }
    with pytest.raises(ConfigError) as caught:
        described(own, host_toml='share_paths = ["/srv"]')
    assert sorted(caught.value.lines()) == [
        "shares/-: its name must be 1 to 26 of a-z, 0-9, - and _, and start with neither sign",
        "shares/a/path: is not set",
        "shares/s1/mount: '/mnt': is where shares/s0 is mounted",
        "shares: 9 shared folders, and there is room for 8",
    ]
