"""What of QEMU a VM's own `extra_flags` may have where host.toml says nothing.

All that is here makes something of the guest's, and can neither open nor name a thing of the host's, nor
connect, listen or run. What is not here is refused: a QEMU of tomorrow brings no hole with it. A test
asks the installed QEMU for all it has, and fails at what stands neither here nor in its own list of the refused.
"""

from collections.abc import Mapping

from holdfast.dataclass import dataclass, field

NOTHING: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, kw_only=True)
class Form:
    """The value of an option: `head` is the key that a bare first word stands for, `kinds` what that may
    be, with the properties of each; None: any plain word. `properties` are those of every kind.
    """

    head: str = ""
    kinds: Mapping[str, frozenset[str]] | None = None
    properties: frozenset[str] = field(default=NOTHING)


# Options without a value. Those of older QEMUs, here and below, are what the old documents show.
SWITCHES = _words(
    "enable-kvm mem-prealloc no-acpi no-fd-bootchk no-hpet no-reboot no-user-config nodefaults nodefconfig "
    "nographic only-migratable usb win2k-hack"
)
TEXTS = _words("append")  # the guest kernel's: QEMU reads nothing in it
NUMBERS = _words("echr seed")
CHARACTER_DEVICES = _words("debugcon parallel serial")  # and `chardev:` with one of the same text
CHOICES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(CHARACTER_DEVICES, _words("none null vc")),
    "balloon": _words("none virtio"),
    "nic": _words("none"),
    "usbdevice": _words("keyboard mouse tablet wacom-tablet"),
    "vga": _words("cirrus none qxl std virtio vmware"),
    "watchdog": _words("i6300esb ib700"),
    "watchdog-action": _words("debug inject-nmi none pause poweroff reset shutdown"),
}
PLAIN = _words("k uuid")  # a word of letters, digits, dot, - and _

# Properties of devices, whichever has them: in none of DEVICES does one name a file, a socket, or what the
# launcher made, nor fill the log, nor load a program into the kernel (rss). `x-...` is QEMU's mark for what is no
# promise: none is here.
PROPERTIES = _words("""
acpi-index addr address aer aer_log_max always-plugged any_layout ats attached audiodev aw-bits bandwidth base_year
baudbase big-endian-framebuffer blitter block-size bmc boot-bypass bootindex bootindexA bootindexB buffer bus
bus-reserve bus_nr bypass_iommu caching-mode cad capareg chassis chassis_nr chmaps class cmd_per_lun
conditional-intr-mapping cryptodev csum ctrl_guest_offloads ctrl_mac_addr ctrl_rx ctrl_rx_extra ctrl_vlan ctrl_vq
deflate-on-oom device-iotlb device_id device_rev disable-acs disable-legacy disable-modern disable_vnet_hdr display
dma dma-drain dma-translation dma16 dma_mask driver duplex dynamic-memslots edid eim emergency-write endianness
event_idx events extended-state extra_mac_registers failover failover_pair_id fallback fdtypeA fdtypeB filter
firstport free-page-hint free-page-reporting freq fruareasize fs1gp fwrev1 fwrev2 global-vmstate granule gso
guest-stats-polling-interval guest_announce guest_csum guest_ecn guest_hwcursor guest_rsc_ext guest_tso4 guest_tso6
guest_ufo guest_uso4 guest_uso6 guid hba_serial hdm_for_passthrough head host_ecn host_mtu host_tso4 host_tso6
host_ufo host_uso hostmem hotplug id in_order index indirect_desc init-vet instanceid intremap intrs io-reserve
iobase iobase2 ioeventfd iommu_platform ioport iosize iothread ipmi_version irq jacks kbd-irq kbd-throttle
lost_tick_policy mac masterbus max-bytes max_cmds max_hostmem max_outputs max_ports max_sectors max_sge maxcurr
maxframes mem-reserve memaddr membar memdev mfg_id migrate-extra migrate-timadj migrate_tso_props mixer mmio model
modern-pio-notify mouse-irq mq mrg_rxbuf msi msix msos-desc multi multifunction name netdev node notify_on_empty nr
num-ports num_queues numa_node old_msi_addr osk p2 p3 packed page-per-vq page-poison param_change period port
port-power ports power_controller_present ppi prealloc pref32-reserve pref64-reserve primary-bus product_id prog_if
pt qemu-4-0-config-size qemu-extended-regs queue_reset ram_size ram_size_mb readback refresh_rate requested-size
reserved-regions revision rng rombar romfile romsize rsc_interval rx_queue_size sas_address sd-spec-version
seg_max_adjust serial shpc size slave_addr slot slots sn snoop-control speed stale-tm status status-report streams
subsys subsys_ven suppress-remote-wake surfaces tx tx_queue_size uhs unplugged-inaccessible usb_version
use-disabled-flag use-started use-timer use_jbod use_msg vectors vendor version vgamem vgamem_mb
virtio-pci-bus-master-bug-migration virtqueue_size vram64_size_mb vram_size vram_size_mb wakeup wheel-axis xmax xres
xtsup ymax yres
""")
# These name a character device, which must be one of the same text: the launcher's own leads to its monitor.
CHARDEVS = _words("chardev chardev1 chardev2 chardev3 chardev4")
# What `-global` may set besides: of disks, of boards and their bridges, which `-device` does not make.
GLOBALS = _words("""
acpi-pci-hotplug-with-bridge-support acpi-root-pci-hotplug config-wce disable_s3 disable_s4 discard discard_granularity
dpofua extended-tseg-mbytes kvmclock logical_block_size max_segments min_io_size noreboot num-queues opt_io_size
pci-hole64-size physical_block_size queue-size queues removable request-merging rerror rotation_rate s4_val secs
seg-max-adjust secure smm-compat smm-enabled unit ver werror write-cache
""")

DEVICES = _words("""
cxl-downstream cxl-rp cxl-upstream i82801b11-bridge ioh3420 pci-bridge pci-bridge-seat pcie-pci-bridge
pcie-root-port pxb pxb-cxl pxb-pcie vmbus-bridge x3130-upstream xio3130-downstream

ich9-usb-ehci1 ich9-usb-ehci2 ich9-usb-uhci1 ich9-usb-uhci2 ich9-usb-uhci3 ich9-usb-uhci4 ich9-usb-uhci5
ich9-usb-uhci6 nec-usb-xhci pci-ohci piix3-usb-uhci piix4-usb-uhci qemu-xhci usb-ehci usb-hub

ahci am53c974 dc390 ich9-ahci isa-fdc isa-ide lsi lsi53c810 lsi53c895a megasas megasas-gen2 mptsas1068 piix3-ide
piix4-ide pvscsi sdhci-pci usb-bot usb-uas virtio-scsi virtio-scsi-device virtio-scsi-pci
virtio-scsi-pci-non-transitional virtio-scsi-pci-transitional

e1000 e1000-82540em e1000-82544gc e1000-82545em e1000e i82550 i82551 i82557a i82557b i82557c i82558a i82558b i82559a
i82559b i82559c i82559er i82562 i82801 igb ne2k_isa ne2k_pci pcnet rtl8139 tulip usb-net virtio-net virtio-net-device
virtio-net-pci virtio-net-pci-non-transitional virtio-net-pci-transitional vmxnet3

i8042 isa-parallel isa-serial pci-serial pci-serial-2x pci-serial-4x usb-ccid usb-kbd usb-mouse usb-redir usb-serial
usb-tablet usb-wacom-tablet virtconsole virtio-keyboard virtio-keyboard-device virtio-keyboard-pci virtio-mouse
virtio-mouse-device virtio-mouse-pci virtio-multitouch-device virtio-multitouch-pci virtio-serial
virtio-serial-device virtio-serial-pci virtio-serial-pci-non-transitional virtio-serial-pci-transitional
virtio-tablet virtio-tablet-device virtio-tablet-pci virtserialport vmmouse

VGA ati-vga bochs-display cirrus-vga isa-cirrus-vga isa-vga qxl qxl-vga ramfb secondary-vga virtio-gpu
virtio-gpu-device virtio-gpu-pci virtio-vga vmware-svga

AC97 ES1370 ac97 adlib cs4231a es1370 gus hda-duplex hda-micro hda-output ich9-intel-hda intel-hda sb16 usb-audio
virtio-sound virtio-sound-device virtio-sound-pci

AMDVI-PCI amd-iommu edu hv-balloon i2c-ddc i6300esb ib700 intel-iommu ipmi-bmc-sim isa-applesmc isa-debugcon
isa-ipmi-bt isa-ipmi-kcs mc146818rtc pc-dimm pci-ipmi-bt pci-ipmi-kcs pvpanic pvpanic-pci smbus-ipmi virtio-balloon
virtio-balloon-device virtio-balloon-pci virtio-balloon-pci-non-transitional virtio-balloon-pci-transitional
virtio-crypto virtio-crypto-device virtio-crypto-pci virtio-iommu virtio-iommu-device virtio-iommu-pci virtio-mem
virtio-mem-device virtio-mem-pci virtio-rng virtio-rng-device virtio-rng-pci virtio-rng-pci-non-transitional
virtio-rng-pci-transitional vmclock vmcoreinfo vmgenid
""")

_MEMORY = _words("""
dump host-nodes merge policy prealloc prealloc-context prealloc-threads reserve share size
""")
_CRYPTO = _words("queues throttle-bps throttle-ops")
_THREADS = _words("aio-max-batch thread-pool-max thread-pool-min")
OBJECTS: Mapping[str, frozenset[str]] = {
    "acpi-generic-initiator": _words("node pci-dev"),
    "acpi-generic-port": _words("node pci-bus"),
    "authz-list": _words("policy"),
    "authz-simple": _words("identity"),
    "can-bus": NOTHING,
    "cryptodev-backend": _CRYPTO,
    "cryptodev-backend-builtin": _CRYPTO,
    "iothread": _THREADS | _words("poll-grow poll-max-ns poll-shrink"),
    "main-loop": _THREADS,
    "memory-backend-memfd": _MEMORY | _words("hugetlb hugetlbsize seal"),
    "memory-backend-ram": _MEMORY,
    "rng-builtin": NOTHING,
    "rng-random": _words("filename"),
    "secret": _words("data format iv"),
    "thread-context": _words("cpu-affinity node-affinity"),
    "throttle-group": NOTHING,
}

_CARD = _words("addr macaddr model name netdev vectors")
_SLIRP = _words("""
dhcpstart dns dnssearch domainname host hostname ipv4 ipv6 ipv6-dns ipv6-host ipv6-net ipv6-prefix ipv6-prefixlen net
restrict
""")
_SOUND = _words("""
in.buffer-length in.channels in.fixed-settings in.format in.frequency in.mixing-engine in.voices out.buffer-length
out.channels out.fixed-settings out.format out.frequency out.mixing-engine out.voices timer-period
""")
_SMBIOS = _words("""
asset bank core-count core-enabled current-speed date designation external_reference family instance
internal_reference kind loc_pfx location manufacturer max-speed part pcidev port_type processor-family processor-id
product release serial sku slot_characteristics1 slot_characteristics2 slot_data_width slot_id slot_length slot_type
sock_pfx speed thread-count type uefi uuid value vendor version connector_type current_usage
""")
_MACHINE = _words("""
accel acpi aux-ram-share bus-lock-ratelimit compact-highmem cxl default-bus-bypass-iommu dtb-kaslr-seed dtb-randomness
dump-guest-core fd-bootchk gic-version graphics highmem highmem-ecam highmem-mmio highmem-mmio-size highmem-redists
hmat hpet i8042 iommu its kernel-irqchip kernel_irqchip max-fw-size max-ram-below-4g mem-merge mte nvdimm
nvdimm-persistence pic pit ras sata secure smbios-entry-point-type smbus smm suppress-vmdesc type usb virtualization
vmport
""")
_ACCELERATOR = _words("""
dirty-ring-size eager-split-size kernel-irqchip kvm-shadow-mem notify-vmexit notify-window one-insn-per-tb split-wx
tb-size thread
""")

FORMS: Mapping[str, Form] = {
    "M": Form(head="type", properties=_MACHINE),
    "accel": Form(head="accel", kinds=dict.fromkeys(("kvm", "tcg"), _ACCELERATOR)),
    "audio": Form(head="driver", kinds=dict.fromkeys(("none", "spice"), _words("id model"))),
    "audiodev": Form(head="driver", kinds=dict.fromkeys(("none", "spice"), _SOUND)),
    "boot": Form(head="order", properties=_words("menu once order reboot-timeout splash-time strict")),
    "chardev": Form(head="backend", kinds={"null": _words("mux"), "ringbuf": _words("mux size"),
                                           "spicevmc": _words("name")}),
    "compat": Form(properties=_words("deprecated-input deprecated-output unstable-input unstable-output")),
    "device": Form(head="driver", kinds=dict.fromkeys(DEVICES, PROPERTIES | CHARDEVS)),
    "display": Form(head="type", kinds={"none": NOTHING}),
    "fw_cfg": Form(head="name", properties=_words("name string")),
    "icount": Form(head="shift", properties=_words("align shift sleep")),
    "m": Form(head="size", properties=_words("maxmem size slots")),
    "machine": Form(head="type", properties=_MACHINE),
    "msg": Form(properties=_words("guest-name timestamp")),
    "name": Form(head="guest", properties=_words("debug-threads guest")),
    "net": Form(head="type", kinds={"nic": _CARD, "none": NOTHING}),
    "netdev": Form(head="type", kinds={"hubport": _words("hubid netdev"), "user": _SLIRP}),
    "numa": Form(head="type", kinds={
        "cpu": _words("core-id die-id node-id socket-id thread-id"),
        "dist": _words("dst src val"),
        "hmat-cache": _words("associativity level line node-id policy size"),
        "hmat-lb": _words("bandwidth data-type hierarchy initiator latency target"),
        "node": _words("cpus initiator mem memdev nodeid")}),
    "object": Form(head="qom-type", kinds=OBJECTS),
    "overcommit": Form(properties=_words("cpu-pm mem-lock")),
    "rtc": Form(properties=_words("base clock driftfix")),
    "smbios": Form(properties=_SMBIOS),
    "smp": Form(head="cpus", properties=_words(
        "books clusters cores cpus dies drawers maxcpus modules sockets threads")),
}  # fmt: skip

# Properties that are harmless with some values only.
VALUES: Mapping[tuple[str, str], frozenset[str]] = {
    ("M", "accel"): _words("kvm kvm:tcg tcg tcg:kvm"),
    ("chardev", "name"): _words("smartcard usbredir vdagent"),
    ("device", "romfile"): frozenset([""]),
    ("global", "romfile"): frozenset([""]),
    ("machine", "accel"): _words("kvm kvm:tcg tcg tcg:kvm"),
    ("netdev", "restrict"): _words("on y yes true"),
    ("object", "filename"): _words("/dev/random /dev/urandom"),
}
# Without it a guest would reach what QEMU reaches.
NEEDED = {("netdev", "user"): "restrict"}

# Where a key does what a refused option would.
INSTEAD: Mapping[str, str] = {
    "netdev": "a network card is nics/<name>",
    "nic": "a network card is nics/<name>",
    "net": "a network card is nics/<name>",
    "spice": "SPICE is spice_port",
    "tpmdev": "a TPM is tpm",
    "usb-host": "a USB device is usb/<name>",
    "vfio-pci": "a PCI device is pci/<name>",
    "vnc": "VNC is vnc_port",
}

OPTIONS = SWITCHES | TEXTS | NUMBERS | PLAIN | CHOICES.keys() | FORMS.keys() | {"cpu", "global"}
