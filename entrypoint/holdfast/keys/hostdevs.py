"""The keys of the host's own devices."""

from holdfast.grammar import identifier
from holdfast.keys.row import Key
from holdfast.policy.host_config import HostConfig

# fmt: off
HOSTDEVS = (
    Key(name="usb/<name>", parse=identifier.usb_device, permit=HostConfig.permit_usb, value="`vendor:product`", hardware=True,
        doc="a USB device of the host, by the numbers that `lsusb` prints: `0951:1666`"),
    Key(name="pci/<name>", parse=identifier.pci_address, permit=HostConfig.permit_pci, value="address", hardware=True,
        doc="a PCI device of the host, bound to vfio-pci there: `0000:03:00.0`, as `lspci -D` prints it, or `03:00.0`"),
)
