"""The questions this host is asked before a start; the answers become a Host."""

import os
from pathlib import Path

from holdfast.host import Access, Host, KvmFacts, judge, kvm_group
from holdfast.machine import Arch
from holdfast.system import device

EMULATORS = "/usr/bin/qemu-system-"
CPUINFO = "/proc/cpuinfo"
MOUNTINFO = "/proc/self/mountinfo"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MACHINE_ID = "/etc/machine-id"
PRODUCT_UUID = "/sys/class/dmi/id/product_uuid"
IO_URING_SETUP = 425  # on every architecture (io_uring_setup(2))
IO_URING_PARAMS = 120  # bytes of its struct
CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/host/container-manager")

# What boards report whose maker never wrote a number of their own.
SHARED_UUIDS = frozenset(
    {
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    }
)

SHARED_NAMES = frozenset({"", "localhost", "localhost.localdomain"})


def probe(name: str, *, make: bool = True) -> Host:
    """Ask what this host is. `make` False: /dev/kvm is not created, as a question must not."""
    arch = os.uname().machine
    facts = kvm_facts(arch, make=make)
    return Host(
        name=name,
        machine_id=machine_id(name),
        boot_id=_text(BOOT_ID),
        arch=arch,
        qemu=f"{EMULATORS}{arch}",
        kvm=judge(facts),
        kvm_gid=kvm_group(facts),
        topoext="topoext" in facts.flags,
        emulators=emulators(),
    )


def emulators() -> dict[str, str]:
    found = {arch: f"{EMULATORS}{arch}" for arch in Arch}
    return {arch.value: path for arch, path in found.items() if Path(path).exists()}


def kvm_facts(arch: str, *, make: bool = True, kvm: device.Device = device.KVM) -> KvmFacts:
    node = device.provide(kvm) if make else device.attempt(kvm)
    found = Path(kvm.path).stat() if node is Access.open else None
    return KvmFacts(
        arch=arch,
        flags=cpu_flags(CPUINFO),
        node=node,
        mode=found.st_mode if found else 0,
        gid=found.st_gid if found else 0,
    )


def cpu_flags(path: str) -> frozenset[str]:
    """Read the flags of the first CPU. The file has a page for each: the rest is not read."""
    with Path(path).open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def io_uring() -> bool:
    """Tell whether the system call works here. Container engines forbid it in newer versions, and
    a QEMU that was told to use it then starts without a word and does no I/O.
    """
    import ctypes  # noqa: PLC0415 - only for disks that are files or block devices

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(IO_URING_PARAMS)))
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def machine_id(name: str) -> str:
    """Find a name for this machine that outlives containers and reboots, and that no other has.

    Claims on local disks carry it: two machines with one id would both take such a disk for theirs,
    while an id that changes only makes a launcher refuse. So what may be shared is never used.

    1. The UUID in the firmware's tables, which is the same inside and outside of containers; not
       one of those that makers ship on every board.
    2. /etc/machine-id of the host: in a container that means one mounted there, because an image
       brings its own to every host.
    3. The host's name as the operator gave it, unless it is what machines are called that were given none.
    4. This boot of the kernel.
    """
    uuid = _text(PRODUCT_UUID).lower()
    if uuid and uuid not in SHARED_UUIDS:
        return f"dmi:{uuid}"
    own = _text(MACHINE_ID)
    if own and own != "uninitialized" and is_hosts_file(MACHINE_ID, _text(MOUNTINFO)):
        return f"machine-id:{own}"
    return f"boot:{_text(BOOT_ID)}" if name in SHARED_NAMES else f"name:{name}"


def is_hosts_file(path: str, mountinfo: str) -> bool:
    """Tell whether a file below / is the host's: mounted by itself, or this is no container."""
    from holdfast.system import mounts  # noqa: PLC0415 - for machines whose firmware says no UUID

    points = mounts.by_point(mountinfo.splitlines())
    if path in points:
        return True
    on_layers = "/" in points and "overlay" in points["/"].kind
    return not (on_layers or any(map(os.path.exists, CONTAINER_MARKS)))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
