"""How many processes, threads and files this host allows us, and what is said when they have run out."""

import errno
import resource
import subprocess

from holdfast.errors import HostLacks, together
from holdfast.host.overhead import most
from holdfast.machine import GIB, MIB, Machine, RbdImage
from holdfast.system import cgroup

# Processes and threads at the same time: the launcher with its helpers, and QEMU without its CPUs.
# librados has a dozen threads or two in each of the two.
TASKS = 16
TASKS_FOR_CEPH = 32
FILES = 128  # the launcher, and a QEMU with few disks
LOCKED_BESIDE = GIB  # memory of devices and adapters, which others are shown, too
MORE_TASKS = (
    "Raise `--pids-limit` of docker run, `TasksMax=` of the unit or `ulimit -u`: "
    "QEMU takes more of them when its disks are busy, 256 are enough."
)
MORE_FILES = "Raise `--ulimit nofile=` of docker run, `LimitNOFILE=` of the unit or `ulimit -n`: 1024 are enough."


def check(machine: Machine) -> None:
    """Check the limits. Raises HostLacks: found out later, it would be QEMU that ends, or a thread
    that never runs.
    """
    ceph = any(isinstance(disk.backend, RbdImage) for disk in machine.storage)
    if machine.pci:
        allow_locked(most(machine) + LOCKED_BESIDE)
    tasks = TASKS + (machine.cpus_max or machine.cpus) + (TASKS_FOR_CEPH if ceph else 0)
    together((check_files, lambda: check_tasks(tasks)))


def check_tasks(needed: int) -> None:
    group, user = cgroup.pids_max(), resource.getrlimit(resource.RLIMIT_NPROC)[0]
    limits = [limit for limit in (group, user) if limit not in (None, resource.RLIM_INFINITY)]
    if limits and (least := min(limits)) < needed:
        raise HostLacks(
            f"only {least} processes and threads are allowed here, and this VM needs {needed}",
            hint=MORE_TASKS,
        )


def check_files() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if not enough(limit, FILES):
        raise HostLacks(
            f"only {limit} open files are allowed here, and a VM needs {FILES} at least",
            hint=MORE_FILES,
        )


def allow_locked(needed: int) -> None:
    """Allow so many bytes to be locked: a device reaches all of the guest's memory at any time,
    and vfio locks it. QEMU inherits the limit. Raises HostLacks where it may not be set.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if enough(soft, needed):
        return
    try:
        limits = (needed, hard if enough(hard, needed) else needed)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)
    except (ValueError, OSError) as error:
        raise HostLacks(
            f"only {hard // MIB} MiB of memory may be locked here, and a VM with a PCI device of the host "
            f"needs {needed // MIB}",
            hint="Raise `--ulimit memlock=-1` of docker run, `LimitMEMLOCK=` of the unit or `ulimit -l`.",
        ) from error


def enough(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def exhausted(error: Exception) -> HostLacks | None:
    """Return what the kernel says when there is no room for one more, in Python's words."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return HostLacks("no more open files are allowed here", hint=MORE_FILES)
    forking = isinstance(error, BlockingIOError) and _raised_in(error) == subprocess.__file__
    if forking or "can't start new thread" in str(error):
        return HostLacks("no more processes or threads are allowed here", hint=MORE_TASKS)
    return None


def _raised_in(error: Exception) -> str:
    from traceback import walk_tb  # noqa: PLC0415 - a start that goes well has none

    frames = list(walk_tb(error.__traceback__))
    return frames[-1][0].f_code.co_filename if frames else ""
