"""A golden case: keys in a file, and the two commands they become."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from holdfast.cli.argv import recorded
from holdfast.config import settings
from holdfast.description import describe
from holdfast.host import Host
from holdfast.keys.vm_file import raw_from_file
from holdfast.machine import Disk, Guest, Machine, Nic, RbdImage, Tpm, Volume
from holdfast.qemu import command_line
from holdfast.qemu.wiring import Ceph, Tap, Wiring

HERE = Path(__file__).parent
HOST = HERE / "host.json"
HOST_TOML = HERE / "host.toml"

# Descriptors as a launcher might have them; so high that a test can use the very same numbers.
QMP, AGENT, CONSOLE, TYPED, SEED, TPM, IOMMU, TAPS, DISKS, PARENTS, SHARES, USB, PCI = (
    110,
    111,
    112,
    113,
    114,
    115,
    116,
    120,
    140,
    160,
    180,
    190,
    200,
)


@dataclass(frozen=True)
class Case:
    name: str

    @property
    def keys(self) -> Path:
        return HERE / "cases" / f"{self.name}.yaml"

    @property
    def host_file(self) -> Path:
        own = HERE / "cases" / f"{self.name}.host.json"
        return own if own.exists() else HOST

    @property
    def pasted(self) -> Path:
        """What `holdfast argv` prints."""
        return HERE / "cases" / f"{self.name}.args"

    @property
    def launched(self) -> Path:
        """What the launcher starts."""
        return HERE / "cases" / f"{self.name}.launched.args"

    @cached_property
    def host(self) -> Host:
        return recorded(str(self.host_file))

    @cached_property
    def machine(self) -> Machine:
        toml = HOST_TOML.read_text(encoding="utf-8")
        known = settings.parse({"VM": self.name, "VM_FILE": str(self.keys)}, host_toml=toml)
        raw = raw_from_file(self.keys.read_text(encoding="utf-8"))
        return describe(replace(known, arch=self.host.arch), raw, {}).machine

    def argv(self) -> list[str]:
        return command_line(self.machine, self.host, wiring(self.machine))


def wiring(machine: Machine) -> Wiring:
    local = [disk.name for disk in machine.storage if not isinstance(disk.backend, RbdImage)]
    blocks = {disk.name for disk in machine.storage if str(disk.backend).startswith("/dev/")}
    run = f"/run/holdfast/{machine.vm}"
    seeded = machine.guest != Guest() or any(nic.address for nic in machine.nics)
    seeded |= any(share.mount for share in machine.shares)
    return Wiring(
        qmp=QMP,
        agent=AGENT,
        console=CONSOLE,
        console_input=TYPED,
        taps=taps([nic for nic in machine.nics if nic.parent]),
        disks={name: DISKS + number for number, name in enumerate(local)},
        parents={disk.name: PARENTS + number for number, disk in enumerate(chained(machine))},
        block_devices=frozenset(blocks),
        seed=SEED if seeded else None,
        tpm=TPM if machine.tpm is Tpm.v2 else None,
        shares={share.name: SHARES + number for number, share in enumerate(machine.shares)},
        usb={device.name: USB + number for number, device in enumerate(machine.usb)},
        pci={device.name: PCI + number for number, device in enumerate(machine.pci)},
        iommu=IOMMU if machine.pci else None,
        kernel=f"{run}/kernel" if machine.kernel else "",
        initrd=f"{run}/initrd" if machine.initrd else "",
        spice_password_file=f"{run}/spice-password",
        vnc_password_file=f"{run}/vnc-password",
        screen_tls=f"{run}/screen-tls",
        ceph=Ceph(conf=f"{run}/ceph.conf", key_file=f"{run}/ceph.key"),
        confined=True,
        paused=True,
    )


def taps(nics: Sequence[Nic]) -> dict[str, Tap]:
    """A card with several queues has the kernel's help as well."""
    numbers, made = itertools.count(TAPS), {}
    for nic in nics:
        queues = tuple(itertools.islice(numbers, nic.queues))
        vhost = tuple(queue + 100 for queue in queues) if nic.queues > 1 else ()
        made[nic.name] = Tap(queues=queues, vhost=vhost)
    return made


def chained(machine: Machine) -> list[Disk]:
    """Those that sit on a golden image beside them."""
    return [disk for disk in machine.disks if disk.chained and isinstance(disk.backend, Volume)]


CASES = [Case(path.stem) for path in sorted((HERE / "cases").glob("*.yaml"))]
