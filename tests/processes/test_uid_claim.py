"""Uids of VMs on one host, where two names may mean one."""

import os
import subprocess
from contextlib import ExitStack

import pytest

from holdfast.errors import HostLacks
from holdfast.runtime import uid_claim
from holdfast.runtime.child import uid_map_end
from holdfast.runtime.confinement import identity

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose word alone counts"),
]

MEETING = ("vm-1974", "vm-4f5b")


@pytest.fixture
def name() -> str:
    """Two runs of this test on one machine shall not meet."""
    return f"claimed-{os.getpid()}"


def test_who_comes_second_takes_the_next(name: str) -> None:
    """The same name stands for another that comes to the same number: crc32 leaves no difference."""
    first = identity(name, uid_map_end=uid_map_end(), kvm_gid=None).uid
    with ExitStack() as life:
        with ExitStack() as short:
            assert uid_claim.claim(name, None, life).uid == first
            assert uid_claim.claim(name, 108, short).uid == first + 1
            assert uid_claim.claim(name, None, life).uid == first + 2
        assert uid_claim.claim(name, None, life).uid == first + 1
    with ExitStack() as life:
        assert uid_claim.claim(name, None, life).uid == first


def test_a_process_that_has_the_uid_counts_too(name: str) -> None:
    """An older launcher's QEMU, or one in a network of its own, with --pid=host."""
    first = identity(name, uid_map_end=uid_map_end(), kvm_gid=None).uid
    words = ["setpriv", f"--reuid={first}", f"--regid={first}", "--clear-groups", "cat"]
    with subprocess.Popen([*words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin
        assert other.stdout
        other.stdin.write(b"there\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"there\n"
        with ExitStack() as life:
            assert uid_claim.claim(name, None, life).uid == first + 1
        other.stdin.close()


def test_names_that_meet() -> None:
    """Found by search. Where few uids are mapped, two of 300 names meet by chance."""
    whole = 2**32 - 1
    one, other = (identity(vm, uid_map_end=whole, kvm_gid=None).uid for vm in MEETING)
    assert one == other
    with ExitStack() as life:
        found = {uid_claim.claim(vm, None, life).uid for vm in MEETING}
    assert len(found) == 2


def test_there_is_an_end_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uid_claim, "TRIES", 2)
    with ExitStack() as life:
        for _ in range(2):
            uid_claim.claim(name, None, life)
        with pytest.raises(HostLacks, match="2 uids, of which"):
            uid_claim.claim(name, None, life)
