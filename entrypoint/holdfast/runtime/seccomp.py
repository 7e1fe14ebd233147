"""A filter of system calls as the kernel takes it: a program for its packet filter (seccomp(2)).

It is written here, without libseccomp: a dozen instructions are no reason for another library in each launcher.
"""

import struct

from holdfast.dataclass import dataclass
from holdfast.errors import HostLacks
from holdfast.runtime.syscalls import (
    ARCHITECTURES,
    CLONE,
    CLONE3,
    DANGEROUS,
    NETWORK,
    NEWEST,
    PROCESSES,
    SOCKET,
    X86_64,
)

# linux/bpf_common.h
LOAD, EQUAL, GREATER, ANY_OF, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
# struct seccomp_data: the call's number, the architecture, and the lower half of its first argument
NUMBER, ARCHITECTURE, FIRST = 0, 4, 16
ALLOW, KILL, ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
EPERM, ENOSYS = 1, 38
CLONE_THREAD = 0x0001_0000
CLONE_NEW = 0x7E02_0000  # all namespaces
FAMILIES = (
    1,
    2,
    10,
    16,
)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what a resolver and a client ask for


@dataclass(frozen=True, kw_only=True)
class Filter:
    """`network`: it may open connections, by the usual families. `processes`: it may start others."""

    network: bool = False
    processes: bool = False


def program(machine: str, what: Filter) -> bytes:
    """Assemble one for `machine` as uname calls it; what is called by another machine's numbers
    ends the process. Raises HostLacks for a machine without one.
    """
    if machine not in ARCHITECTURES:
        raise HostLacks(f"there is no filter of system calls for {machine}")
    lines = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        # ENOSYS, so that a library takes the older call that it knows as well.
        *_refused((GREATER, NEWEST), ENOSYS),
        *_refused((EQUAL, CLONE3), ENOSYS),  # its flags lie in memory, where no filter can look
        *(line for number in numbers(machine, what) for line in _refused((EQUAL, number), EPERM)),
        *_cloned(CLONE[machine], processes=what.processes),
        *(_of_families(SOCKET[machine]) if what.network else ()),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


Line = tuple[int, int, int, int]


def numbers(machine: str, what: Filter) -> list[int]:
    tables = [
        DANGEROUS,
        *([] if what.network else [NETWORK]),
        *([] if what.processes else [PROCESSES]),
    ]
    column = 0 if machine == X86_64 else 1
    found = [row[column] for table in tables for row in table.values()]
    return sorted(number for number in found if number is not None)


def _refused(condition: tuple[int, int], errno: int) -> list[Line]:
    operation, value = condition
    return [(operation, 0, 1, value), (RETURN, 0, 0, ERRNO | errno)]


def _cloned(number: int, *, processes: bool) -> list[Line]:
    """Threads, or processes too, but none in namespaces of its own. The number is loaded again for who comes after."""
    refused = [(RETURN, 0, 0, ERRNO | EPERM)]
    asked = [
        (LOAD, 0, 0, FIRST),
        (ANY_OF, 0, 1, CLONE_NEW),
        *refused,
        *([] if processes else [(ANY_OF, 1, 0, CLONE_THREAD), *refused]),
        (LOAD, 0, 0, NUMBER),
    ]
    return [(EQUAL, 0, len(asked), number), *asked]


def _of_families(number: int) -> list[Line]:
    asked = [
        (LOAD, 0, 0, FIRST),
        *((EQUAL, left, 0, FAMILIES[-left]) for left in range(len(FAMILIES), 0, -1)),
        (RETURN, 0, 0, ERRNO | EPERM),
        (LOAD, 0, 0, NUMBER),
    ]
    return [(EQUAL, 0, len(asked), number), *asked]
