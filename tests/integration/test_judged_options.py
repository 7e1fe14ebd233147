"""All that the installed QEMUs have is judged: it is harmless (qemu/harmless.py), or it is refused, by name.

An option, object, device or property that a new QEMU brings is refused already. This test has somebody look at it,
and fails until it stands in one list or the other.
"""

import functools
import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from holdfast.keys.extra_flags import DENIED
from holdfast.qemu.argv import harmless
from holdfast.qemu.argv.refused import REASONS
from holdfast.qemu.option import SWITCHES

pytestmark = pytest.mark.integration

EMULATORS = {"x86_64": "q35", "aarch64": "virt"}


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Beside those that nobody may have: they open, connect, listen, print without end, or change what the launcher made.
REFUSED_OPTIONS = words("""
d dfilter enable-sync-profile full-screen iscsi msg-timestamp old-param set shim snapshot spice tpmdev trace vnc
xen-attach xen-domid xen-domid-restrict
""")
REFUSED_OBJECTS = words("""
authz-list-file authz-pam colo-compare cryptodev-backend-lkcf cryptodev-vhost-user dbus-display dbus-vmstate
filter-buffer filter-dump filter-mirror filter-redirector filter-replay filter-rewriter input-barrier input-linux
iommufd memory-backend-epc memory-backend-file memory-backend-shm pr-manager-helper qtest rng-egd can-host-socketcan
secret_keyring sev-guest sev-snp-guest tls-cipher-suites tls-creds-anon tls-creds-psk tls-creds-x509
vfio-user-server x-remote-object x-vfio-user-server
""")
REFUSED_DEVICES = words("""
acpi-erst ccid-card-emulated ccid-card-passthru ctucan_pci cxl-switch-mailbox-cci cxl-type3 floppy guest-loader
hv-syndbg hyperv-testdev i2c-echo ide-cd ide-cf ide-hd ipmi-bmc-extern ipoctal232 isa-debug-exit ivshmem-doorbell
ivshmem-plain kvaser_pci loader mioe3680_pci nvdimm nvme nvme-ns nvme-subsys pc-testdev pci-testdev pcm3680_pci
rocker scsi-block scsi-cd scsi-generic scsi-hd sd-card sd-card-spi tpci200 tpm-crb tpm-tis tpm-tis-device tpm-tis-i2c
u2f-passthru ufs ufs-lu uefi-vars-sysbus uefi-vars-x64 usb-braille usb-host usb-mtp usb-storage
x-pci-proxy-dev xen-backend xen-cdrom xen-console xen-disk xen-net-device xen-platform
virtio-gpu-gl virtio-gpu-gl-device virtio-gpu-gl-pci virtio-vga-gl virtio-gpu-rutabaga virtio-pmem virtio-pmem-pci
vhost-vsock-pci
""")
# Families of which none passes: another process's or the host's, disks, and CPUs, which have keys of their own.
REFUSED_FAMILIES = re.compile(
    r"vhost-.*|vfio-.*|virtio-(9p|blk|input-host|pmem)(-.*)?|.*-(x86_64|arm|riscv64)-cpu|vhost-vdpa-.*"
)
# On the buses of small ARM boards, which no VM here has.
ARM_BUSES = re.compile(
    r"fsi.*|aspeed.*|led|nand|cfam|dpcd|[a-z0-9_.]*\d[a-z0-9_.-]*|lsm303dlhc_mag"
)
REFUSED_PROPERTIES = words("""
aer_log blob busnr cdat cmdlog debug ebpf-rss-fds frudatafile guest-stats guestdebug hash host i8042 iothread-vq-mapping log-scsi-req pcap rss
sdrfile tpmdev virtio-backend
""")
PARTS = re.compile(
    r"child<.*|link<irq>|link<i8042>|link<device>"
)  # of the device itself: nobody sets them


def said(arch: str, *arguments: str) -> str:
    command = [f"qemu-system-{arch}", "-machine", EMULATORS[arch], *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def options(arch: str) -> Iterator[tuple[str, bool]]:
    """Each with whether it stands alone."""
    for line in said(arch, "-help").splitlines():
        if match := re.match(
            r"--?([a-zA-Z0-9_][a-zA-Z0-9_-]*)(?:/-(\w+))?( ?\S.*?)?(?:\s{2,}|\t|$)", line
        ):
            for name in filter(None, match.group(1, 2)):
                yield name, not (match[3] or "").strip()


@functools.cache
def devices(arch: str) -> frozenset[str]:
    found = re.findall(
        r'^name "([^"]+)"(?:.*alias "([^"]+)")?', said(arch, "-device", "help"), re.MULTILINE
    )
    return frozenset(name for names in found for name in names if name)


@functools.cache
def objects(arch: str) -> frozenset[str]:
    return frozenset(said(arch, "-object", "help").split()[5:])


@pytest.mark.parametrize("arch", EMULATORS)
def test_every_option_is_judged(arch: str) -> None:
    judged = harmless.OPTIONS | REFUSED_OPTIONS | DENIED.keys() | REASONS.keys()
    found = dict(options(arch))
    assert len(found) > 80
    assert found.keys() - judged == set()
    assert not harmless.OPTIONS & (REFUSED_OPTIONS | DENIED.keys())


@pytest.mark.parametrize("arch", EMULATORS)
def test_what_stands_alone_is_known_to(arch: str) -> None:
    """A value read as an option, or an option as a value, would hide what comes behind."""
    alone = {name for name, switch in options(arch) if switch} - {"h"}
    valued = {name for name, switch in options(arch) if not switch}
    assert alone & harmless.OPTIONS <= SWITCHES
    assert not valued & SWITCHES - {"h"}


@pytest.mark.parametrize("arch", EMULATORS)
def test_every_object_is_judged(arch: str) -> None:
    assert len(objects(arch)) > 30
    assert objects(arch) - harmless.OBJECTS.keys() - REFUSED_OBJECTS == set()
    assert not harmless.OBJECTS.keys() & REFUSED_OBJECTS


@pytest.mark.parametrize("arch", EMULATORS)
def test_every_device_is_judged(arch: str) -> None:
    assert len(devices(arch)) > 200
    rest = devices(arch) - harmless.DEVICES - REFUSED_DEVICES
    families = [REFUSED_FAMILIES] + [ARM_BUSES] * (arch == "aarch64")
    assert {name for name in rest if not any(one.fullmatch(name) for one in families)} == set()
    assert not harmless.DEVICES & REFUSED_DEVICES
    assert not [name for name in harmless.DEVICES if REFUSED_FAMILIES.fullmatch(name)]


@pytest.mark.parametrize("arch", EMULATORS)
def test_every_property_of_a_harmless_device_is_judged(arch: str) -> None:
    judged = harmless.PROPERTIES | harmless.CHARDEVS | REFUSED_PROPERTIES
    found = {
        (name, kind)
        for properties in asked(arch, sorted(harmless.DEVICES & devices(arch)))
        for name, kind in properties.items()
        if name not in judged and not name.startswith("x-") and not PARTS.fullmatch(kind)
    }
    assert found == set()
    assert not harmless.PROPERTIES & REFUSED_PROPERTIES


@pytest.mark.parametrize("name", sorted(harmless.OBJECTS))
def test_every_property_of_a_harmless_object_is_judged(name: str) -> None:
    refused = words("file keyid rules limits")
    if name not in objects("x86_64"):
        pytest.fail(f"{name} is gone: take it out of the list")
    found = set(
        re.findall(r"^\s+([^\s=<]+)=", said("x86_64", "-object", f"{name},help"), re.MULTILINE)
    )
    assert {
        one for one in found - harmless.OBJECTS[name] - refused if not one.startswith("x-")
    } == set()


def asked(arch: str, names: list[str]) -> Iterator[dict[str, str]]:
    """By QEMU's monitor: one process for all of them."""
    command = [
        f"qemu-system-{arch}",
        "-machine",
        EMULATORS[arch],
        "-nodefaults",
        "-display",
        "none",
        "-S",
    ]
    questions = [{"execute": "qmp_capabilities"}] + [
        {"execute": "device-list-properties", "arguments": {"typename": name}} for name in names
    ]
    text = "\n".join(json.dumps(one) for one in [*questions, {"execute": "quit"}])
    told = subprocess.run(
        [*command, "-qmp", "stdio"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    for line in map(json.loads, told.splitlines()):
        if isinstance(line.get("return"), list):
            yield {one["name"]: one["type"] for one in line["return"]}
