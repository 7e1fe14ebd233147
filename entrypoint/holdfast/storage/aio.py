"""Whether this host lets QEMU use io_uring for files and block devices."""

from collections.abc import Sequence

from holdfast.errors import ConfigError, Fault
from holdfast.machine import Aio, Disk, RbdImage
from holdfast.system import probe


def check(disks: Sequence[Disk]) -> bool:
    """Tell whether io_uring works here, if a disk may use it. Raises ConfigError if one must."""
    local_disks = [disk for disk in disks if not isinstance(disk.backend, RbdImage)]
    if not any(disk.aio in (None, Aio.io_uring) for disk in local_disks):
        return False
    works = probe.io_uring()
    rule = "is not possible here: the kernel or the container engine forbids it; use native or threads"
    faults = [
        Fault(key=f"disks/{disk.name}/aio", value="io_uring", rule=rule)
        for disk in local_disks
        if disk.aio is Aio.io_uring and not works
    ]
    if faults:
        raise ConfigError(faults)
    return works
