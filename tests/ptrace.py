"""What the kernel tells of another process to who may trace it."""

import ctypes
import errno
import os
from typing import Any

# linux/ptrace.h
SEIZE, INTERRUPT, DETACH, SECCOMP_GET_FILTER = 0x4206, 0x4207, 17, 0x420C
WALL = 0x4000_0000


def filters(pid: int) -> list[str]:
    """Its filters of system calls, the oldest first."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request: int, *arguments: Any) -> int:
        done = int(libc.ptrace(request, pid, *arguments))
        if done < 0 and (number := ctypes.get_errno()) != errno.ENOENT:
            raise OSError(number, os.strerror(number))
        return done

    found: list[str] = []
    ptrace(SEIZE, None, None)
    try:
        ptrace(INTERRUPT, None, None)
        os.waitpid(pid, WALL)
        while (count := ptrace(SECCOMP_GET_FILTER, len(found), None)) > 0:
            lines = ctypes.create_string_buffer(count * 8)
            ptrace(SECCOMP_GET_FILTER, len(found), ctypes.addressof(lines))
            found.append(lines.raw.hex())
    finally:
        ptrace(DETACH, None, None)
    return found
