"""Each key either has an effect wherever it is valid, or is refused, with the reason, where it has none."""

import pytest
from describing import Keys, faults, machine

from holdfast import keys
from holdfast.errors import ConfigError, HostLacks
from holdfast.host import Host
from holdfast.launcher.run import refuse_to_wait

LOCAL = {"disks/d/path": "/images/d.raw"}
CDROM = {"disks/d/path": "/images/d.iso", "disks/d/kind": "cdrom"}
LUN = {"disks/d/path": "/images/d", "disks/d/kind": "lun"}
CEPH = {"disks/d/rbd": "vms/d"}
POOLED = {"disks/d/pool": "default", "disks/d/size": "1G"}
USER, CABLELESS = {"nics/a/mode": "user"}, {"nics/a/mode": "none"}
MACVTAP = {"nics/a/mode": "macvtap", "nics/a/device": "eth0"}
BRIDGE = {"nics/a/bridge": "br0"}

# By the key that would have no effect: the keys beside which it has none, its value, and the reason.
REFUSED = [
    ("spice_addr", {}, "::", "needs spice_port"),
    ("spice_password", {}, "x", "needs spice_port"),
    ("spice_password", {"vnc_port": "5900"}, "none", "needs spice_port"),
    ("vnc_addr", {}, "::", "needs vnc_port"),
    ("vnc_password", {}, "x", "needs vnc_port"),
    ("vnc_password", {"spice_port": "5900"}, "none", "needs vnc_port"),
    ("display", {}, "vnc", "needs vnc_port"),
    ("hyperv", {"accelerator": "tcg"}, "on", "needs KVM"),
    ("hyperv", {"arch": "aarch64"}, "on", "is not there for aarch64"),
    ("firmware", {"arch": "aarch64"}, "bios", "is not there for aarch64"),
    ("machine", {"arch": "aarch64"}, "q35", "is no board of aarch64"),
    ("initrd", {}, "/images/i", "needs kernel"),
    ("cmdline", {}, "quiet", "needs kernel"),
    ("kernel", {"firmware": "uefi-secure"}, "/images/k", "is not signed"),
    ("boot_order", {"kernel": "/images/k", **LOCAL}, "d", "orders nothing beside kernel"),
    ("network_config", {"nics/a/dns": "1.1.1.1"}, "{}", "says what nics/a/dns says"),
    ("disks/d/boot", {"kernel": "/images/k", **LOCAL}, "1", "orders nothing beside kernel"),
    ("disks/d/boot", {"boot_order": "d", **LOCAL}, "1", "is a second order"),
    ("disks/d/format", CEPH, "qcow2", "an RBD image is raw"),
    ("disks/d/format", LUN, "qcow2", "a lun is raw"),
    ("disks/d/kind", CEPH, "lun", "give its path"),
    ("disks/d/primary", CDROM, "on", "a cdrom cannot be"),
    ("disks/d/read_only", CDROM, "off", "always read-only"),
    ("disks/d/read_only", LUN, "on", "may write"),
    ("disks/d/serial", LUN, "x", "shows the serial number of its device"),
    ("disks/d/devname", LUN, "x", "shows the serial number of its device"),
    ("disks/d/cache", LUN, "writeback", "a lun has none"),
    ("disks/d/sparse", LOCAL, "on", "is for volumes"),
    ("disks/d/sparse", CEPH, "off", "always sparse"),
    ("disks/d/sparse", {**POOLED, "disks/d/chained": "on", "disks/d/source/image": "/images/x"}, "off",
     "as it is written to"),
    ("disks/d/bus", LUN, "virtio", "a lun is on scsi"),
    ("disks/d/bus", CDROM, "nvme", "there is no cdrom on nvme"),
    ("disks/d/aio", CEPH, "threads", "is for files and block devices"),
    ("disks/d/aio", {**LOCAL, "disks/d/cache": "writeback"}, "native", "needs cache=none"),
    ("disks/d/discard", CDROM, "unmap", "read-only"),
    ("disks/d/discard", {**LOCAL, "disks/d/read_only": "on"}, "unmap", "read-only"),
    ("disks/d/discard", LUN, "ignore", "the guest's own commands"),
    ("disks/d/iothread", CDROM, "on", "is for virtio and scsi"),
    ("disks/d/iothread", {**LOCAL, "disks/d/bus": "sata"}, "on", "is for virtio and scsi"),
    ("disks/d/iops", LUN, "100", "no limits"),
    ("disks/d/bps", LUN, "1M", "no limits"),
    ("disks/d/source/image", LOCAL, "/images/x", "is for volumes"),
    ("disks/d/source/image", CEPH, "/images/x", "is for volumes"),
    ("disks/d/source/volume", LOCAL, "x", "is for volumes"),
    ("disks/d/source/member", POOLED, "x", "needs source/image"),
    ("disks/d/source/format", POOLED, "raw", "needs source/image"),
    ("disks/d/source/checksum", POOLED, "md5:" + 32 * "0", "needs source/image"),
    ("disks/d/chained", POOLED, "on", "needs source/image or source/volume"),
    ("nics/a/bridge", USER, "br0", "needs mode bridge"),
    ("nics/a/bridge", MACVTAP, "br0", "needs mode bridge"),
    ("nics/a/bridge", CABLELESS, "br0", "needs mode bridge"),
    ("nics/a/vlan", USER, "7", "needs mode bridge"),
    ("nics/a/vlan", MACVTAP, "7", "needs mode bridge"),
    ("nics/a/device", BRIDGE, "eth0", "needs mode macvtap"),
    ("nics/a/macvtap_mode", BRIDGE, "vepa", "needs mode macvtap"),
    ("nics/a/mtu", {**BRIDGE, "nics/a/model": "e1000"}, "1400", "needs model virtio"),
    ("nics/a/mtu", USER, "9000", "at most 1500"),
    ("nics/a/queues", USER, "2", "needs mode bridge or macvtap"),
    ("nics/a/queues", {**BRIDGE, "nics/a/model": "e1000"}, "2", "needs model virtio"),
    ("nics/a/link", CABLELESS, "on", "mode none has none"),
    ("nics/a/ports", MACVTAP, "80:80", "needs mode user or bridge"),
    ("nics/a/ports", CABLELESS, "80:80", "needs mode user or bridge"),
    ("nics/a/address", CABLELESS, "10.0.0.1/24", "no cable"),
    ("nics/a/gateway", CABLELESS, "10.0.0.1", "no cable"),
    ("nics/a/dns", CABLELESS, "10.0.0.1", "no cable"),
    ("nics/a/search", CABLELESS, "example.com", "no cable"),
]  # fmt: skip

# What counts for every VM for which it is valid.
ALWAYS = """
    host ram mac rbd spice_port vnc_port video extra_flags cloud-config user_data meta_data title description tags
    cpus cpus_max cpu_topology cpu_set cpu_weight cpu_model ram_max hugepages arch accelerator tpm uuid rtc hostname
    guest_agent rng watchdog power on_poweroff on_reboot on_crash stop_timeout ssh_authorized_keys
    default_user_password cmds env/<name> timezone shares/<name>/path shares/<name>/read_only shares/<name>/mount
    usb/<name> pci/<name> disks/<name>/rbd disks/<name>/path disks/<name>/pool nics/<name>/mode nics/<name>/mac
    nics/<name>/model
"""
# With what becomes of a disk that is there: test_disk.py; with a device of the host: test_hostdev.py.
ELSEWHERE = {"disks/<name>/size", "balloon"}


@pytest.mark.parametrize(("key", "beside", "value", "why"), REFUSED)
def test_what_would_have_no_effect_is_refused(
    key: str, beside: Keys, value: str, why: str
) -> None:
    found = faults({"ram": "1G", **beside, key: value})
    assert any(why in line for line in found), found


def test_every_key_is_in_the_tables() -> None:
    judged = {keys.row_name(key) for key, *_ in REFUSED}
    assert judged | set(ALWAYS.split()) | ELSEWHERE == set(keys.KEYS)


@pytest.mark.parametrize(
    "key",
    ["spice_addr", "vnc_password", "nics/a/bridge", "nics/a/dns", "boot_order", "disks/d/boot"],
)
def test_defaults_are_for_all_vms(key: str) -> None:
    """They are passed over where they do not apply."""
    values = {
        "spice_addr": "::",
        "vnc_password": "x",
        "nics/a/bridge": "br0",
        "nics/a/dns": "1.1.1.1",
        "disks/d/boot": "1",
    }
    own = {"ram": "1G", "kernel": "/images/k", **LOCAL, **CABLELESS}
    machine(own, {key: values.get(key, "d")})


def test_name_servers_reach_a_guest_with_dhcp() -> None:
    for name, value in (("dns", "1.1.1.1"), ("search", "example.com"), ("gateway", "10.0.0.1")):
        assert machine({**BRIDGE, f"nics/a/{name}": value}).has_seed
    assert not machine({**USER, "nics/a/dns": "1.1.1.1"}).has_seed  # QEMU's own DHCP hands it out
    assert not machine(BRIDGE).has_seed


HOST = Host(name="node1", machine_id="m", boot_id="b")


def test_without_etcd_power_and_host_count_as_well() -> None:
    refuse_to_wait(machine({"power": "on", "host": "node1"}), HOST)
    with pytest.raises(ConfigError, match="power"):
        refuse_to_wait(machine({"power": "off"}), HOST)
    with pytest.raises(HostLacks, match="for node2, and this is node1"):
        refuse_to_wait(machine({"host": "node2"}), HOST)
