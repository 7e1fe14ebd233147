"""Values that users, scripts and attackers write. The number of a case is that of its kind."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from holdfast.__main__ import dispatch
from holdfast.cli import check
from holdfast.config import settings
from holdfast.description import describe
from holdfast.errors import SHOWN_VALUE_LENGTH, ConfigError, UsageError
from holdfast.machine import Spice

HOST_TOML = """
image_paths = ["/images"]
share_paths = ["/srv"]
usb = ["0951:1666", "04B8:*"]
pci = ["03:00.0"]
bridges = ["br0"]
default_pool = "default"
[pools.default]
kind = "directory"
path = "/pool"
"""
Text = str | bytes

# Each is one key of a VM that is otherwise sound, and the rule that the report names.
KEYS = [
    ("1", "hostname", "a\0b", "NUL"),
    ("1", "user_data", "#cloud-config\n\0", "NUL"),
    ("2", "ram", "\ufeff512M", "byte-order mark"),
    ("3", "user_data", "#cloud-config\n" + "x" * 1_500_000, "1 MiB"),
    ("8", "ram", "", "size"),
    ("9", "ram", "abc", "size"),
    ("10", "ram", "-1", "sign"),
    ("11", "ram", "0", "at least 16 MiB"),
    ("12", "ram", "1e9", "size"),
    ("13", "ram", "4 G", "blank"),
    ("13", "ram", "4.5G", "size"),
    ("13", "ram", "1_000", "size"),
    ("13", "ram", "٤G", "size"),
    ("13", "ram", "9" * 30, "too large"),
    ("13", "ram", "99999999T", "too large"),
    ("14", "cpus", "0", "1 to 255"),
    ("15", "cpus", "100000", "1 to 255"),
    ("16", "cpus", "1.5", "whole"),
    ("17", "cpus", "1_0", "whole"),
    ("18", "cpus", " 2\n", "whole"),
    ("18", "cpus", "2\n\n", "whole"),
    ("23", "hostname", "a\nb", "letters"),
    ("23", "hostname", "a\u202eb", "letters"),
    ("23", "hostname", "\N{PILE OF POO}", "letters"),
    ("23", "hostname", "-a", "not start"),
    ("23", "hostname", "a" * 64, "63"),
    ("24", "uuid", "xyz", "UUID"),
    ("24", "uuid", "{12345678-1234-1234-1234-123456789abc}", "UUID"),
    ("26", "mac", "52:54:00:12:34", "MAC"),
    ("26", "mac", "52:54:00:12:34:5g", "MAC"),
    ("27", "mac", "01:00:5e:00:00:01", "multicast"),
    ("27", "mac", "ff:ff:ff:ff:ff:ff", "multicast"),
    ("27", "mac", "00:00:00:00:00:00", "no address"),
    ("28", "mac", "5254.0012.3456", "MAC"),
    ("29", "nics/nic0/bridge", "br0; rm -rf /", "letters"),
    ("29", "nics/nic0/bridge", "a" * 16, "15"),
    ("31", "nics/nic0/bridge", "lo", "bridge"),
    ("31", "nics/nic0/bridge", "docker0", "bridges of host.toml (br0)"),
    ("34", "disks/data/path", "/etc/shadow", "image_paths of host.toml (/images)"),
    ("34", "disks/data/path", "/dev/sda", "image_paths"),
    ("34", "disks/data/path", "/images-of-others/a", "image_paths"),
    ("34", "kernel", "/boot/vmlinuz", "image_paths"),
    ("35", "disks/data/path", "../../x.qcow2", "absolute"),
    ("35", "disks/data/path", "/images/../etc/shadow", "without .."),
    ("35", "disks/data/path", "/images//a", "//"),
    ("38", "disks/data/path", 'json:{"driver":"nbd"}', "absolute"),
    ("38", "disks/data/path", "nbd://host/export", "URL"),
    ("42", "disks/data/size", "-1", "sign"),
    ("43", "rbd", "pool/image@snap", "snapshot"),
    ("43", "rbd", "image", "pool/image"),
    ("43", "rbd", "//pool/image", "pool/image"),
    ("43", "disks/data/rbd", "a/b/c/d", "pool/image"),
    ("48", "disks/data/path", "https://example.org/a.iso", "URL"),
    ("49", "extra_flags", "-drive file=x,file.locking=off", "disks/<name>"),
    ("49", "extra_flags", "-drive file=x,nofile.locking", "disks/<name>"),
    ("49", "extra_flags", "-device virtio-blk,drive=x,share-rw=on", "two writers"),
    ("49", "extra_flags", "-device virtio-blk,drive=x,share-rw", "two writers"),
    ("49", "extra_flags", "-device virtio-blk,drive=x,share_rw=true", "two writers"),
    ("49", "extra_flags", "-global virtio-blk-device.share-rw=yes", "two writers"),
    (
        "49",
        "extra_flags",
        "-global driver=virtio-blk-device,property=share-rw,value=on",
        "two writers",
    ),
    ("49", "extra_flags", "-set drive.a.file.locking=off", "two writers"),
    ("49", "extra_flags", "-blockdev driver=file,filename=x,force-share=on", "disks/<name>"),
    (
        "49",
        "extra_flags",
        """-blockdev '{"driver":"raw","file":{"driver":"file","locking":"o\\u0066f"}}'""",
        "disks/<name>",
    ),
    ("49", "extra_flags", """-device '{"drive":"a","share\\u002drw":true}'""", "two writers"),
    ("49", "extra_flags", """-device '{"driver":'""", "JSON"),
    ("49", "extra_flags", "-set drive.a.cache=unsafe", "lose"),
    ("49", "extra_flags", "-set drive.a.cache.no-flush=on", "lose"),
    ("49", "extra_flags", """-drive 'file=json:{"driver":"file"}'""", "disks/<name>"),
    ("49", "extra_flags", """-hda 'json:{"driver":"file"}'""", "disks/<name>"),
    *(
        ("50", "extra_flags", flags, "")
        for flags in (
            "-daemonize", "--daemonize", "-S", "-pidfile /x", "-runas nobody", "-chroot /",
            "-qmp stdio", "-monitor stdio", "-mon chardev=x", "-incoming defer", "-sandbox off",
            "-add-fd fd=3,set=1", "-plugin x.so", "-L /x", "-acpitable file=/x",
            "-fw_cfg name=opt/x,file=/x", "-chardev file,id=a,path=/x",
            "-chardev null,id=a,logfile=/x", "-netdev tap,id=a,script=/x",
            "-nic tap,downscript=/x", "-net user,smb=/", "-virtfs local,path=/",
            "-fsdev local,id=a,path=/", "-object memory-backend-file,id=a,mem-path=/x",
            "-object secret,id=a,file=/x", """-object '{"qom-type":"secret","file":"/x"}'""",
            "-gdb tcp::1", "-s", "-readconfig /x", "-writeconfig /x", "-D /x", "-trace file=/x",
            "-serial file:/x", "-serial unix:/x", "-no-shutdown", "-preconfig", "-version",
            "-cpu help", "-device help", "/images/another.img", "-nographic /etc/shadow",
            "-usb -snapshot ' -daemonize'", "-smbios file=/x", "-run-with user=root",
            "-unheard-of -daemonize",
        )
    ),
    ("51", "extra_flags", "-name 'a", "quotation"),
    ("53", "extra_flags", "-machine none", "without CPU"),
    ("53", "extra_flags", "-M type=none", "without CPU"),
    ("53", "machine", "none", "without CPU"),
    ("53", "machine", "q35,accel=tcg", "plain name"),
    ("54", "cpu_model", "host,migratable=off", "plain name"),
    ("55", "accelerator", "hvf", "auto, kvm, tcg"),
    ("57", "spice_port", "0", "1024 to 65535"),
    ("57", "spice_port", "80", "1024 to 65535"),
    ("57", "spice_port", "70000", "1024 to 65535"),
    ("57", "spice_port", "5900;", "1024 to 65535"),
    ("58", "spice_password", "x" * 61, "60"),
    ("58", "spice_password", "", "empty"),
    ("58", "spice_password", "a\nb", "one line"),
    ("59", "cloud-config", "file:///etc/passwd", "image_paths"),
    ("59", "cloud-config", "file:/images/../etc/passwd", "without .."),
    ("59", "cloud-config", "file://host/images/a", "absolute"),
    ("60", "cloud-config", "gopher://example.org/", "http or https"),
    ("60", "cloud-config", "ftp://example.org/", "http or https"),
    ("60", "cloud-config", "http://", "URL"),
    ("60", "cloud-config", "https://example.org/a b", "%"),
    ("32", "nics/nic0/vlan", "4095", "1 to 4094"),
    ("32", "nics/nic0/vlan", "-1", "1 to 4094"),
    ("33", "nics/nic0/mtu", "20", ""),
    ("33", "nics/nic0/mtu", "70000", ""),
    ("1", "cmds", "echo a\0b", "NUL"),
    ("34", "meta_data", "file:/etc/passwd", "image_paths"),
    ("35", "network_config", "file:/images/../etc/passwd", "without .."),
    ("60", "meta_data", "gopher://example.org/", "mapping"),
    ("60", "network_config", "- a", "mapping"),
    ("60", "network_config", "a: [", "YAML"),
    ("60", "meta_data", "a: 2020-13-45", "YAML"),
    ("60", "meta_data", "[" * 5000, "YAML"),
    ("60", "meta_data", "1: a", "mapping"),
    ("23", "env/1A", "a", "digit"),
    ("23", "env/A-B", "a", "letters"),
    ("23", "env/A", "a\x1bb", "control"),
    ("23", "timezone", "../../etc/passwd", "Europe/Berlin"),
    ("23", "timezone", "/etc/passwd", "Europe/Berlin"),
    ("23", "timezone", "Europe/Berlin UTC", "Europe/Berlin"),
    ("23", "cmds", "echo \x07", "control"),
    ("58", "default_user_password", "", "empty"),
    ("58", "default_user_password", "RANDOM", "RANDOM"),
    ("58", "default_user_password", "a\nb", "one line"),
    ("58", "default_user_password", "a" * 512, "511"),
    ("58", "ssh_authorized_keys", "-----BEGIN OPENSSH PRIVATE KEY-----", "private"),
    ("58", "ssh_authorized_keys", "ssh-ed25519 AAAA me", "base64"),
    ("58", "ssh_authorized_keys", "ssh-ed25519", "base64"),
    ("58", "ssh_authorized_keys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxWcKcGcTnGZ0C1kcWc7N3m", "base64"),
    ("58", "ssh_authorized_keys", "# none", "empty"),
    ("34", "shares/a/path", "/etc", "share_paths of host.toml (/srv)"),
    ("34", "shares/a/path", "/srv-of-others", "share_paths"),
    ("35", "shares/a/path", "/srv/../etc", "without .."),
    ("35", "shares/a/path", "srv", "absolute"),
    ("35", "shares/a/mount", "www", "absolute"),
    ("34", "usb/a", "0951:1667", "usb of host.toml (0951:1666, 04b8:*)"),
    ("34", "usb/a", "*:*", "vendor:product"),
    ("34", "usb/a", "04b8:*", "vendor:product"),
    ("34", "usb/a", "0951:1666,hostdevice=/dev/sda", "vendor:product"),
    ("34", "usb/a", "0951", "vendor:product"),
    ("34", "pci/a", "0000:03:00.1", "pci of host.toml (0000:03:00.0)"),
    ("34", "pci/a", "0001:03:00.0", "pci of host.toml (0000:03:00.0)"),
    ("35", "pci/a", "../../../etc", "PCI address"),
    ("34", "pci/a", "03:00", "function"),
    ("34", "pci/a", "03:00.8", "function"),
    ("34", "pci/a", "03:20.0", "up to 1f"),
    ("34", "pci/a", "03:00.0,sysfsdev=/x", "function"),
    ("34", "pci/a", "3:0.0", "03:00.0"),
    ("78", "power", "ture", "on or off"),
    ("78", "rng", "", "on or off"),
]  # fmt: skip

VARIABLES = [
    ("19", {"VM": "../other"}, "VM"),
    ("20", {"LOCK": "/kvm//lock"}, "LOCK"),
    ("21", {"VM": "a" * 300}, "VM"),
    ("22", {"VM": "-help"}, "VM"),
    ("23", {"VM": "a\nb"}, "VM"),
    ("23", {"VM": "a\u202eb"}, "VM"),
    ("23", {"INSTANCE": "\N{PILE OF POO}"}, "INSTANCE"),
    ("23", {"VM": "\udcff"}, "VM"),
    ("29", {"BRIDGE_IF": "br0; rm -rf /"}, "BRIDGE_IF"),
    ("67", {"VM": "7", "ETCD_ENDPOINTS": "http://e:2379", "ETCD_USERNAME": "a",
            "ETCD_PASSWORD_FILE": "/p"}, "ETCD_ENDPOINTS"),
    ("67", {"ETCD_ENDPOINTS": "http://me:secret@e:2379"}, "ETCD_ENDPOINTS"),
    ("68", {"ETCD_CERT": "/c"}, "ETCD_CERT"),
    ("68", {"ETCD_KEY": "/k"}, "ETCD_KEY"),
    ("68", {"ETCD_ENDPOINTS": "http://e:2379", "ETCD_CACERT": "/c"}, "ETCD_ENDPOINTS"),
    ("69", {"ETCD_USERNAME": "a"}, "ETCD_USERNAME"),
    ("69", {"ETCD_PASSWORD_FILE": "/p"}, "ETCD_PASSWORD_FILE"),
    ("70", {"TTL": "1"}, "TTL"),
    ("70", {"TTL": "9", "ETCD_LOSS": "stop"}, "TTL"),
    *(("71", {"TTL": text}, "TTL") for text in ("0", "-5", "1e3", "99999999999", "10s", " 10")),
    *(("73", {"KEY_PREFIX": text}, "KEY_PREFIX")
      for text in ("/", "kvm", "//", "/kvm/", "/kvm*", "/kvm/..", "/a//b")),
    *(("73", {"LOCK": text}, "LOCK")
      for text in ("/", "lock", "/lock", "/7/lock", "kvm/7/lock", "/kvm/7/", "/kvm/7/lock*",
                   "/kvm/A/lock", "/kvm/7/ram", "/kvm/7/epoch", "/kvm/7/firmware")),
    *(("78", {name: "ture"}, name) for name in ("EXEC", "STAY", "CONFIG_WAIT")),
    ("81", {"LOG_LEVEL": "foo"}, "LOG_LEVEL"),
    ("81", {"LOG_FORMAT": "xml"}, "LOG_FORMAT"),
    ("81", {"ETCD_LOSS": "ignore"}, "ETCD_LOSS"),
    ("71", {"LOCK_WAIT": "-1"}, "LOCK_WAIT"),
    ("71", {"LOCK_WAIT": "never"}, "LOCK_WAIT"),
    *(("73", {"ETCD_ENDPOINTS": text}, "ETCD_ENDPOINTS")
      for text in (",", "e:", "e:0", "e:70000", "ftp://e:2379", "http://", "[::1", "[e]:2379",
                   "::1:2379", "http://e:2379/v3", "a b;c", "http://[::1]2379")),
]  # fmt: skip


def the_one_fault(own: Mapping[str, Text], environ: Mapping[str, str] | None = None) -> str:
    config = settings.parse({"VM": "7", **(environ or {})}, host_toml=HOST_TOML)
    raw = {key: text if isinstance(text, bytes) else text.encode() for key, text in own.items()}
    with pytest.raises(ConfigError) as caught:
        describe(config, raw, {})
    (line,) = caught.value.lines()
    return line


def ids(cases: list[tuple[str, str, str, str]]) -> list[str]:
    return [f"{number}-{key}" for number, key, _, _ in cases]


@pytest.mark.parametrize(("number", "key", "text", "rule"), KEYS, ids=ids(KEYS))
def test_a_bad_value_is_refused_by_name_value_and_rule(
    number: str, key: str, text: str, rule: str
) -> None:
    sound = {"rbd": "vms/7", "disks/data/pool": "default"}
    if key == "shares/a/mount":
        sound["shares/a/path"] = "/srv"
    if key in ("disks/data/path", "disks/data/rbd"):
        del sound["disks/data/pool"]
    line = the_one_fault({**sound, key: text})
    place, _, said = line.partition(": ")
    assert place == key
    assert rule in said
    assert line.isprintable()
    assert len(said) < 3 * SHOWN_VALUE_LENGTH


@pytest.mark.parametrize(
    ("number", "environ", "name"), VARIABLES, ids=[f"{case[0]}-{case[2]}" for case in VARIABLES]
)
def test_a_bad_variable_is_refused(number: str, environ: Mapping[str, str], name: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings.parse(environ)
    (line,) = caught.value.lines()
    assert line.startswith(f"{name}: ")
    assert line.isprintable()
    assert "secret" not in line
    assert caught.value.status == 64


def test_3_a_value_of_bytes_that_are_no_text() -> None:
    assert the_one_fault({"title": b"a\xff"}) == "title: is not UTF-8 text (byte 1)"


def test_4_ten_thousand_keys() -> None:
    line = the_one_fault({f"disks/d{number}/size": "1G" for number in range(10_000)})
    assert line == "/kvm/7/: 10000 keys, and a VM may have 1000; notes belong under x/"


@pytest.mark.parametrize(
    ("number", "key", "near"),
    [
        ("5", "rma", "ram"),
        ("6", "Ram", "ram"),
        ("5", "disks/root/siez", "disks/root/size"),
        ("5", "disk/root/path", "disks/root/path"),
        ("5", "cloud_config", "cloud-config"),
        ("5", "user-data", "user_data"),
        ("5", "secrets/x", ""),
    ],
)
def test_an_unknown_key_is_a_warning_with_the_nearest_name(
    number: str, key: str, near: str
) -> None:
    config = settings.parse({"VM": "7"})
    (line,) = describe(config, {"ram": b"1G", key: b"4G"}, {}).unknown
    advice = f"; did you mean {near}?" if near else ""
    assert line == f"{key}: is no key of a VM{advice}"


def test_7_ram_may_be_missing() -> None:
    config = settings.parse({"VM": "7"})
    assert describe(config, {"title": b"x"}, {}).machine.ram == 1024 * 1024**2


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512 * 1024**2),
        ("4G", 4 * 1024**3),
        ("4g", 4 * 1024**3),
        ("4GiB", 4 * 1024**3),
        ("4gib", 4 * 1024**3),
        ("4GB", 4 * 10**9),
        ("4096m", 4 * 1024**3),
        ("1T\n", 1024**4),
        ("65536K", 64 * 1024**2),
    ],
)
def test_13_one_grammar_of_sizes(text: str, size: int) -> None:
    config = settings.parse({"VM": "7"})
    assert describe(config, {"ram": text.encode()}, {}).machine.ram == size


def test_18_the_newline_of_etcdctl_is_dropped() -> None:
    config = settings.parse({"VM": "7"})
    assert describe(config, {"cpus": b"2\n"}, {}).machine.cpus == 2


def test_28_dashes_are_normalised() -> None:
    config = settings.parse({"VM": "7"})
    (nic,) = describe(config, {"mac": b"52-54-00-AB-CD-EF"}, {}).machine.nics
    assert nic.mac == "52:54:00:ab:cd:ef"


def test_37_commas_are_left_to_the_builder() -> None:
    config = settings.parse({"VM": "7"}, host_toml=HOST_TOML)
    own = {"disks/root/path": b"/images/we,ird .qcow2", "disks/root/format": b"qcow2"}
    assert str(describe(config, own, {}).machine.disks[0].backend) == "/images/we,ird .qcow2"


@pytest.mark.parametrize(
    "own",
    [
        {"rbd": "vms/7", "disks/data/rbd": "/vms/7"},
        {"disks/root/path": "/images/a", "disks/data/path": "/images/a"},
        {"disks/root/pool": "default", "disks/data/path": "/pool/7-root.raw"},
        {
            "disks/root/path": "/images/a",
            "disks/data/path": "/images/a",
            "disks/data/kind": "cdrom",
        },
    ],
)
def test_45_the_same_disk_twice(own: Mapping[str, str]) -> None:
    host_toml = HOST_TOML.replace('"/images"', '"/images", "/pool"')
    config = settings.parse({"VM": "7"}, host_toml=host_toml)
    with pytest.raises(ConfigError, match="is the same disk as"):
        describe(config, {key: text.encode() for key, text in own.items()}, {})


def test_47_forty_disks() -> None:
    own = {f"disks/d{number}/pool": "default" for number in range(39)}
    line = the_one_fault({"rbd": "vms/7", **own})
    assert line == "disks: 41 disks, network cards and PCI devices, and there are slots for 20"


def test_52_no_shell_sees_extra_flags() -> None:
    config = settings.parse({"VM": "7"})
    own = {"extra_flags": b"-name '$(id)' -append `id`"}
    machine = describe(config, own, {}).machine
    assert machine.extra_flags == ("-name", "$(id)", "-append", "`id`")


def test_58_a_password_is_never_shown() -> None:
    config = settings.parse({"VM": "7"})
    own = {"spice_port": b"5900", "spice_password": b"Secret," * 10}
    with pytest.raises(ConfigError) as caught:
        describe(config, own, {"spice_password": b"{{ Secret }}"})
    assert "Secret" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        describe(config, {"ram": b"1G"}, {"spice_password": b"{% Secret %}{{ Secret }}"})
    assert "Secret" not in str(caught.value)
    machine = describe(config, {**own, "spice_password": b"Secret,"}, {}).machine
    assert machine.spice == Spice(port=5900, password="Secret,")  # noqa: S106 - a made-up one
    assert "Secret" not in repr(machine)


def test_58_a_password_in_a_url_or_a_document_is_never_shown() -> None:
    for text in ("http://me:Secret@exa mple/", "password: Secret\nx: y", "ftp://me:Secret@e/"):
        assert "Secret" not in the_one_fault({"user_data": text})
    for key in ("default_user_password", "cmds", "env/A", "meta_data", "network_config"):
        assert "Secret" not in the_one_fault({key: "[Secret\x07"})


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ vm.__init__.__globals__ }}",
        "{{ undefined }}",
        "{{ vm",
        "{% raise %}",
        "{{ 1 / 0 }}",
        "{{ range(1000000) | list }}",
    ],
)
def test_65_66_a_template_may_not_reach_out(template: str) -> None:
    config = settings.parse({"VM": "7", "HOSTNAME": "a"})
    with pytest.raises(ConfigError) as caught:
        describe(config, {"ram": b"1G"}, {"title": template.encode()})
    (fault,) = caught.value.faults
    assert fault.key == "title (_defaults)"


def test_65_a_vms_own_text_is_no_template() -> None:
    config = settings.parse({"VM": "7"})
    text = "#cloud-config\nruncmd: ['echo {{ ''.__class__ }}']"
    user_data = describe(config, {"user_data": text.encode()}, {}).machine.guest.user_data
    assert user_data
    assert user_data.inline == text


def test_82_utf_8_survives_a_c_locale() -> None:
    escaped = "-name Zürich".encode().decode("ascii", errors="surrogateescape")
    config = settings.parse({"VM": "7", "EXTRA_FLAGS": escaped})
    assert describe(config, {}, {}).machine.extra_flags == ("-name", "Zürich")


# Rows of the list of bad inputs, 1 to 86, that are held elsewhere: they need a host, or another server.
ROWS = range(1, 87)
ELSEWHERE = {
    25: "unit/description/test_nic.py::test_v16_faults_of_network_cards",
    30: "unit/system/test_host.py::test_what_is_wrong_with_a_bridge",
    36: "integration/test_local_disks.py::test_it_is_no_disk",
    39: "integration/test_local_disks.py::test_it_is_no_disk",
    40: "integration/test_local_disks.py::test_a_qcow2_that_leads_elsewhere",
    41: "integration/test_local_disks.py::test_it_is_no_disk",
    44: "integration/test_rbd.py::",
    46: "integration/test_local_disks.py::test_an_image_that_another_vm_has",
    55: "unit/system/test_host.py::test_kvm_is_judged",
    56: "integration/test_machine.py::test_56_a_port_of_the_screen_that_somebody_has",
    61: "processes/test_fetch.py::",
    62: "processes/test_fetch.py::",
    63: "processes/test_fetch.py::test_a_body_over_the_limit_is_refused",
    64: "integration/test_nomad_disks.py::test_the_wrong_checksum",
    72: "unit/ownership/test_ownership.py::test_a_lease_too_short_for_its_endpoints_is_refused",
    74: "unit/description/test_description.py::test_a_variable_before_the_key_before_the_default_before_what_is_built_in",
    75: "unit/qemu/test_argv.py::test_wrong_arguments_are_status_64",
    79: "unit/system/test_host.py::test_each_missing_capability_is_named_with_its_option",
    80: "unit/system/test_host.py::test_each_missing_right_has_its_option",
    83: "e2e/test_rights.py::",
    84: "processes/test_surroundings.py::test_84_a_closed_stdin",
    85: "integration/test_run.py::test_an_edited_key_waits_for_the_next_start",
    86: "integration/test_run.py::test_an_edited_key_waits_for_the_next_start",
}
# What nobody has built yet. This list must become empty.
PENDING: dict[int, str] = {}


def held_here() -> set[int]:
    own = Path(__file__).read_text(encoding="utf-8")
    named = re.findall(r"^def test_((?:\d+_)+)", own, flags=re.MULTILINE)
    tabled = {int(case[0]) for case in KEYS} | {int(case[0]) for case in VARIABLES}
    return (
        tabled | {5, 6} | {int(number) for name in named for number in name.split("_") if number}
    )


def test_every_row_of_the_list_is_held() -> None:
    held = held_here() | ELSEWHERE.keys() | PENDING.keys()
    assert held == set(ROWS)
    assert not held_here() & PENDING.keys()


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_is_held_elsewhere_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    assert f"def {name}" in text


def test_76_an_argument_twice() -> None:
    with pytest.raises(UsageError, match="--file: is given twice"):
        check.main(["--file", "/a", "--file", "/b"], {})


@pytest.mark.parametrize("word", ["--help", "-h", "help", "version"])
def test_77_help_needs_no_sound_environment(word: str) -> None:
    assert dispatch([word], {"TTL": "x", "VM": "-", "HOLDFAST_CONFIG": "/nonexistent"}) == 0
