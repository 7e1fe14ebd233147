"""Devices of the host that a VM is given: found in sysfs, and opened for QEMU, which may not do so."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from holdfast.errors import HostLacks
from holdfast.machine import Machine, PciDevice, UsbDevice
from holdfast.system import device
from holdfast.system.device import Device

SYSFS = "/sys"
ROOT = "root"  # the group of what nobody but us opens
IOMMU = Device(name="iommu", path="/dev/iommu", group=ROOT)


def check(machine: Machine) -> None:
    """Look for the devices. Raises HostLacks: another host may have them."""
    for node in [*map(usb_node, machine.usb), *map(pci_node, machine.pci)]:
        device.require(node)
    if machine.pci:
        device.require(IOMMU)


def opened(machine: Machine, descriptors: ExitStack) -> dict[str, Any]:
    """Open what Wiring has of them. Raises HostLacks.

    A USB device that was plugged in anew has another node than before.
    """
    return {
        "usb": {one.name: _open(usb_node(one), descriptors) for one in machine.usb},
        "pci": {one.name: _open(pci_node(one), descriptors) for one in machine.pci},
        "iommu": _open(IOMMU, descriptors) if machine.pci else None,
    }


def _open(node: Device, descriptors: ExitStack) -> int:
    device.require(node)
    descriptor = os.open(node.path, os.O_RDWR | os.O_CLOEXEC)
    descriptors.callback(os.close, descriptor)
    return descriptor


def usb_node(usb: UsbDevice, *, sysfs: str = SYSFS) -> Device:
    """Find the node that the kernel gave to it when it was plugged in. Raises HostLacks."""
    ports = sorted(Path(f"{sysfs}/bus/usb/devices").glob("*"))
    found = [port for port in ports if _usb_id(port) == usb.id]
    if not found:
        raise HostLacks(
            f"usb/{usb.name}: no device {usb.id} is plugged into this host",
            hint="`lsusb` on the host lists what is. The key `host` keeps a VM where its devices are.",
        )
    if len(found) > 1:
        places = ", ".join(port.name for port in found)
        raise HostLacks(
            f"usb/{usb.name}: {len(found)} devices {usb.id} are plugged into this host, at {places}",
            hint="Nothing tells them apart: leave one of them in.",
        )
    (port,) = found
    bus, number = int(_text(port / "busnum")), int(_text(port / "devnum"))
    path = f"/dev/bus/usb/{bus:03}/{number:03}"
    return Device(name="usb", path=path, group=ROOT, number=_number(port))


def _usb_id(port: Path) -> str:
    try:
        return f"{_text(port / 'idVendor')}:{_text(port / 'idProduct')}"
    except HostLacks:
        return ""  # an interface of a device, or what is just being pulled out


def pci_node(pci: PciDevice, *, sysfs: str = SYSFS) -> Device:
    """Find the node of vfio, there once the device is bound to it. Raises HostLacks."""
    place = Path(f"{sysfs}/bus/pci/devices/{pci.address}")
    if not place.exists():
        raise HostLacks(
            f"pci/{pci.name}: no device {pci.address} is in this host",
            hint="`lspci -D` on the host lists what is. The key `host` keeps a VM where its devices are.",
        )
    # One without an IOMMU is called noiommu-vfioN: the guest could write to all of the host's memory.
    found = sorted(place.glob("vfio-dev/vfio*"))
    if not found:
        raise _unbound(pci, place)
    path = f"/dev/vfio/devices/{found[0].name}"
    return Device(name="vfio", path=path, group=ROOT, number=_number(found[0]))


def _unbound(pci: PciDevice, place: Path) -> HostLacks:
    link = place / "driver"
    driver = link.readlink().name if link.is_symlink() else "none"
    if driver == "vfio-pci":
        return HostLacks(
            f"pci/{pci.name}: vfio-pci has {pci.address}, but offers no /dev/vfio/devices/vfioN for it",
            hint="That takes Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV, and an IOMMU that is switched on in the "
            "firmware and on the kernel's command line (intel_iommu=on).",
        )
    return HostLacks(
        f"pci/{pci.name}: {pci.address} is not bound to vfio-pci (its driver: {driver})",
        hint=f"On the host: `driverctl set-override {pci.address} vfio-pci`, for all of its IOMMU group; or "
        f"echo vfio-pci >{place}/driver_override, unbind it from its driver, and "
        f"echo {pci.address} >/sys/bus/pci/drivers_probe.",
    )


def _number(place: Path) -> int:
    major, _, minor = _text(place / "dev").partition(":")
    return os.makedev(int(major), int(minor))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:  # it is just being pulled out
        raise HostLacks(f"{path}: {error.strerror}", hint="Is the device still there?") from error
