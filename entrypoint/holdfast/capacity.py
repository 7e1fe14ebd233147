"""What this machine must have for a VM beside devices: CPUs, and room in its control group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast import cgroup
from holdfast.cpu import spelled
from holdfast.errors import HostLacks
from holdfast.machine import Machine


def check(machine: Machine) -> None:
    """Raises HostLacks: another host may have it."""
    check_cpus(machine.cpu_set)


def check_cpus(wanted: tuple[int, ...]) -> None:
    there = os.sched_getaffinity(0)
    if missing := tuple(cpu for cpu in wanted if cpu not in there):
        raise HostLacks(
            f"cpu_set: CPU {spelled(missing)} is not one of {spelled(tuple(sorted(there)))}, "
            "which this process may use",
            hint="Change cpu_set, or `--cpuset-cpus` of docker run.",
        )


@contextmanager
def on_cpus(cpus: tuple[int, ...]) -> Iterator[None]:
    """What is started meanwhile runs on these CPUs, with all its threads. Only our thread moves."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def apply_weight(machine: Machine) -> list[str]:
    """The warning, where it cannot be."""
    if machine.cpu_weight is None:
        return []
    why = cgroup.set_cpu_weight(machine.cpu_weight)
    hint = "docker run: --cpu-shares; systemd: CPUWeight="
    return [f"cpu_weight is not in force: {why} ({hint})"] if why else []
