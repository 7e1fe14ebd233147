"""The filter of system calls, run as the kernel would run it."""

import struct

import pytest

from holdfast.errors import HostLacks
from holdfast.runtime.seccomp import ALLOW, ENOSYS, EPERM, ERRNO, KILL, Filter, numbers, program
from holdfast.runtime.syscalls import AARCH64, ARCHITECTURES, DANGEROUS, NETWORK, PROCESSES, X86_64

QEMU_IMG, FETCHER = Filter(), Filter(network=True, processes=True)
I386 = 0x4000_0003
THREAD, SIGCHLD, NEWUSER, NEWNS = 0x3D0F00, 17, 0x1000_0000, 0x0002_0000
REFUSED, UNKNOWN = ERRNO | EPERM, ERRNO | ENOSYS


def judged(filtered: bytes, architecture: int, number: int, first: int = 0) -> int:
    """What the program returns; linux/bpf_common.h has the operations that it may use."""
    data = struct.pack("=IIQQ", number, architecture, 0, first)
    accumulator = at = 0
    while True:
        operation, true, false, value = struct.unpack_from("=HBBI", filtered, 8 * at)
        at += 1
        match operation:
            case 0x06:
                return int(value)
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15 | 0x25 | 0x45:
                holds = {
                    0x15: accumulator == value,
                    0x25: accumulator > value,
                    0x45: bool(accumulator & value),
                }[operation]
                at += true if holds else false
            case _:
                pytest.fail(f"{operation:#x} is no operation of ours")


@pytest.mark.parametrize(
    ("what", "number", "first", "verdict"),
    [
        (QEMU_IMG, 0, 0, ALLOW),  # read
        (QEMU_IMG, 101, 0, REFUSED),  # ptrace
        (FETCHER, 101, 0, REFUSED),
        (QEMU_IMG, 41, 2, REFUSED),  # socket
        (FETCHER, 41, 2, ALLOW),
        (FETCHER, 41, 10, ALLOW),
        (FETCHER, 41, 1, ALLOW),
        (FETCHER, 41, 16, ALLOW),
        (FETCHER, 41, 17, REFUSED),  # AF_PACKET
        (FETCHER, 41, 40, REFUSED),  # AF_VSOCK
        (FETCHER, 41, 38, REFUSED),  # AF_ALG
        (QEMU_IMG, 42, 0, REFUSED),  # connect
        (FETCHER, 42, 0, ALLOW),
        (QEMU_IMG, 56, THREAD, ALLOW),  # clone
        (QEMU_IMG, 56, SIGCHLD, REFUSED),
        (QEMU_IMG, 56, THREAD | NEWUSER, REFUSED),
        (FETCHER, 56, SIGCHLD, ALLOW),
        (FETCHER, 56, SIGCHLD | NEWNS, REFUSED),
        (FETCHER, 56, SIGCHLD | NEWUSER, REFUSED),
        (FETCHER, 435, 0, UNKNOWN),  # clone3
        (QEMU_IMG, 57, 0, REFUSED),  # fork
        (FETCHER, 58, 0, ALLOW),  # vfork
        (QEMU_IMG, 59, 0, ALLOW),  # execve: it becomes qemu-img
        (QEMU_IMG, 462, 0, ALLOW),
        (QEMU_IMG, 463, 0, UNKNOWN),
        (FETCHER, 0x4000_0000 + 101, 0, UNKNOWN),  # ptrace by x32's number
        (FETCHER, 2**32 - 1, 0, UNKNOWN),
    ],
)
def test_what_a_call_comes_to(what: Filter, number: int, first: int, verdict: int) -> None:
    assert judged(program(X86_64, what), ARCHITECTURES[X86_64], number, first) == verdict


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
@pytest.mark.parametrize("what", [QEMU_IMG, FETCHER, Filter(network=True), Filter(processes=True)])
def test_all_that_is_named_is_refused(machine: str, what: Filter) -> None:
    filtered = program(machine, what)
    for number in numbers(machine, what):
        assert judged(filtered, ARCHITECTURES[machine], number, THREAD) == REFUSED
    assert len(filtered) // 8 <= 4096  # BPF_MAXINSNS


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_another_machines_numbers_are_not_believed(machine: str) -> None:
    for other in (I386, *(one for name, one in ARCHITECTURES.items() if name != machine)):
        assert judged(program(machine, FETCHER), other, 0) == KILL


def test_a_number_is_named_once() -> None:
    for column in (0, 1):
        given = [
            row[column] for table in (DANGEROUS, NETWORK, PROCESSES) for row in table.values()
        ]
        there = [number for number in given if number is not None]
        assert len(there) == len(set(there))


def test_a_machine_without_numbers() -> None:
    with pytest.raises(HostLacks, match="riscv64"):
        program("riscv64", QEMU_IMG)
