"""The keys of the machine: all that is neither a disk nor a network card."""

from contextlib import suppress

from holdfast import grammar
from holdfast.grammar import (
    HIGHEST_PORT,
    Parser,
    address,
    choice,
    cpu,
    identifier,
    line,
    several,
    size,
    switch,
    whole,
)
from holdfast.grammar.cpu import MOST_CPUS
from holdfast.keys.row import FILE, Key
from holdfast.machine import (
    KIB,
    MIB,
    Accelerator,
    Arch,
    Display,
    Firmware,
    Rtc,
    Tpm,
    Video,
    Watchdog,
)
from holdfast.machine.display import FIRST_VNC_PORT
from holdfast.policy.host_config import EMULATOR, HostConfig

LONGEST_KERNEL_LINE = 2047  # the kernel's COMMAND_LINE_SIZE on x86 and arm, less the closing NUL
LONGEST_TICKET = 60  # SPICE_MAX_PASSWORD_LENGTH
LONGEST_VNC_PASSWORD = 8  # RFC 6143: the key of DES


def _password(longest: int) -> Parser[str | None]:
    """None: nobody is asked, as in the origin."""

    def parse(text: str) -> str | None:
        if not text:
            raise grammar.Refused("is empty: delete the key, and a password is made")
        return None if text == "none" else line(longest)(text)

    return parse


def _arch(text: str) -> Arch:
    return choice(Arch)(text.removeprefix(EMULATOR))


def _hugepages(text: str) -> int | None:
    """None: ordinary pages. 0: huge ones of the size that the host has by default."""
    with suppress(grammar.Refused):
        return 0 if switch(text) else None
    with suppress(grammar.Refused):
        page = size(least=64 * KIB)(text)
        if page.bit_count() == 1:
            return page
    raise grammar.Refused("must be on, off, or the size of a huge page such as 2M or 1G")


# fmt: off
MACHINE = (
    Key(name="cpus", parse=whole(1, MOST_CPUS), field="cpus", value="1 to 255", default="1", hardware=True,
        doc="virtual CPUs"),
    Key(name="cpus_max", parse=whole(1, MOST_CPUS), field="cpus_max", value="1 to 255", default="`cpus`",
        hardware=True, doc="as many can be plugged into the running guest"),
    Key(name="cpu_topology", parse=cpu.topology, field="cpu_topology", value="`sockets:1,cores:2,threads:2`",
        default="QEMU's", hardware=True, doc="makes `cpus_max` CPUs; a part that is left out is 1"),
    Key(name="cpu_set", parse=cpu.cpu_set, field="cpu_set", value="`0-3,8`", default="any",
        doc="the host's CPUs that QEMU's threads may run on"),
    Key(name="cpu_weight", parse=whole(1, 10000), field="cpu_weight", value="1 to 10000", default="the container's",
        doc="`cpu.weight` of the container's cgroup, where that may be written"),
    Key(name="cpu_model", parse=identifier.word, field="cpu_model", value="QEMU's name of it", hardware=True,
        default="`host` with KVM, else `max`", doc="without flags; those go into `extra_flags`"),
    Key(name="ram_max", parse=size(bare=MIB, least=16 * MIB, step=2 * MIB), field="ram_max", value="size, above `ram`",
        default="`ram`", hardware=True, doc="as much can be plugged into the running guest (virtio-mem)"),
    Key(name="hugepages", parse=_hugepages, field="hugepages", value="`off`, `on`, or the size of a page",
        default="off", doc="memory from the host's huge pages; `on` takes its default size"),
    Key(name="machine", parse=identifier.machine, field="machine", value="QEMU's name of it", hardware=True,
        default="`q35`; `pc` for a VM with none of the keys marked *; for aarch64 `virt`", doc="the board"),
    Key(name="arch", parse=_arch, permit=HostConfig.permit_emulator, field="arch", value="`x86_64 aarch64`",
        default="the host's", hardware=True, doc="another one than the host's is emulated; also `qemu-system-aarch64`"),
    Key(name="firmware", parse=choice(Firmware), field="firmware", value="`bios uefi uefi-secure`",
        default="`bios`; for aarch64 `uefi`", hardware=True,
        doc="a UEFI's variables are the volume `<vm>-vars` in the primary disk's pool"),
    Key(name="accelerator", parse=choice(Accelerator), field="accelerator", value="`auto kvm tcg`", default="`auto`",
        hardware=True, doc="`auto`: KVM where it is usable, else TCG with a warning"),
    Key(name="tpm", parse=choice(Tpm), field="tpm", value="`off 2.0`", default="`off`", hardware=True,
        doc="its state is kept with the VM's keys and follows the VM"),
    Key(name="kernel", **FILE, field="kernel", value="path", hardware=True, doc="direct kernel boot"),
    Key(name="initrd", **FILE, field="initrd", value="path", hardware=True, doc="its initial RAM disk"),
    Key(name="cmdline", parse=line(LONGEST_KERNEL_LINE), field="cmdline", value="text", hardware=True,
        doc="its command line"),
    Key(name="uuid", parse=identifier.uuid, field="uuid", value="UUID", default="derived from the VM's name",
        hardware=True, doc="SMBIOS and cloud-init's instance"),
    Key(name="rtc", parse=choice(Rtc), field="rtc", value="`utc localtime`", default="`utc`", hardware=True,
        doc="what the hardware clock shows; `localtime` (of `timezone`) for Windows"),
    Key(name="hyperv", parse=switch, field="hyperv", value="switch", default="off", hardware=True,
        doc="Hyper-V's interfaces for Windows; with KVM only"),
    Key(name="hostname", parse=identifier.hostname, field="hostname", value="label of RFC 1123", default="the VM's name",
        with_options=True, doc="the guest's name for cloud-init"),
    Key(name="guest_agent", parse=switch, field="guest_agent", value="switch", default="on", hardware=True,
        doc="the port of qemu-guest-agent"),
    Key(name="rng", parse=switch, field="rng", value="switch", default="on", hardware=True,
        doc="virtio-rng, fed by the host"),
    Key(name="balloon", parse=switch, field="balloon", value="switch", default="on; off on `pc`", hardware=True,
        doc="virtio-balloon; gives back to the host at once what the guest frees"),
    Key(name="watchdog", parse=choice(Watchdog), field="watchdog", value="`off reset poweroff pause`", default="`off`",
        hardware=True, doc="i6300esb, and what is done when it runs out"),
    Key(name="boot_order", parse=several(identifier.boot_device), value="names of disks and cards",
        default="the primary disk", doc="what the firmware tries, in this order"),
    Key(name="display", parse=choice(Display), value="`spice vnc none`", default="whose port is set, else `none`",
        doc="how a person gets to the screen"),
    Key(name="video", parse=choice(Video), field="video", value="`std virtio qxl none`", hardware=True,
        default="`qxl` for SPICE, `std` for VNC", doc="the graphics adapter"),
    Key(name="spice_addr", parse=address.listen_address, value="IP address", default="127.0.0.1",
        doc="where SPICE listens; beyond loopback with TLS and a password, see host.toml"),
    Key(name="spice_password", parse=_password(LONGEST_TICKET), value="text, or `none`", default="made at the start",
        secret=True, doc="the ticket; `none` lets everybody in who reaches the port"),
    Key(name="vnc_port", parse=whole(FIRST_VNC_PORT, HIGHEST_PORT), value="port, at least 5900", default="no VNC",
        doc="VNC with a password, on `vnc_addr`"),
    Key(name="vnc_addr", parse=address.listen_address, value="IP address", default="127.0.0.1",
        doc="where VNC listens; likewise"),
    Key(name="vnc_password", parse=_password(LONGEST_VNC_PASSWORD), value="text of 8 bytes, or `none`",
        default="made at the start", secret=True, doc="VNC heeds no more of it, and encrypts with `screen_tls` only"),
    Key(name="title", parse=grammar.text, value="text", doc="for people"),
    Key(name="description", parse=grammar.text, value="text", doc="for people"),
    Key(name="tags", parse=grammar.lines, value="list", doc="for people and their tools"),
)
