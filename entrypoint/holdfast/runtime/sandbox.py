"""Filters of system calls, put on helpers from outside (by setpriv) or by a helper on itself."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.errors import HostLacks
from holdfast.runtime.seccomp import Filter, program

SECCOMP = {"x86_64": 317, "aarch64": 277}  # the call's number: glibc has no function for it
SET_MODE_FILTER, TSYNC = 1, 1


@contextmanager
def handed(what: Filter) -> Iterator[int]:
    """Yield a descriptor of the filter, for `confinement` and for what is started meanwhile."""
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, program(os.uname().machine, what))
        yield descriptor
    finally:
        os.close(descriptor)


def put_on(what: Filter) -> None:
    """Filter all threads of this process, for good. It has no_new_privs, as every helper has.
    Raises HostLacks where the kernel takes no filter.
    """
    import ctypes  # noqa: PLC0415 - a helper's, never PID 1's

    machine = os.uname().machine
    lines = ctypes.create_string_buffer(program(machine, what))
    filtered = struct.pack("HP", len(lines) // 8, ctypes.addressof(lines))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SECCOMP[machine], SET_MODE_FILTER, TSYNC, filtered):
        reason = os.strerror(ctypes.get_errno())
        raise HostLacks(f"this kernel takes no filter of system calls: {reason}")
