"""Devices of the host: on USB by libusb, on PCI by vfio."""

from holdfast.machine import Machine, PciDevice, UsbDevice
from holdfast.qemu import slots
from holdfast.qemu.spelling import Device, Hex, Object, Part, Value
from holdfast.qemu.wiring import Wiring

IOMMUFD = "iommufd"
Properties = dict[str, Value]


def usb(machine: Machine, wiring: Wiring) -> list[Part]:
    return [
        Device("usb-host", {"id": f"usb-{one.name}", "bus": "usb.0", **usb_end(one, wiring)})
        for one in machine.usb
    ]


def usb_end(device: UsbDevice, wiring: Wiring) -> Properties:
    """A node that is already open: QEMU's user has no right to it, and sees no other device."""
    number = wiring.usb.get(device.name)
    if number is not None:
        return {"hostdevice": f"/dev/fdset/{number}"}
    vendor, _, product = device.id.partition(":")
    return {"vendorid": Hex(vendor, 16), "productid": Hex(product, 16)}


def pci(machine: Machine, wiring: Wiring) -> list[Part]:
    command = iommufd(wiring)
    for number, device in enumerate(machine.pci):
        end, place = pci_end(device, wiring), slots.plugged(machine, "pci", number)
        command.append(Device("vfio-pci", {"id": f"pci-{device.name}", **end, **place}))
    return command


def iommufd(wiring: Wiring) -> list[Part]:
    """Only with it does vfio take descriptors. One serves all devices."""
    if wiring.iommu is None:
        return []
    return [Object("iommufd", {"id": IOMMUFD, "fd": str(wiring.iommu)})]


def pci_end(device: PciDevice, wiring: Wiring) -> Properties:
    number = wiring.pci.get(device.name)
    return {"host": device.address} if number is None else {"fd": str(number), "iommufd": IOMMUFD}
