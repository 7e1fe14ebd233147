"""The machine itself: what is left when disks, network cards, display and console are taken away."""

from holdfast.errors import ConfigError, Fault
from holdfast.host import Host
from holdfast.machine import (
    Accelerator,
    Arch,
    Firmware,
    Machine,
    OnCrash,
    OnReboot,
    Watchdog,
)
from holdfast.machine.board import is_i440fx, is_q35, lacks_ahci
from holdfast.qemu import memory, slots
from holdfast.qemu.processor import processor
from holdfast.qemu.spelling import Device, Object, Part, Setting, keyed
from holdfast.qemu.wiring import Wiring

FIRMWARE = "firmware"  # the node with the code of a UEFI

SANDBOX = keyed(
    "on", obsolete="deny", elevateprivileges="deny", spawn="deny", resourcecontrol="deny"
)

# Where the origin's command put them on its i440fx. A guest names its network card after the slot.
# Nothing but the adapter comes before the first card, so that nobody else can be there already.
ORIGIN_VIDEO = "0x2"
ORIGIN_NIC = "0x3"


def system(machine: Machine, host: Host, wiring: Wiring) -> list[Part]:
    accelerator = host.accelerator(machine)
    refuse_foreign_kvm(machine, host)
    return [
        Setting("nodefaults"),
        Setting("no-user-config"),
        Setting("name", keyed("", guest=machine.vm, process=f"qemu-{machine.vm}")),
        Setting("uuid", machine.uuid),
        Setting("machine", board(machine)),
        Setting("accel", accel(accelerator)),
        *processor(machine, host),
        *memory.memory(machine),
        Setting("rtc", keyed("", base=machine.rtc.value)),
        actions(machine),
        *direct_boot(machine, wiring),
        *launched(wiring),
    ]


def actions(machine: Machine) -> Setting:
    """Said, not left to QEMU: the supervisor reads the reason of a SHUTDOWN event."""
    reboot = "shutdown" if machine.on_reboot is OnReboot.stop else "reset"
    panic = "pause" if machine.on_crash is OnCrash.pause else "shutdown"
    chosen = keyed("", reboot=reboot, shutdown="poweroff", panic=panic, watchdog=bite(machine))
    return Setting("action", chosen)


def board(machine: Machine) -> str:
    """The value of `-machine`."""
    variables = machine.variables
    return keyed(
        machine.machine,
        # Without it the controller of QEMU's first boards, for eight CPUs at most.
        gic_version="max" if machine.arch is Arch.aarch64 else None,
        sata=False if lacks_ahci(machine) else None,
        smm=smm(machine),
        pflash0=FIRMWARE if variables else None,
        pflash1=f"disk-{variables.name}" if variables else None,
        memory_backend=memory.RAM if memory.has_backend(machine) else None,
    )


def smm(machine: Machine) -> bool | None:
    """Whether the processor has its system management mode, which guards the variables of Secure Boot. A BIOS on
    q35 has no use for it, and would set it up for some ms in each start.
    """
    if machine.firmware is Firmware.uefi_secure:
        return True
    return False if is_q35(machine) and machine.firmware is Firmware.bios else None


def refuse_foreign_kvm(machine: Machine, host: Host) -> None:
    if machine.accelerator is Accelerator.kvm and host.is_foreign(machine.arch):
        rule = f"runs {host.arch} on this host, and this VM is {machine.arch}: use tcg or auto"
        raise ConfigError([Fault(key="accelerator", value="kvm", rule=rule)])


def accel(accelerator: Accelerator) -> str:
    return "kvm" if accelerator is Accelerator.kvm else "tcg,thread=multi"


def bite(machine: Machine) -> str | None:
    return None if machine.watchdog is Watchdog.off else machine.watchdog.value


def direct_boot(machine: Machine, wiring: Wiring) -> list[Part]:
    if not machine.kernel:
        return []
    given = {
        "kernel": wiring.kernel or machine.kernel,
        "initrd": wiring.initrd or machine.initrd,
        "append": machine.cmdline,
    }
    return [Setting(name, value) for name, value in given.items() if value]


def launched(wiring: Wiring) -> list[Part]:
    """What only the launcher adds: the guest waits for `cont`, and QEMU is confined."""
    sandbox = [Setting("sandbox", SANDBOX)] if wiring.confined else []
    return [*sandbox, *([Setting("S")] if wiring.paused else [])]


def pvpanic(machine: Machine) -> Device:
    """On the ISA bus where there is one: that is one PCI device less, which the firmware sets up for 4 ms (TCG)."""
    if is_i440fx(machine) or is_q35(machine):
        return Device("pvpanic", {"id": "pvpanic"})
    return Device("pvpanic-pci", {"id": "pvpanic", **slots.fixed(machine, "pvpanic")})


def helpers(machine: Machine) -> list[Part]:
    """Small devices every guest has: a way to say that it panicked, and a source of entropy."""
    return [
        pvpanic(machine),
        *(entropy(machine) if machine.rng else []),
        *memory.devices(machine),
        *watchdog(machine),
    ]


def entropy(machine: Machine) -> list[Part]:
    device = {"id": "rng", "rng": "rng", **slots.fixed(machine, "rng")}
    return [Object("rng-builtin", {"id": "rng"}), Device("virtio-rng-pci", device)]


def watchdog(machine: Machine) -> list[Part]:
    """The one that every board takes and Linux has had a driver for since 2.6. It sleeps until asked."""
    if machine.watchdog is Watchdog.off:
        return []
    return [Device("i6300esb", {"id": "watchdog", **slots.fixed(machine, "watchdog")})]
