"""Devices of the host that are the guest's alone while it runs."""

from holdfast.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class UsbDevice:
    """`id` is `vendor:product`, as lsusb prints it: it stays the same whatever port the device is in."""

    name: str
    id: str


@dataclass(frozen=True, kw_only=True)
class PciDevice:
    """`address` is written with its domain, as sysfs has it."""

    name: str
    address: str
