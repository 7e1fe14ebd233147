"""Devices of the host: on USB by libusb, on PCI by vfio."""

from holdfast.machine import Machine, PciDevice, UsbDevice
from holdfast.qemu import slots
from holdfast.qemu.option import as_json, keyed
from holdfast.qemu.wiring import Wiring

IOMMUFD = "iommufd"
Property = dict[str, str | int]


def usb(machine: Machine, wiring: Wiring) -> list[str]:
    command = []
    for device in machine.usb:
        end = usb_end(device, wiring)
        command += ["-device", keyed("usb-host", id=f"usb-{device.name}", bus="usb.0", **end)]
    return command


def usb_end(device: UsbDevice, wiring: Wiring) -> Property:
    """A node that is already open: QEMU's user has no right to it, and sees no other device."""
    number = wiring.usb.get(device.name)
    if number is not None:
        return {"hostdevice": f"/dev/fdset/{number}"}
    vendor, _, product = device.id.partition(":")
    return {"vendorid": f"0x{vendor}", "productid": f"0x{product}"}


def pci(machine: Machine, wiring: Wiring) -> list[str]:
    command = iommufd(wiring)
    for number, device in enumerate(machine.pci):
        end, place = pci_end(device, wiring), slots.plugged(machine, "pci", number)
        command += ["-device", keyed("vfio-pci", id=f"pci-{device.name}", **end, **place)]
    return command


def iommufd(wiring: Wiring) -> list[str]:
    """Only with it does vfio take descriptors. One serves all devices."""
    if wiring.iommu is None:
        return []
    return [
        "-object",
        as_json({"qom-type": "iommufd", "id": IOMMUFD, "fd": str(wiring.iommu)}),
    ]


def pci_end(device: PciDevice, wiring: Wiring) -> Property:
    number = wiring.pci.get(device.name)
    return {"host": device.address} if number is None else {"fd": number, "iommufd": IOMMUFD}
