"""What other systems call a key: Nomad's drivers, libvirt, Proxmox, cloud templates and docker images for VMs.

Only read for a key that is not in the table, to say which one is meant.
"""

from collections.abc import Iterator, Mapping

DIGITS = "0123456789"
DISK, CARD = "disks/root", "nics/nic0"
DISK_FAMILIES = (
    "disk",
    "drive",
    "drives",
    "hdd",
    "scsi",
    "sata",
    "ide",
    "virtio",
    "vd",
    "sd",
    "hd",
)
CARD_FAMILIES = (
    "nic",
    "net",
    "network",
    "networks",
    "interface",
    "interfaces",
    "network_interface",
)
FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(DISK_FAMILIES, "disks"),
    **dict.fromkeys(CARD_FAMILIES, "nics"),
    **dict.fromkeys(("share", "mount", "mounts", "filesystem", "filesystems", "virtiofs", "volume_mount"), "shares"),
    **dict.fromkeys(("environment", "envs"), "env"),
    **dict.fromkeys(("usbdev", "usb_devices"), "usb"),
    **dict.fromkeys(("hostpci", "pci_devices"), "pci"),
}  # fmt: skip


def _several(meant: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), meant)


# By itself: `memory`. Dashes and capitals count for nothing.
MACHINE: Mapping[str, str] = {
    **_several("ram", "memory mem memory_mb memory_size mem_size ram_size memtotal current_memory memory_mib"),
    **_several("ram_max", "memory_max max_memory maxmemory maxmem max_mem"),
    **_several("cpus", "vcpu vcpus cpu core cores cpu_cores cpu_count vcpu_count num_cpus ncpus smp processors"),
    **_several("cpus_max", "max_cpus maxcpus max_vcpus"),
    **_several("cpu_topology", "sockets threads topology cores_per_socket"),
    **_several("cpu_set", "cpuset cpuset_cpus affinity cpu_affinity pinning vcpupin"),
    **_several("cpu_weight", "cpu_shares cpushares cpuunits"),
    **_several("cpu_model", "cpu_type cputype"),
    **_several("machine", "machine_type chipset board"),
    **_several("arch", "architecture emulator platform"),
    **_several("firmware", "bios uefi efi ovmf boot_mode loader secure_boot"),
    **_several("accelerator", "accel kvm acceleration"),
    **_several("tpm", "tpm2 vtpm tpmstate tpmstate0"),
    **_several("cmdline", "append kernel_args kernel_cmdline boot_args"),
    **_several("initrd", "initramfs"),
    **_several("rtc", "clock localtime"),
    **_several("guest_agent", "agent qemu_agent qemu_guest_agent"),
    **_several("boot_order", "boot bootorder boot_index bootindex"),
    **_several("display", "graphics"),
    **_several("video", "vga gpu video_type"),
    **_several("vnc_port", "vnc"),
    **_several("spice_port", "spice"),
    **_several("power", "state running autostart onboot desired_state enabled powered_on"),
    **_several("on_crash", "restart restart_policy"),
    **_several("stop_timeout", "kill_timeout shutdown_timeout graceful_shutdown stop_grace_period grace_period"),
    **_several("host", "node hosts nodes node_name constraint target_node"),
    **_several("extra_flags", "args arguments qemu_args extra_args qemu_flags flags options qemu_options"),
    **_several("user_data", "userdata cloud_init cloudinit ci cicustom init user_data_base64 ignition"),
    **_several("meta_data", "metadata"),
    **_several("network_config", "networkconfig network_data"),
    **_several("ssh_authorized_keys", "ssh_key ssh_keys sshkey sshkeys ssh_pubkey ssh_public_key authorized_keys "
               "ssh_authorized_key default_user_authorized_ssh_key public_key"),
    **_several("default_user_password", "password passwd pass cipassword root_password user_password"),
    **_several("cmds", "cmd runcmd commands command script"),
    **_several("timezone", "tz"),
    **_several("hostname", "fqdn host_name local_hostname"),
    **_several("title", "name vm_name display_name"),
    **_several("description", "comment notes note"),
    **_several("tags", "tag labels label"),
    **_several("uuid", "smbios smbios1 vmid"),
    **_several("mac", "macaddr macaddress mac_address hwaddr hwaddress ethernet"),
    **_several(f"{DISK}/size", "disk_size disksize size storage root_size capacity disk_gb rootfs_size"),
    **_several(f"{DISK}/source/image", "image image_path image_source base_image img template source image_url "
               "boot_image cloud_image"),
    **_several(f"{DISK}/source/checksum", "checksum image_checksum sha256"),
    **_several(f"{DISK}/path", "disk disks drive hda file disk_path root_disk scsi sata ide virtio vda sda"),
    **_several(f"{DISK}/pool", "pool storage_pool datastore"),
    **_several(f"{DISK}/bus", "drive_interface disk_bus"),
    **_several("disks/cd/path", "cdrom iso cd dvd iso_path"),
    **_several(f"{CARD}/bridge", "bridge network net nic nics networks network_interface interface br bridge_if"),
    **_several(f"{CARD}/ports", "port ports port_map portmap port_forward port_forwards hostfwd published_ports"),
    **_several(f"{CARD}/address", "ip address ip_address ipaddr static_ip ipconfig ipconfig0 addresses"),
    **_several(f"{CARD}/gateway", "gateway gw gateway4"),
    **_several(f"{CARD}/dns", "dns nameserver nameservers dns_servers"),
    **_several(f"{CARD}/search", "searchdomain dnssearch search_domain"),
    **_several(f"{CARD}/vlan", "vlan vlan_id"),
    **_several(f"{CARD}/mtu", "mtu"),
    **_several(f"{CARD}/device", "macvtap parent"),
    **_several("shares/<name>/path", "share shares virtiofs mount mounts volumes shared_folder 9p"),
    **_several("env/<name>", "env environment envs"),
    **_several("usb/<name>", "usb"),
    **_several("pci/<name>", "pci hostdev hostpci passthrough"),
}  # fmt: skip

# Of a member of a family: `disks/root/bus_type`.
PROPERTIES: Mapping[str, Mapping[str, str]] = {
    "disks": {
        **_several("bus", "bus_type interface if driver target controller"),
        **_several("path", "file filename image_file device dev location"),
        **_several("source/image", "image source url template base backing_image image_path source/url source/path"),
        **_several("source/volume", "volume clone clone_of"),
        **_several("source/checksum", "checksum sha256"),
        **_several("rbd", "ceph rbd_image"),
        **_several("pool", "storage datastore storage_pool"),
        **_several("size", "capacity disk_size length"),
        **_several("format", "type image_format driver_type"),
        **_several("kind", "media device_type"),
        **_several("read_only", "readonly ro"),
        **_several("cache", "cache_mode caching"),
        **_several("boot", "boot_index bootindex boot_order order"),
        **_several("primary", "bootable is_root"),
        **_several("chained", "linked linked_clone cow backing"),
        **_several("iops", "iops_limit total_iops_sec iops_rd iops_wr"),
        **_several("bps", "mbps total_bytes_sec bandwidth"),
        **_several("sparse", "thin thin_provisioned preallocation"),
        **_several("iothread", "io_thread threads"),
        **_several("aio", "io"),
        **_several("devname", "target_dev"),
    },
    "nics": {
        **_several("bridge", "network br source name virtual_network"),
        **_several("mode", "type kind"),
        **_several("mac", "macaddr macaddress mac_address hwaddr address_mac"),
        **_several("model", "driver nic_model device_model"),
        **_several("device", "parent ifname interface dev link_device"),
        **_several("macvtap_mode", "macvtap"),
        **_several("vlan", "tag vlan_id vlan_tag trunk"),
        **_several("address", "ip ip_address ipaddr addresses ipv4 ipv6 netmask cidr prefix"),
        **_several("gateway", "gw gateway4 gateway6 router"),
        **_several("dns", "nameserver nameservers dns_servers"),
        **_several("search", "searchdomain search_domains domain"),
        **_several("ports", "port port_map port_forwards publish hostfwd"),
        **_several("queues", "multiqueue num_queues"),
        **_several("link", "link_state link_down up connected"),
    },
    "shares": {
        **_several("path", "source host_path src dir folder"),
        **_several("mount", "target destination dest mountpoint mount_path guest_path"),
        **_several("read_only", "readonly ro"),
    },
    "usb": {}, "pci": {}, "env": {},  # have none
}  # fmt: skip


FIRST = {"disks": DISK, "nics": CARD}


def meant(name: str) -> Iterator[str]:
    """What may be our key for it; whether there is such a key is the caller's to ask."""
    plain = name.lower().replace("-", "_").strip("/")
    yield plain
    family, _, rest = plain.partition("/")
    if not rest:
        yield from _alone(plain)
        return
    ours = _family(family)
    member, _, tail = rest.partition("/")
    known = PROPERTIES.get(ours, {})
    yield f"{ours}/{member}/{known.get(tail, tail)}" if tail else f"{ours}/{member}"
    if ours in FIRST and not tail:  # `disk/size`
        yield f"{FIRST[ours]}/{known.get(member, member)}"
    if ours not in PROPERTIES:  # `os/machine`, `resources/memory`
        last = plain.rpartition("/")[2]
        yield last
        yield from _alone(last)


def _alone(word: str) -> Iterator[str]:
    """Proxmox counts: `net0`."""
    for spelled in (word, word.rstrip(DIGITS)):
        if spelled in MACHINE:
            yield MACHINE[spelled]


def _family(word: str) -> str:
    return FAMILIES.get(word.rstrip(DIGITS), word)
