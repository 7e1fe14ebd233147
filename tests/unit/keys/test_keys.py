"""The KEYS table: that it is whole, and that its documentation is it."""

import dataclasses
from pathlib import Path

import pytest

from holdfast import keys
from holdfast.keys import KEYS, SECTIONS, WRITTEN, Key, reference
from holdfast.keys.guest import GUEST
from holdfast.machine import Disk, Guest, Machine, Nic, Share

DOCUMENT = Path(__file__).parents[3] / "docs" / "keys.md"

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxWcKcGcTnGZ0C1kcWc7N3mU1q5y2yWwP9Fz2n3YV5k a b"

# A value for each key that is good by itself.
GOOD = {
    "host": "a b.example.org",
    "ram": "1G",
    "mac": "52:54:00:12:34:56",
    "rbd": "/vms/7",
    "spice_port": "5907",
    "extra_flags": "-device 'virtio-balloon,id=a b'",
    "cloud-config": "https://example.org/7.yaml",
    "cpus": "2",
    "cpus_max": "8",
    "cpu_topology": "threads:2,cores:4",
    "cpu_set": "0-3,8",
    "ram_max": "4G",
    "hugepages": "2M",
    "cpu_weight": "10000",
    "cpu_model": "Westmere-v1",
    "machine": "pc-q35-7.2",
    "accelerator": "tcg",
    "kernel": "/images/vmlinuz",
    "initrd": "/images/initrd.img",
    "cmdline": "console=ttyS0 quiet",
    "arch": "qemu-system-aarch64",
    "firmware": "uefi-secure",
    "tpm": "2.0",
    "uuid": "6F2C0F7E-5D0C-4B61-9D49-3C1DDC5AC8D5",
    "hostname": "Web-1",
    "guest_agent": "off",
    "rng": "no",
    "rtc": "localtime",
    "hyperv": "on",
    "balloon": "off",
    "watchdog": "pause",
    "boot_order": "nic0 disks/root",
    "display": "vnc",
    "video": "virtio",
    "vnc_port": "5900",
    "vnc_addr": "::1",
    "vnc_password": "a, b",
    "spice_addr": "::1",
    "spice_password": "a, b",
    "title": "The web",
    "description": "A line,\nand another",
    "tags": "web\nof everybody",
    "power": "OFF",
    "on_poweroff": "restart",
    "on_reboot": "stop",
    "on_crash": "pause",
    "stop_timeout": "60",
    "disks/<name>/rbd": "vms/space/7",
    "disks/<name>/path": "/images/a.raw",
    "disks/<name>/pool": "default",
    "disks/<name>/size": "10GiB",
    "disks/<name>/format": "qcow2",
    "disks/<name>/kind": "cdrom",
    "disks/<name>/primary": "on",
    "disks/<name>/read_only": "on",
    "disks/<name>/serial": "WD-1_2",
    "disks/<name>/source/image": "https://images.example/debian.qcow2.xz",
    "disks/<name>/source/member": "./images/disk.raw",
    "disks/<name>/source/volume": "8-root",
    "disks/<name>/source/format": "qcow2",
    "disks/<name>/source/checksum": "MD5:" + 32 * "0",
    "disks/<name>/chained": "on",
    "disks/<name>/sparse": "off",
    "disks/<name>/bus": "scsi",
    "disks/<name>/devname": "vdb",
    "disks/<name>/boot": "2",
    "disks/<name>/aio": "io_uring",
    "disks/<name>/discard": "ignore",
    "disks/<name>/iothread": "off",
    "disks/<name>/iops": "500",
    "disks/<name>/bps": "50M",
    "disks/<name>/cache": "writeback",
    "nics/<name>/mode": "user",
    "nics/<name>/bridge": "br0.100",
    "nics/<name>/mac": "02-00-00-00-00-01",
    "nics/<name>/model": "e1000",
    "nics/<name>/vlan": "4094",
    "nics/<name>/device": "eth0",
    "nics/<name>/macvtap_mode": "vepa",
    "nics/<name>/queues": "4",
    "nics/<name>/mtu": "9000",
    "nics/<name>/link": "off",
    "nics/<name>/ports": "8080:80\n[::1]:53:53/udp",
    "nics/<name>/address": "10.77.0.5/24\nfd00:77::5/64",
    "nics/<name>/gateway": "10.77.0.1 fd00:77::1",
    "nics/<name>/dns": "1.1.1.1",
    "nics/<name>/search": "example.org lan",
    "user_data": "#cloud-config\n",
    "meta_data": "public-keys: []",
    "network_config": "version: 2",
    "ssh_authorized_keys": PUBLIC_KEY,
    "default_user_password": "a: 'b' \"c\" # {d}",
    "cmds": "echo a\necho 'b: c' # d",
    "env/<name>": "a\nb",
    "shares/<name>/path": "/srv/www",
    "shares/<name>/read_only": "on",
    "shares/<name>/mount": "/var/www",
    "usb/<name>": "0951:1666",
    "pci/<name>": "03:00.0",
    "timezone": "America/Argentina/Buenos_Aires",
}


def test_every_key_takes_a_good_value() -> None:
    assert GOOD.keys() == KEYS.keys()
    for name, text in GOOD.items():
        KEYS[name].parse(text)


def field_names(kind: type[Machine | Disk | Nic | Guest | Share]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_fills_a_field_that_is_there(key: Key) -> None:
    kinds: dict[str, type[Machine | Disk | Nic | Guest | Share]] = {
        "disks": Disk,
        "nics": Nic,
        "shares": Share,
    }
    kind = Guest if key in GUEST else kinds.get(key.name.partition("/")[0], Machine)
    assert not key.field or key.field in field_names(kind)
    assert not key.same_as or keys.find(key.same_as)


def test_no_field_is_left_without_a_key() -> None:
    """But those that are made of several keys, and those of the environment."""
    filled = {key.field for key in KEYS.values()}
    made = {
        "boot_order",
        "vm",
        "disks",
        "nics",
        "guest",
        "shares",
        "usb",
        "pci",
        "env",
        "spice",
        "vnc",
        "pinned",
        "options",
        "name",
        "backend",
        "variables",
        "template",
        "mark",
        "format_named",
        "source",
    }
    kinds = (Machine, Disk, Nic, Guest, Share)
    assert {name for kind in kinds for name in field_names(kind)} <= filled | made


def test_no_key_is_in_two_places() -> None:
    assert len(KEYS) == sum(map(len, SECTIONS.values()))
    assert not KEYS.keys() & set(WRITTEN)


@pytest.mark.parametrize("name", ["lock", "status", "secret/tpm", "x/notes", "x/a/b"])
def test_what_is_passed_over(name: str) -> None:
    assert keys.is_passed_over(name)


@pytest.mark.parametrize("name", ["disks", "disks/root", "disks/a/b/size", "nics/", "", "RAM"])
def test_what_is_no_key(name: str) -> None:
    assert keys.find(name) is None
    assert keys.complaint(name).startswith("is no key of a VM")


def test_the_documented_tables_are_the_programs_own() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert reference.refreshed(document) == document, "docs/keys.md says how to renew its tables"
