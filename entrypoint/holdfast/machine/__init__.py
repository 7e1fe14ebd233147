"""What a VM is, as values. Sizes are bytes. Nothing in here knows text, files or etcd."""

from enum import StrEnum

from holdfast.dataclass import dataclass, field
from holdfast.machine.ceph import RbdImage, RbdVolume
from holdfast.machine.disk import (
    BLOCK,
    Aio,
    Backend,
    Bus,
    Cache,
    Discard,
    Disk,
    DiskKind,
    LocalPath,
    Volume,
    aligned,
)
from holdfast.machine.display import Display, Spice, Video, Vnc
from holdfast.machine.format import Format
from holdfast.machine.guest import Document, Guest
from holdfast.machine.hostdev import PciDevice, UsbDevice
from holdfast.machine.nic import MacvtapMode, Nic, NicMode, Port, Protocol
from holdfast.machine.pinned import Pinned
from holdfast.machine.platform import Arch, Firmware, Tpm
from holdfast.machine.power import OnCrash, OnPoweroff, OnReboot, Power
from holdfast.machine.processor import Rtc, Topology, Watchdog
from holdfast.machine.share import Share
from holdfast.machine.source import Checksum, Source, UrlLimits

__all__ = [
    "BLOCK",
    "GIB",
    "KIB",
    "MIB",
    "TIB",
    "Accelerator",
    "Aio",
    "Arch",
    "Backend",
    "Bus",
    "Cache",
    "Checksum",
    "Discard",
    "Disk",
    "DiskKind",
    "Display",
    "Document",
    "Firmware",
    "Format",
    "Guest",
    "LocalPath",
    "Machine",
    "MacvtapMode",
    "Nic",
    "NicMode",
    "OnCrash",
    "OnPoweroff",
    "OnReboot",
    "PciDevice",
    "Pinned",
    "Port",
    "Power",
    "Protocol",
    "RbdImage",
    "RbdVolume",
    "Rtc",
    "Share",
    "Source",
    "Spice",
    "Topology",
    "Tpm",
    "UrlLimits",
    "UsbDevice",
    "Video",
    "Vnc",
    "Volume",
    "Watchdog",
    "aligned",
]


KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4  # bytes


class Accelerator(StrEnum):
    auto = "auto"  # spelled out: the name hides enum.auto
    kvm = "kvm"
    tcg = "tcg"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One VM, complete and checked. `options` is set in argv mode: QEMU's own words replace the rest.

    `variables` are those of a UEFI: storage of the VM like a disk, but none that the guest sees as one.
    """

    vm: str
    hostname: str
    uuid: str
    machine: str
    hosts: tuple[str, ...] = ()  # empty: any
    power: Power = Power.on
    arch: Arch = Arch.x86_64
    accelerator: Accelerator = Accelerator.auto
    firmware: Firmware = Firmware.bios
    tpm: Tpm = Tpm.off
    cpus: int = 1
    cpus_max: int | None = None  # room for so many; None: as many as `cpus`
    cpu_model: str = ""  # "": host with KVM, else max
    cpu_topology: Topology | None = None
    cpu_set: tuple[int, ...] = ()  # of the host; empty: any
    cpu_weight: int | None = None
    hyperv: bool = False
    ram: int = GIB
    ram_max: int | None = None  # room for so much; None: as much as `ram`
    hugepages: int | None = None  # the size of a page, 0: the host's default one; None: none
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    disks: tuple[Disk, ...] = ()
    variables: Disk | None = None
    nics: tuple[Nic, ...] = ()
    boot_order: tuple[str, ...] = ()  # ids of QEMU's devices; empty: the primary disk
    rtc: Rtc = Rtc.utc
    spice: Spice | None = None
    vnc: Vnc | None = None
    video: Video | None = None  # None: what the screen's server asks for
    guest: Guest = field(default_factory=Guest)
    shares: tuple[Share, ...] = ()
    usb: tuple[UsbDevice, ...] = ()
    pci: tuple[PciDevice, ...] = ()
    guest_agent: bool = True
    rng: bool = True
    balloon: bool | None = None  # None: on a PCIe board, and without devices of the host
    watchdog: Watchdog = Watchdog.off
    on_poweroff: OnPoweroff = OnPoweroff.stop
    on_reboot: OnReboot = OnReboot.restart
    on_crash: OnCrash = OnCrash.restart
    stop_timeout: int = 300
    extra_flags: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    pinned: Pinned | None = None  # as it stands in etcd

    @property
    def has_seed(self) -> bool:
        """Only where something is to be said: another disk would change the hardware of an old guest."""
        named = self.hostname != self.vm
        addressed = any(nic.is_described for nic in self.nics)
        mounted = any(share.mount for share in self.shares)
        return self.guest != Guest() or (not self.options and (named or addressed or mounted))

    @property
    def storage(self) -> tuple[Disk, ...]:
        """All that is opened, claimed and fenced for this VM."""
        return self.disks if self.variables is None else (*self.disks, self.variables)

    @property
    def has_volumes(self) -> bool:
        return any(isinstance(disk.backend, Volume | RbdVolume) for disk in self.storage)
