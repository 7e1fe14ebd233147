"""What this machine must have for a VM beside devices: CPUs, huge pages, room in its control group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import HostLacks, Outgrown
from holdfast.grammar.cpu import spelled
from holdfast.host import Host
from holdfast.host.overhead import ceiling, needed
from holdfast.machine import MIB, Machine
from holdfast.system import cgroup, rlimit

MEMINFO = "/proc/meminfo"
POOLS = "/sys/kernel/mm/hugepages"


def check(machine: Machine) -> None:
    """Check CPUs, limits and huge pages. Raises HostLacks: another host may have it."""
    check_cpus(machine.cpu_set)
    rlimit.check(machine)
    if machine.hugepages is not None:
        check_pages(machine.ram, machine.hugepages or default_page())


def check_cpus(wanted: tuple[int, ...]) -> None:
    there = os.sched_getaffinity(0)
    if missing := tuple(cpu for cpu in wanted if cpu not in there):
        raise HostLacks(
            f"cpu_set: CPU {spelled(missing)} is not one of {spelled(tuple(sorted(there)))}, "
            "which this process may use",
            hint="Change cpu_set, or `--cpuset-cpus` of docker run.",
        )


def default_page(*, meminfo: str = MEMINFO) -> int:
    lines = Path(meminfo).read_text(encoding="ascii").splitlines()
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Hugepagesize:")]
    if not sizes:
        raise HostLacks(
            "hugepages: this kernel has none", hint="Set hugepages=off, or use another host."
        )
    return sizes[0]


def check_pages(ram: int, page: int, *, pools: str = POOLS) -> None:
    """Refuse too few huge pages; `ram` and `page` are bytes. Raises HostLacks. Whoever takes the
    last ones in the meantime makes QEMU fail at its start, not the guest later.
    """
    pool = Path(pools) / f"hugepages-{page // 1024}kB"
    wanted = -(-ram // page)
    free = count(pool / "free_hugepages") - count(pool / "resv_hugepages")
    if free < wanted:
        raise HostLacks(
            f"hugepages: {wanted} of {page // 1024} KiB are needed, and {free} are free",
            hint=f"On the host, echo a number that suffices for all its VMs >{pool}/nr_hugepages "
            "(at boot: hugepages= on the kernel's command line).",
        )


def count(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except OSError:
        return 0  # the CPU has no pages of this size


@contextmanager
def on_cpus(cpus: tuple[int, ...]) -> Iterator[None]:
    """Run what is started meanwhile on these CPUs, with all its threads. Only our thread moves."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def warnings(machine: Machine, host: Host) -> list[str]:
    """Warn of what a VM can run without, for now."""
    return [*apply_weight(machine), *scarce(machine, host, cgroup.memory_max())]


def scarce(machine: Machine, host: Host, limit: int | None) -> list[str]:
    """Warn where the kernel would kill QEMU once the guest has touched all memory. `limit`:
    bytes.
    """
    wanted = needed(machine, host)
    if limit is None or limit >= wanted or machine.options:
        return []
    line = (
        f"the limit of this container, {limit // MIB} MiB, is less than the {wanted // MIB} MiB that "
        "guest and QEMU may come to need: the kernel may kill the VM (docker run: "
        f"--memory {-(-wanted // MIB)}m)"
    )
    return [line]


def check_reckoned(machine: Machine, host: Host, reckoned: int) -> None:
    """Refuse too low a limit (`reckoned`, bytes) before anything is taken: `ram` may have changed
    since the container was made, or etcd was away then. Raises Outgrown. Who has stood by for the
    VM ends, too: whoever made the container makes one with another limit.
    """
    wanted = ceiling(machine, host)
    if reckoned < wanted:
        was = f"was {reckoned // MIB} MiB" if reckoned else "could not be reckoned"
        raise Outgrown(
            f"the limit of this container's memory {was} when it was made, and by the VM's keys it is "
            f"{wanted // MIB} MiB now: it must be made anew",
            hint="kvm@.service does so by itself. MEMORY= in its env file sets a limit of your own.",
        )


def apply_weight(machine: Machine) -> list[str]:
    """Apply the VM's weight; return the warning, where it cannot be."""
    if machine.cpu_weight is None:
        return []
    why = cgroup.set_cpu_weight(machine.cpu_weight)
    hint = "docker run: --cpu-shares; systemd: CPUWeight="
    return [f"cpu_weight is not in force: {why} ({hint})"] if why else []
