"""The keys of the machine: all that is neither a disk nor a network card."""

from holdfast import address, grammar, identifier
from holdfast.grammar import choice, line, switch, whole
from holdfast.keys.row import FILE, Key
from holdfast.machine import Accelerator

LONGEST_KERNEL_LINE = 2047  # the kernel's COMMAND_LINE_SIZE on x86 and arm, less the closing NUL
LONGEST_TICKET = 60  # SPICE_MAX_PASSWORD_LENGTH
MOST_CPUS = 255  # of `pc`; more need an IOMMU


def _password(text: str) -> str | None:
    """None: SPICE asks nobody, as in the origin."""
    if not text:
        raise grammar.Refused("is empty: delete the key, and a password is made")
    return None if text == "none" else line(LONGEST_TICKET)(text)


# fmt: off
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
