"""The probes on the machine that runs the tests."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import netns

from holdfast.host import Access, Kvm
from holdfast.system import device, probe

pytestmark = pytest.mark.processes


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip(netns.NEEDS_ROOT)
    with netns.namespaces():
        netns.mount_tmpfs(tmp_path / "dev")
        yield tmp_path / "dev"


def test_a_question_makes_no_node(tmp_path: Path) -> None:
    kvm = device.Device(name="kvm", path=str(tmp_path / "kvm"))
    assert probe.kvm_facts("x86_64", make=False, kvm=kvm).node is Access.unmade
    assert not (tmp_path / "kvm").exists()


def test_the_verdict_goes_with_what_the_cpu_shows() -> None:
    host = probe.probe("here", make=False)
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    if host.arch == "x86_64" and not {"vmx", "svm"} & set(flags):
        assert host.kvm in {Kvm.no_extension, Kvm.not_nested}
    else:
        assert host.kvm not in {Kvm.no_extension, Kvm.not_nested}
    assert host.kvm_gid is None or host.kvm is Kvm.usable


def test_the_same_machine_is_the_same_at_every_question() -> None:
    first, second = probe.probe("here", make=False), probe.probe("here", make=False)
    assert first == second
    assert first.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert first.machine_id.partition(":")[2]


def test_a_node_of_our_own_can_be_opened_by_qemus_group(dev: Path) -> None:
    misc = device.minors(Path(device.MISC).read_text(encoding="ascii"))
    if "kvm" not in misc:
        pytest.skip("this kernel has no kvm")
    kvm = device.Device(name="kvm", path=str(dev / "kvm"), group="tty")
    facts = probe.kvm_facts("aarch64", kvm=kvm)  # an architecture whose CPU shows no flag
    assert facts.node is Access.open
    assert (stat.S_IMODE(facts.mode), facts.gid) == (0o660, device.group_id("tty"))
