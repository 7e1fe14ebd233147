"""The KEYS table: what may stand under /kvm/<vm>/, how it is read, and what it is for.

A new key is a row here and a field of the value in machine.py that it fills.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast import address, extra_flags, grammar, identifier, user_data
from holdfast.grammar import MIB, Parser, choice, line, one_of, several, size, switch, whole
from holdfast.host_config import HostConfig
from holdfast.machine import Accelerator, Cache, DiskKind, Format, NicMode, Power

LONGEST_KERNEL_LINE = 2047  # the kernel's COMMAND_LINE_SIZE on x86 and arm, less the closing NUL
LONGEST_TICKET = 60  # SPICE_MAX_PASSWORD_LENGTH
MOST_CPUS = 255  # of `pc`; more need an IOMMU
MOST_SECONDS = 24 * 60 * 60
LEAST_PORT, MOST_PORT = 1024, 65535  # QEMU is not root


@dataclass(frozen=True, kw_only=True)
class Key:
    """One row. `field` is what the value fills in Machine, Disk or Nic; "" if nothing by itself.

    `permit` asks host.toml whether a value that is not the operator's own may be used here.
    `same_as` is the key that this is another name for. `hardware`: a guest would notice.
    """

    name: str
    parse: Parser[Any]
    value: str
    default: str = "-"
    doc: str
    field: str = ""
    same_as: str = ""
    permit: Callable[[HostConfig, Any], None] | None = None
    live: bool = False
    hardware: bool = False
    secret: bool = False
    with_options: bool = False  # heeded even where QEMU's own options replace the description


def _power(text: str) -> Power:
    return Power.on if switch(text) else Power.off


def _password(text: str) -> str | None:
    """None: SPICE asks nobody, as in the origin."""
    if not text:
        raise grammar.Refused("is empty: delete the key, and a password is made")
    return None if text == "none" else line(LONGEST_TICKET)(text)


def _permit_flags(host_config: HostConfig, flags: tuple[str, ...]) -> None:
    if host_config.args_allowlist is not None:
        extra_flags.permit(flags, host_config.args_allowlist)


FILE: Any = {"parse": identifier.path, "permit": HostConfig.permit_path}

# fmt: off
ORIGIN = (
    Key(name="host", parse=several(identifier.host), field="hosts", value="host names", default="any", live=True,
        with_options=True, doc="only these hosts may run the VM; the others wait"),
    Key(name="ram", parse=size(bare=MIB, least=16 * MIB), field="ram", value="size, at least 16 MiB", default="1024",
        doc="memory; a number without a suffix is MiB"),
    Key(name="mac", parse=address.mac, same_as="nics/nic0/mac", value="unicast MAC",
        doc="the address of the network card `nic0`"),
    Key(name="rbd", parse=identifier.rbd_image, same_as="disks/root/rbd", value="`pool/image`",
        doc="the disk `root`, primary; a leading `/` is allowed"),
    Key(name="spice_port", parse=whole(LEAST_PORT, MOST_PORT), value="port, at least 1024", default="no SPICE",
        doc="SPICE with a ticket, on `spice_addr`"),
    Key(name="extra_flags", parse=extra_flags.parse, permit=_permit_flags, field="extra_flags",
        value="shell-quoted QEMU options", doc="appended last; some are refused, see below"),
    Key(name="cloud-config", parse=user_data.parse, permit=user_data.permit, same_as="user_data",
        with_options=True, value="URL, `file:` and a path, or text", doc="another name of `user_data`"),
)
MACHINE = (
    Key(name="cpus", parse=whole(1, MOST_CPUS), field="cpus", value="1 to 255", default="1", hardware=True,
        doc="virtual CPUs"),
    Key(name="cpu_model", parse=identifier.word, field="cpu_model", value="QEMU's name of it", hardware=True,
        default="`host` with KVM, else `max`", doc="without flags; those go into `extra_flags`"),
    Key(name="machine", parse=identifier.machine, field="machine", value="QEMU's name of it", hardware=True,
        default="`q35`; `pc` for a VM with none of the keys marked *", doc="the board"),
    Key(name="accelerator", parse=choice(Accelerator), field="accelerator", value="`auto kvm tcg`", default="`auto`",
        hardware=True, doc="`auto`: KVM where it is usable, else TCG with a warning"),
    Key(name="kernel", **FILE, field="kernel", value="path", hardware=True, doc="direct kernel boot"),
    Key(name="initrd", **FILE, field="initrd", value="path", hardware=True, doc="its initial RAM disk"),
    Key(name="cmdline", parse=line(LONGEST_KERNEL_LINE), field="cmdline", value="text", hardware=True,
        doc="its command line"),
    Key(name="uuid", parse=identifier.uuid, field="uuid", value="UUID", default="derived from the VM's name",
        hardware=True, doc="SMBIOS and cloud-init's instance"),
    Key(name="hostname", parse=identifier.hostname, field="hostname", value="label of RFC 1123", default="the VM's name",
        with_options=True, doc="the guest's name for cloud-init"),
    Key(name="guest_agent", parse=switch, field="guest_agent", value="switch", default="on", hardware=True,
        doc="the port of qemu-guest-agent"),
    Key(name="rng", parse=switch, field="rng", value="switch", default="on", hardware=True,
        doc="virtio-rng, fed by the host"),
    Key(name="spice_addr", parse=address.listen_address, value="IP address", default="127.0.0.1",
        doc="where SPICE listens"),
    Key(name="spice_password", parse=_password, value="text, or `none`", default="made at the start", live=True,
        secret=True, doc="the ticket; `none` lets everybody in who reaches the port"),
    Key(name="title", parse=grammar.text, value="text", live=True, doc="for people"),
    Key(name="description", parse=grammar.text, value="text", live=True, doc="for people"),
    Key(name="tags", parse=grammar.lines, value="list", live=True, doc="for people and their tools"),
)
POWER = (
    Key(name="power", parse=_power, field="power", value="switch", default="on", live=True, with_options=True,
        doc="whether the VM is to run"),
    Key(name="stop_timeout", parse=whole(0, MOST_SECONDS), field="stop_timeout", value="seconds", default="300",
        with_options=True, doc="between the ACPI power-down and the kill"),
)
DISKS = (
    Key(name="disks/<name>/rbd", parse=identifier.rbd_image, value="`pool/image`, `pool/namespace/image`",
        hardware=True, doc="an image in Ceph"),
    Key(name="disks/<name>/path", **FILE, value="path", hardware=True, doc="a file or block device of the host"),
    Key(name="disks/<name>/pool", parse=str, permit=HostConfig.permit_pool, value="pool of host.toml",
        default="`default_pool`", hardware=True, doc="the volume `<vm>-<name>`, created when it is missing"),
    Key(name="disks/<name>/size", parse=size(least=MIB, step=512), field="size", value="size, at least 1 MiB",
        default="as it is", hardware=True, doc="created with it, grown to it, never shrunk"),
    Key(name="disks/<name>/format", parse=choice(Format), field="format", value="`raw qcow2`", default="`raw`",
        hardware=True, doc="never guessed from what the guest wrote"),
    Key(name="disks/<name>/kind", parse=choice(DiskKind, later=("lun",)), field="kind", value="`disk cdrom`",
        default="`disk`", hardware=True, doc="a `cdrom` is read-only"),
    Key(name="disks/<name>/primary", parse=switch, field="primary", value="switch",
        default="the only disk, or `root`", hardware=True, doc="booted from"),
    Key(name="disks/<name>/read_only", parse=switch, field="read_only", value="switch", default="off",
        hardware=True, doc="for the guest and for QEMU"),
    Key(name="disks/<name>/serial", parse=identifier.serial, field="serial", value="1 to 20 letters, digits, `._-`",
        hardware=True, doc="what the guest sees as the disk's serial number"),
    Key(name="disks/<name>/cache", parse=choice(Cache), field="cache", value="`none writeback writethrough`",
        default="`none`", hardware=True, doc="of the host, for this disk"),
)
NICS = (
    Key(name="nics/<name>/mode", parse=choice(NicMode, later=("macvtap",)), field="mode", value="`bridge user none`",
        default="`bridge` where a bridge is named, else `user`", hardware=True, doc="`none`: a card without a cable"),
    Key(name="nics/<name>/bridge", parse=identifier.interface, permit=HostConfig.permit_bridge, field="bridge",
        value="interface", default="`BRIDGE_IF`", hardware=True, doc="a bridge of the host"),
    Key(name="nics/<name>/mac", parse=address.mac, field="mac", value="unicast MAC",
        default="derived from the names of VM and card", hardware=True, doc="its address"),
    Key(name="nics/<name>/model", parse=one_of("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"), field="model",
        value="`virtio e1000 e1000e rtl8139 vmxnet3`", default="`virtio`", hardware=True, doc="what the guest sees"),
    Key(name="nics/<name>/address", parse=several(address.interface_address), field="address",
        value="IPv4 and IPv6 with prefix length", default="DHCP", doc="for the guest, through cloud-init"),
    Key(name="nics/<name>/gateway", parse=several(address.address), field="gateway", value="IPv4 and IPv6",
        doc="default route, likewise"),
    Key(name="nics/<name>/dns", parse=several(address.address), field="dns", value="IPv4 and IPv6",
        doc="name servers, likewise"),
    Key(name="nics/<name>/search", parse=several(identifier.domain), field="search", value="domains",
        doc="search list, likewise"),
)
GUEST = (
    Key(name="user_data", parse=user_data.parse, permit=user_data.permit, field="user_data", with_options=True,
        value="URL, `file:` and a path, or text", doc="cloud-init's user-data; text starts with `#cloud-config`"),
)
# fmt: on

SECTIONS = {
    "From the origin": ORIGIN,
    "The machine": MACHINE,
    "Power": POWER,
    "Disks": DISKS,
    "Network cards": NICS,
    "Guest set-up": GUEST,
}
KEYS = {key.name: key for section in SECTIONS.values() for key in section}

# Meant for a later version. To run with one of them would be another machine than was asked for,
# so it is said, but it is no reason not to start: a newer launcher may have written them.
_LATER = """
    cpus_max cpu_topology cpu_set cpu_weight ram_max hugepages arch firmware tpm timezone rtc hyperv
    balloon watchdog display video vnc_port vnc_addr vnc_password usb/<name> pci/<name> boot_order
    on_poweroff on_reboot on_crash
    disks/<name>/source/image disks/<name>/source/member disks/<name>/source/volume
    disks/<name>/source/format disks/<name>/source/checksum disks/<name>/chained
    disks/<name>/sparse disks/<name>/bus disks/<name>/boot disks/<name>/devname disks/<name>/aio
    disks/<name>/discard disks/<name>/iothread disks/<name>/iops disks/<name>/bps
    nics/<name>/vlan nics/<name>/device nics/<name>/macvtap_mode nics/<name>/mtu
    nics/<name>/queues nics/<name>/link nics/<name>/ports
    meta_data network_config ssh_authorized_keys default_user_password cmds env/<name>
    shares/<name>/path shares/<name>/read_only shares/<name>/mount
"""
LATER = frozenset(_LATER.split())
WRITTEN = ("lock", "epoch", "fence", "pinned", "status", "last")
FAMILIES = ("disks", "nics", "usb", "pci", "env", "shares")


def row_name(name: str) -> str:
    """`disks/root/size` is described in the row `disks/<name>/size`."""
    family, _, rest = name.partition("/")
    if family not in FAMILIES or not rest:
        return name
    _, slash, tail = rest.partition("/")
    return f"{family}/<name>{slash}{tail}"


def find(name: str) -> Key | None:
    return KEYS.get(row_name(name))


def is_passed_over(name: str) -> bool:
    """Written by Holdfast itself, or a note that is nobody's business."""
    return name in WRITTEN or name.startswith(("secret/", "x/"))


def is_taken(name: str) -> bool:
    return name in WRITTEN or row_name(name) in KEYS or row_name(name) in LATER


def complaint(name: str) -> str:
    """What is wrong with a key that is not in the table."""
    if row_name(name) in LATER:
        return "is not supported by this version"
    near = nearest(name)
    return f"is no key of a VM; did you mean {near}?" if near else "is no key of a VM"


def nearest(name: str) -> str:
    import difflib  # noqa: PLC0415 - only for a misspelt key

    member = "/".join(name.split("/")[1:2]) or "<name>"
    known = [row.replace("<name>", member) for row in (*KEYS, *LATER)]
    found = difflib.get_close_matches(name.lower(), known, n=1)
    return found[0] if found else ""
