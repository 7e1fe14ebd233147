"""A stand-in for a QEMU that somebody has broken out of: run in QEMU's container, it takes on QEMU's uid, groups,
capabilities and filters of system calls, and tries what such a one would.

    python3 -I - WHO <stand_in.py        WHO is JSON, see test_attacks.py

Each try is in a process of its own, since some end it. A line for each: what was tried, and what stopped it.
"""

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

WHO: dict[str, Any] = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
DONE = "nothing"
SET_NO_NEW_PRIVS, CAPBSET_DROP, SECCOMP, SET_MODE_FILTER = 38, 24, 317, 1
TUNSETIFF = 0x400454CA
NETFILTER, NEWUSER = 12, 0x1000_0000
NEXT = "/proc/1/"
BUFFER = ctypes.create_string_buffer(8)
PIECE = struct.pack("PN", ctypes.addressof(BUFFER), 8)  # struct iovec


def confine() -> None:
    """As setpriv and QEMU's -sandbox leave it. Nothing of the container's root is left."""
    for number in range(64):
        LIBC.prctl(CAPBSET_DROP, number, 0, 0, 0)
    os.setgroups(WHO["groups"])
    os.setresgid(*[WHO["gid"]] * 3)
    os.setresuid(*[WHO["uid"]] * 3)
    LIBC.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for one in WHO["filters"]:
        lines = ctypes.create_string_buffer(bytes.fromhex(one))
        filtered = struct.pack("HP", len(lines) // 8, ctypes.addressof(lines))
        if LIBC.syscall(SECCOMP, SET_MODE_FILTER, 0, filtered):
            raise OSError(ctypes.get_errno(), "seccomp")


def call(*given: int | bytes) -> None:
    if LIBC.syscall(*given) < 0:
        raise OSError(ctypes.get_errno(), str(given[0]))


def connect(where: str, port: int) -> None:
    with socket.create_connection((where, port), timeout=10):
        pass


def connect_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)


def bind_unix(name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(f"\0{name}")


def read(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def list_folder(path: str) -> None:
    list(Path(path).iterdir())


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def ask_kernel(family: int, kind: int, flags: int, body: bytes) -> None:
    """A change by netlink; the kernel answers with an error number, 0 for done."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as one:
        one.settimeout(10)
        one.send(struct.pack("=IHHII", 16 + len(body), kind, flags | 5, 1, 0) + body)
        (answer,) = struct.unpack_from("=i", one.recv(4096), 16)
        if answer:
            raise OSError(-answer, "netlink")


def join_tap(name: str) -> None:
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), 0x1102))


def replace_process() -> None:
    os.execv("/usr/bin/setpriv", ["setpriv", "--reuid=0", "true"])


def tries() -> dict[str, Callable[[], object]]:
    own, other = f"/run/holdfast/{WHO['vm']}", f"/run/holdfast/{WHO['other']}"
    net = {f"connect to {what}": partial(connect, *place) for what, place in WHO["places"].items()}
    files = {f"read {what}": partial(read, path) for what, path in WHO["secrets"].items()}
    calls = {name: partial(call, *given) for name, given in CALLS.items()}
    return {
        **net,
        **files,
        **calls,
        "be an address of the host": lambda: ask_kernel(0, 20, 0x600, bytes(8)),
        "change the firewall": lambda: ask_kernel(NETFILTER, 16, 0, bytes(4)),
        "send raw IP": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "send frames": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300),
        "join another VM's tap": partial(join_tap, WHO["tap"]),
        "take another launcher's name": partial(bind_unix, WHO["word"]),
        "read another VM's run directory": partial(list_folder, other),
        "be asked by its own agent's client": partial(connect_unix, f"{own}/agent"),
        "type at its own console": partial(connect_unix, f"{own}/console"),
        "read the launcher's memory": partial(read, f"{NEXT}mem"),
        "read the launcher's environment": partial(read, f"{NEXT}environ"),
        "read the launcher's descriptors": partial(list_folder, f"{NEXT}fd"),
        "leave by the launcher's root": partial(list_folder, f"{NEXT}root/"),
        "read the launcher's system calls": partial(read, f"{NEXT}syscall"),
        "enter the launcher's namespaces": partial(read, f"{NEXT}ns/net"),
        "stop the launcher": lambda: os.kill(1, signal.SIGSTOP),
        "be root": lambda: os.setresuid(0, 0, 0),
        "be another VM": lambda: os.setresuid(*[WHO["uid"] + 1] * 3),
        "be of another group": lambda: os.setgroups([0]),
        "start a process": os.fork,
        "become another program": replace_process,
        "become the bridge helper": lambda: os.execv("/usr/lib/qemu/qemu-bridge-helper", ["x"]),
        "change a program": partial(write, "/usr/bin/setpriv"),
        "change the launcher": partial(write, "/usr/lib/python3/dist-packages/holdfast/ownership/lock.py"),
        "change the bridges": partial(write, "/etc/qemu/bridge.conf"),
        "write the health file": partial(write, "/run/holdfast/health"),
        "change the kernel": partial(write, "/proc/sys/kernel/core_pattern"),
        "reset the machine": partial(write, "/proc/sysrq-trigger"),
        "leave its control group": partial(write, "/sys/fs/cgroup/cgroup.procs"),
        "change a bridge": partial(write, f"/sys/class/net/{WHO['bridge']}/bridge/stp_state"),
        "make a device node": lambda: os.mknod("/tmp/sda", 0o60600, os.makedev(8, 0)),
    }  # fmt: skip


# By their numbers on x86_64. Not io_uring: QEMU reads its disks by it, where docker lets it.
CALLS: dict[str, tuple[int | bytes, ...]] = {
    "trace the launcher": (101, 16, 1, 0, 0),
    "read the launcher's pages": (310, 1, PIECE, 1, PIECE, 1, 0),
    "take the launcher's descriptors": (438, 0, 0, 0),
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0),
    "unmount": (166, b"/proc", 2),
    "mount the new way": (430, b"tmpfs", 0),
    "change its root": (161, b"/tmp"),
    "be in a user namespace": (272, NEWUSER),
    "be in a network namespace": (272, 0x4000_0000),
    "load a program into the kernel": (321, 0, 0, 0),
    "watch the machine": (298, 0, 0, 0, 0, 0),
    "handle page faults": (323, 0),
    "use the kernel's keys": (250, 0, 0xFFFF_FFFD, 1),
    "open by a handle": (304, 0, 0, 0),
    "load a module": (175, 0, 0, 0),
    "load another kernel": (246, 0, 0, 0, 0),
    "restart the machine": (169, 0, 0, 0, 0),
    "set the clock": (227, 0, 0),
    "use ports of hardware": (172, 3),
    "read the kernel's log": (103, 3, 0, 0),
    "swap": (167, b"/tmp/x", 0),
    "have its priority raised": (141, 0, 0, -20),
}


def tried(attempt: Callable[[], object]) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            confine()
            attempt()
            os.write(writer, DONE.encode())
        except OSError as error:
            os.write(writer, errno.errorcode.get(error.errno or 0, str(error)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        answer = said.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # What has become another program, or two processes, has said nothing, or not as itself.
    return signal.Signals(-status).name if status < 0 else answer or DONE


def controls() -> dict[str, str]:
    """The same connections as the container's root: there is something to be reached."""
    found = {}
    for what, place in WHO["places"].items():
        try:
            connect(*place)
            found[what] = DONE
        except OSError as error:
            found[what] = str(error)
    return found


found = {"root": controls(), "tries": {name: tried(one) for name, one in tries().items()}}
sys.stdout.write(json.dumps(found))
