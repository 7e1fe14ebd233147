"""Devices of the host, found in a sysfs of the test's own, and what must agree about them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from describing import HOST_TOML, Keys, described

from holdfast.config import settings
from holdfast.devices import hostdev
from holdfast.errors import ConfigError, HostLacks, UsageError
from holdfast.machine import PciDevice, UsbDevice
from holdfast.qemu.memory import has_balloon
from holdfast.system.device import Device

TOML = 'usb = ["0951:1666", "04b8:*"]\npci = ["03:00.0", "0001:03:00.0"]\n' + HOST_TOML
STICK = UsbDevice(name="stick", id="0951:1666")
GPU = PciDevice(name="gpu", address="0000:03:00.0")


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Two sticks' makers, the interfaces of one, and a card that no driver has."""
    usb = tmp_path / "bus/usb/devices"
    plug(usb / "usb1", "1d6b:0002", (1, 1))
    plug(usb / "1-2", "0951:1666", (1, 14))
    plug(usb / "1-3", "0951:1667", (1, 15))
    (usb / "1-2:1.0").mkdir()
    (tmp_path / "bus/pci/devices/0000:03:00.0").mkdir(parents=True)
    return tmp_path


def plug(port: Path, number: str, place: tuple[int, int]) -> None:
    vendor, _, product = number.partition(":")
    bus, device = place
    port.mkdir(parents=True)
    facts = {
        "idVendor": vendor,
        "idProduct": product,
        "busnum": bus,
        "devnum": device,
        "dev": f"189:{(bus - 1) * 128 + device - 1}",
    }
    for name, text in facts.items():
        (port / name).write_text(f"{text}\n")


def bind(sysfs: Path, driver: str, node: str = "") -> None:
    place = sysfs / "bus/pci/devices/0000:03:00.0"
    (place / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")
    if node:
        (place / "vfio-dev" / node).mkdir(parents=True)
        (place / "vfio-dev" / node / "dev").write_text("511:3\n")


def test_a_usb_device_is_found_by_its_numbers(sysfs: Path) -> None:
    found = node(STICK, sysfs)
    assert found.path == "/dev/bus/usb/001/014"
    assert found.number == os.makedev(189, 13)


def test_a_pci_device_is_found_once_vfio_has_it(sysfs: Path) -> None:
    bind(sysfs, "vfio-pci", "vfio3")
    found = node(GPU, sysfs)
    assert found.path == "/dev/vfio/devices/vfio3"
    assert found.number == os.makedev(511, 3)


def node(device: UsbDevice | PciDevice, sysfs: Path) -> Device:
    if isinstance(device, UsbDevice):
        return hostdev.usb_node(device, sysfs=str(sysfs))
    return hostdev.pci_node(device, sysfs=str(sysfs))


def faults(keys: Keys, host_toml: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        described(keys, host_toml=host_toml)
    return caught.value.lines()


def nothing(sysfs: Path) -> None:
    """As it is."""


def two(sysfs: Path) -> None:
    plug(sysfs / "bus/usb/devices/2-1", "0951:1666", (2, 3))


@pytest.mark.parametrize(
    ("change", "device", "message", "hint"),
    [
        (nothing, UsbDevice(name="a", id="1234:5678"), "usb/a: no device 1234:5678 is plugged", "lsusb"),
        (two, STICK, "usb/stick: 2 devices 0951:1666 are plugged into this host, at 1-2, 2-1", "one"),
        (nothing, PciDevice(name="a", address="0000:04:00.0"), "pci/a: no device 0000:04:00.0", "lspci"),
        (nothing, GPU, "0000:03:00.0 is not bound to vfio-pci (its driver: none)", "driverctl"),
        (lambda sysfs: bind(sysfs, "nvidia"), GPU, "(its driver: nvidia)", "driver_override"),
        (lambda sysfs: bind(sysfs, "vfio-pci"), GPU, "offers no /dev/vfio/devices/", "6.6"),
        (lambda sysfs: bind(sysfs, "vfio-pci", "noiommu-vfio0"), GPU, "offers no", "IOMMU"),
    ],
)  # fmt: skip
def test_what_a_host_lacks(
    change: Callable[[Path], None],
    device: UsbDevice | PciDevice,
    message: str,
    hint: str,
    sysfs: Path,
) -> None:
    change(sysfs)
    with pytest.raises(HostLacks) as caught:
        node(device, sysfs)
    assert message in caught.value.message
    assert caught.value.message.startswith(("usb/", "pci/"))
    assert hint in caught.value.hint


def test_numbers_have_one_spelling() -> None:
    own = {"usb/b10": "04B8:0A1B", "usb/b2": "0951:1666", "pci/a": "03:00.0"}
    found = described(own, host_toml=TOML).machine
    assert [(one.name, one.id) for one in found.usb] == [("b2", "0951:1666"), ("b10", "04b8:0a1b")]
    assert [one.address for one in found.pci] == ["0000:03:00.0"]


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"usb/a": "0951:1666", "usb/b": "0951:1666"}, "usb/b: '0951:1666': is what usb/a is"),
        ({"pci/a": "03:00.0", "pci/b": "0000:03:00.0"}, "pci/b: '0000:03:00.0': is what pci/a is"),
        ({"usb/-a": "0951:1666"}, "usb/-a: its name must be"),
        ({f"usb/{number}": f"04b8:000{number}" for number in range(9)}, "usb: 9 devices, and there is room for 8"),
        ({"pci/a": "03:00.0", "balloon": "on"}, "balloon: gives nothing back with a key pci/"),
    ],
)  # fmt: skip
def test_what_must_agree(keys: dict[str, str], fault: str) -> None:
    (found,) = faults(keys, TOML)
    assert found.startswith(fault)


def test_without_a_list_nothing_is_allowed() -> None:
    assert faults({"usb/a": "0951:1666", "pci/a": "03:00.0"}, HOST_TOML) == [
        "pci/a: '03:00.0': is not one of pci of host.toml (names none)",
        "usb/a: '0951:1666': is not one of usb of host.toml (names none)",
    ]


def test_a_balloon_of_the_defaults_is_left_out() -> None:
    found = described({"pci/a": "03:00.0"}, {"balloon": "on"}, host_toml=TOML)
    assert not has_balloon(found.machine)


def test_faults_of_the_lists() -> None:
    with pytest.raises(UsageError) as caught:
        settings.parse({}, host_toml='usb = ["*", "*:1666", "0951:*"]\npci = ["03:00.*"]\n')
    places = [fault.key for fault in caught.value.faults]
    assert places == ["host.toml usb", "host.toml usb", "host.toml pci"]
