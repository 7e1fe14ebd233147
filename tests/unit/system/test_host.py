"""What the probes saw, and what is made of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import ConfigError, HoldfastError, HostLacks
from holdfast.host import Access, Host, Kvm, KvmFacts, judge, kvm_group, kvm_lack
from holdfast.machine import Accelerator, Arch, Machine
from holdfast.network import bridge, bridge_helper
from holdfast.network.bridge import Link
from holdfast.system import capability, device, probe
from holdfast.system.capability import Capability

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
flags\t\t: fpu vme de pse tsc msr pae sse2 ht tm pbe lm monitor ds_cpl vmx smx est ssse3 x2apic
vmx flags\t: vnmi preemption_timer invvpid ept_x_only

processor\t: 1
flags\t\t: fpu
"""
INTEL_SWITCHED_OFF = INTEL.replace(" vmx smx", " smx")
AMD = """processor\t: 0
vendor_id\t: AuthenticAMD
flags\t\t: fpu vme de pse tsc msr pae sse2 ht lm cmp_legacy svm extapic cr8_legacy abm sse4a
"""
GUEST = """processor\t: 0
vendor_id\t: GenuineIntel
flags\t\t: fpu vme de pse tsc msr pae sse2 ss ht lm ssse3 fma cx16 x2apic hypervisor lahf_lm
"""
NESTED = GUEST.replace(" hypervisor", " hypervisor vmx")
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics
"""

MISC_WITH_BOTH = "200 tun\n237 loop-control\n229 fuse\n235 autofs\n232 kvm\n183 hw_random\n"
MISC_WITHOUT = "237 loop-control\n229 fuse\n"


@pytest.mark.parametrize(
    ("arch", "cpuinfo", "node", "owner", "expected"),
    [
        ("x86_64", INTEL, Access.open, (0o660, 104), Kvm.usable),
        ("x86_64", AMD, Access.open, (0o666, 0), Kvm.usable),
        ("x86_64", NESTED, Access.open, (0o660, 104), Kvm.usable),
        ("aarch64", ARM, Access.open, (0o660, 36), Kvm.usable),
        ("x86_64", INTEL_SWITCHED_OFF, Access.open, (0o660, 104), Kvm.no_extension),
        ("x86_64", INTEL_SWITCHED_OFF, Access.absent, (0, 0), Kvm.no_extension),
        ("x86_64", GUEST, Access.open, (0o660, 104), Kvm.not_nested),
        ("x86_64", GUEST, Access.unmade, (0, 0), Kvm.not_nested),
        ("x86_64", "", Access.open, (0o666, 0), Kvm.no_extension),
        ("x86_64", INTEL, Access.absent, (0, 0), Kvm.no_module),
        ("aarch64", ARM, Access.absent, (0, 0), Kvm.no_module),
        ("x86_64", INTEL, Access.unmade, (0, 0), Kvm.no_node),
        ("x86_64", AMD, Access.forbidden, (0, 0), Kvm.forbidden),
        ("x86_64", AMD, Access.denied, (0, 0), Kvm.denied),
        ("aarch64", ARM, Access.foreign, (0, 0), Kvm.foreign),
        ("x86_64", INTEL, Access.open, (0o600, 0), Kvm.no_group),
        ("x86_64", INTEL, Access.open, (0o600, 104), Kvm.no_group),
        ("x86_64", INTEL, Access.open, (0o660, 0), Kvm.no_group),
        ("x86_64", INTEL, Access.open, (0o640, 104), Kvm.no_group),
    ],
)
def test_kvm_is_judged(
    arch: str, cpuinfo: str, node: Access, owner: tuple[int, int], expected: Kvm, tmp_path: Path
) -> None:
    recorded = tmp_path / "cpuinfo"
    recorded.write_text(cpuinfo)
    flags = probe.cpu_flags(str(recorded))
    mode, gid = owner
    assert judge(KvmFacts(arch=arch, flags=flags, node=node, mode=mode, gid=gid)) is expected


@pytest.mark.parametrize(
    ("mode", "gid", "expected"),
    [(0o660, 104, 104), (0o666, 104, None), (0o600, 104, None), (0o660, 0, None)],
)
def test_qemu_joins_the_group_of_the_node_only_if_that_helps(
    mode: int, gid: int, expected: int | None
) -> None:
    flags = frozenset({"vmx"})
    facts = KvmFacts(arch="x86_64", flags=flags, node=Access.open, mode=mode, gid=gid)
    assert kvm_group(facts) == expected


def test_each_reason_against_kvm_has_its_own_words() -> None:
    errors = [kvm_lack(kvm) for kvm in Kvm if kvm is not Kvm.usable]
    assert len({error.message for error in errors}) == len(errors)
    assert len({error.hint for error in errors}) == len(errors)
    assert all(error.hint and error.status == 77 for error in errors)


@pytest.mark.parametrize(
    ("kvm", "words"),
    [
        (Kvm.no_extension, "firmware"),
        (Kvm.not_nested, "nested=1"),
        (Kvm.no_module, "modprobe"),
        (Kvm.no_node, "--device /dev/kvm"),
        (Kvm.forbidden, "--device-cgroup-rule 'c 10:232 rwm'"),
    ],
)
def test_the_hint_says_what_to_do(kvm: Kvm, words: str) -> None:
    assert words in kvm_lack(kvm).hint


@pytest.mark.parametrize(
    ("wanted", "kvm", "expected"),
    [
        (Accelerator.auto, Kvm.usable, Accelerator.kvm),
        (Accelerator.auto, Kvm.not_nested, Accelerator.tcg),
        (Accelerator.kvm, Kvm.not_nested, Accelerator.kvm),
        (Accelerator.tcg, Kvm.usable, Accelerator.tcg),
    ],
)
def test_auto_takes_what_works(wanted: Accelerator, kvm: Kvm, expected: Accelerator) -> None:
    host = Host(name="a", machine_id="m", boot_id="b", kvm=kvm)
    machine = Machine(vm="7", hostname="7", uuid="", machine="q35", accelerator=wanted)
    assert host.accelerator(machine) is expected


def test_kvm_is_for_the_hosts_own_architecture() -> None:
    machine = Machine(vm="7", hostname="7", uuid="", machine="virt", arch=Arch.aarch64)
    host = Host(name="a", machine_id="m", boot_id="b", kvm=Kvm.usable)
    assert host.accelerator(machine) is Accelerator.tcg
    arm = replace(host, arch="aarch64", qemu="/usr/bin/qemu-system-aarch64")
    assert arm.accelerator(machine) is Accelerator.kvm
    assert arm.emulator(Arch.aarch64) == arm.qemu


def test_q3_an_emulator_that_is_not_installed_is_named_with_the_way_to_it() -> None:
    host = Host(name="a", machine_id="m", boot_id="b")
    with pytest.raises(HostLacks, match="qemu-system-aarch64 is not installed here") as caught:
        host.emulator(Arch.aarch64)
    assert 'EMULATORS="aarch64"' in caught.value.hint
    installed = replace(host, emulators={"aarch64": "/opt/qemu-system-aarch64"})
    assert installed.emulator(Arch.aarch64) == "/opt/qemu-system-aarch64"


def test_minors_of_proc_misc() -> None:
    minors = device.minors(MISC_WITH_BOTH)
    assert (minors["tun"], minors["kvm"]) == (200, 232)
    assert "kvm" not in device.minors(MISC_WITHOUT)


def test_a_device_the_kernel_lacks_is_not_made(tmp_path: Path) -> None:
    misc = tmp_path / "misc"
    misc.write_text(MISC_WITHOUT)
    tun = device.Device(name="tun", path=str(tmp_path / "net" / "tun"))
    assert device.provide(tun, misc=str(misc)) is Access.absent
    assert not (tmp_path / "net").exists()
    with pytest.raises(HostLacks) as caught:
        device.require(tun, misc=str(misc))
    assert "modprobe tun" in caught.value.hint


def test_a_folder_in_the_place_of_the_node_is_named(tmp_path: Path) -> None:
    tun = device.Device(name="tun", path=str(tmp_path))
    assert device.provide(tun) is Access.foreign


def test_a_file_in_the_place_of_the_node_is_named(tmp_path: Path) -> None:
    (tmp_path / "tun").touch()
    tun = device.Device(name="tun", path=str(tmp_path / "tun"))
    assert device.provide(tun) is Access.foreign


def status(*effective: Capability, uid: int = 0) -> str:
    mask = sum(1 << number for number in effective)
    return f"Name:\tholdfast\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{mask:016x}\nCapBnd:\t{mask:016x}\n"


@pytest.fixture
def proc_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "status"
    monkeypatch.setattr(capability, "STATUS", str(path))
    return path


def test_nothing_is_said_when_all_capabilities_are_there(proc_status: Path) -> None:
    proc_status.write_text(status(*capability.CONFINE, Capability.NET_ADMIN))
    capability.require(*capability.CONFINE, Capability.NET_ADMIN)


def test_each_missing_capability_is_named_with_its_option(proc_status: Path) -> None:
    proc_status.write_text(status(Capability.SETUID, Capability.SETGID, Capability.SETPCAP))
    with pytest.raises(HostLacks) as caught:
        capability.require(*capability.CONFINE, Capability.NET_ADMIN)
    assert "CAP_CHOWN, CAP_KILL, CAP_NET_ADMIN" in caught.value.message
    assert "SETUID" not in caught.value.message
    assert "--cap-add CHOWN --cap-add KILL --cap-add NET_ADMIN" in caught.value.hint


def test_somebody_who_is_not_root_is_told_so(proc_status: Path) -> None:
    proc_status.write_text(status(uid=1000))
    with pytest.raises(HostLacks, match="uid 1000") as caught:
        capability.require(Capability.KILL)
    assert "root" in caught.value.hint
    assert "--cap-add" not in caught.value.hint


@pytest.mark.parametrize(
    ("access", "effective", "words"),
    [
        (Access.unmade, (), "--cap-add MKNOD --device-cgroup-rule 'c 10:200 rwm'"),
        (Access.unmade, (), "--device /dev/net/tun"),
        (Access.unmade, (Capability.MKNOD,), "user namespace"),
        (Access.forbidden, (Capability.MKNOD,), "--device-cgroup-rule 'c 10:200 rwm'"),
        (Access.denied, (), "--user 0"),
        (Access.absent, (), "modprobe tun"),
        (Access.foreign, (), "--device /dev/net/tun"),
    ],
)
def test_each_missing_right_has_its_option(
    access: Access, effective: tuple[Capability, ...], words: str, proc_status: Path
) -> None:
    proc_status.write_text(status(*effective))
    assert words in device.lack(device.TUN, access, 200).hint


MOUNTS = "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
HOST_ROOT = "27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
CONTAINER_ROOT = "600 500 0:50 / / rw,relatime master:9 - overlay overlay rw,lowerdir=/l\n"
MOUNTED_ID = "700 600 8:1 /etc/machine-id {path} ro,relatime - ext4 /dev/sda1 rw\n"
UUID = "4C4C4544-0042-3510-8052-B4C04F4D3232"


@pytest.mark.parametrize(
    ("uuid", "own", "mountinfo", "expected"),
    [
        (UUID, "abc", HOST_ROOT, f"dmi:{UUID.lower()}"),
        (UUID, "abc", CONTAINER_ROOT, f"dmi:{UUID.lower()}"),
        ("03000200-0400-0500-0006-000700080009", "abc", HOST_ROOT, "machine-id:abc"),
        (None, "abc", HOST_ROOT, "machine-id:abc"),
        (None, "abc", CONTAINER_ROOT, "name:kvm1"),
        (None, "abc", CONTAINER_ROOT + MOUNTED_ID, "machine-id:abc"),
        (None, "", HOST_ROOT, "name:kvm1"),
        (None, "uninitialized", HOST_ROOT, "name:kvm1"),
        (None, None, HOST_ROOT, "name:kvm1"),
    ],
)
def test_an_id_that_hosts_may_share_is_not_used(
    uuid: str | None, own: str | None, mountinfo: str, expected: str, machine: Path
) -> None:
    mounts = mountinfo.format(path=machine / "MACHINE_ID")
    texts = {"PRODUCT_UUID": uuid, "MACHINE_ID": own, "MOUNTINFO": MOUNTS + mounts}
    for name, text in texts.items():
        if text is not None:
            (machine / name).write_text(text + "\n")
    assert probe.machine_id("kvm1") == expected


def test_a_containers_mark_is_enough(machine: Path) -> None:
    (machine / "MACHINE_ID").write_text("abc\n")
    (machine / "MOUNTINFO").write_text(HOST_ROOT)
    (machine / "mark").touch()
    assert probe.machine_id("kvm1") == "name:kvm1"


@pytest.mark.parametrize("name", ["", "localhost", "localhost.localdomain"])
def test_what_a_machine_without_a_name_is_called_is_no_id(name: str, machine: Path) -> None:
    (machine / "MOUNTINFO").write_text(CONTAINER_ROOT)
    boot = Path(probe.BOOT_ID).read_text().strip()
    assert probe.machine_id(name) == f"boot:{boot}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose files are those in this folder."""
    for name in ("PRODUCT_UUID", "MACHINE_ID", "MOUNTINFO"):
        monkeypatch.setattr(probe, name, str(tmp_path / name))
    monkeypatch.setattr(probe, "CONTAINER_MARKS", (str(tmp_path / "mark"),))
    return tmp_path


def test_a_link_that_is_up_and_a_bridge_is_fine() -> None:
    assert bridge.judge("br0", Link(kind="bridge", up=True), "BRIDGE_IF") is None


@pytest.mark.parametrize(
    ("link", "kind", "words"),
    [
        (None, HostLacks, "`ip link add br0 type bridge && ip link set br0 up`"),
        (Link(kind="bridge", up=False), HostLacks, "`ip link set br0 up`"),
        (Link(kind="veth", up=True), ConfigError, "of kind veth"),
        (Link(kind="loopback", up=True), ConfigError, "must be a bridge"),
    ],
)
def test_what_is_wrong_with_a_bridge(link: Link | None, kind: type, words: str) -> None:
    error = bridge.judge("br0", link, "nics/lan/bridge")
    assert isinstance(error, HoldfastError)
    assert type(error) is kind
    assert words in "\n".join(error.lines())
    assert error.message.startswith("nics/lan/bridge: ")


@pytest.mark.parametrize(("permitted", "words"), [(("br0", "br1"), "br0, br1"), ((), "none")])
def test_only_permitted_bridges(permitted: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bridge.check("docker0", permitted=permitted, key="nics/lan/bridge")
    assert caught.value.faults[0].key == "nics/lan/bridge"
    assert words in caught.value.hint


def test_the_helpers_list_names_these_bridges_only(tmp_path: Path) -> None:
    path = tmp_path / "qemu" / "bridge.conf"
    path.parent.mkdir()
    bridge_helper.write_acl(["br1", "br0", "br1"], str(path))
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert lines == ["allow br0", "allow br1"]
    assert path.stat().st_mode & 0o777 == 0o644
    bridge_helper.write_acl(["br2"], str(path))
    assert [line for line in path.read_text().splitlines() if line[0] != "#"] == ["allow br2"]
    assert list(path.parent.iterdir()) == [path]


def test_a_list_that_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "bridge.conf"
    bridge_helper.write_acl(["br0"], str(path))
    before = path.stat()
    bridge_helper.write_acl(["br0"], str(path))
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("text", ["", "allow all\n", "deny br0\n", "# ours\nallow br1", "\udcff"])
def test_an_administrators_list_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bridge.conf"
    path.write_bytes(text.encode(errors="surrogateescape"))
    bridge_helper.write_acl(["br0"], str(path))
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_a_list_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "qemu").touch()  # where the folder should be
    with (
        pytest.raises(HostLacks) as caught,
        bridge_helper.listed(["br0"], f"{tmp_path}/qemu/bridge.conf"),
    ):
        pass
    assert f"{tmp_path}/qemu" in caught.value.hint
