"""Memory: what must agree, and what a VM needs beside the guest's own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from describing import faults, machine

from holdfast.cli import memory
from holdfast.errors import Outgrown
from holdfast.host import Host, Kvm
from holdfast.host.overhead import ceiling, headroom, needed
from holdfast.machine import GIB, MIB, Disk, Format, LocalPath, RbdImage, Spice, Tpm
from holdfast.system import capacity

HOST = Host(name="a", machine_id="m", boot_id="b", kvm=Kvm.usable)


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("off", None),
        ("No", None),
        ("0", None),
        ("on", 0),
        ("1", 0),
        ("2M", 2 * MIB),
        ("1GiB", GIB),
    ],
)
def test_hugepages(text: str, pages: int | None) -> None:
    found = machine({"hugepages": text, "ram": "4G"})
    assert found.hugepages == pages
    assert found.machine == "pc"  # the guest notices nothing


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"hugepages": "3M"}, "hugepages: '3M': must be on, off, or the size"),
        ({"hugepages": "4K"}, "hugepages: '4K': must be on, off, or the size"),
        ({"hugepages": "yes please"}, "hugepages: 'yes please': must be on, off, or the size"),
        ({"hugepages": "1G", "ram": "1536M"}, "hugepages: ram is no multiple of 1024 MiB"),
        ({"ram": "2G", "ram_max": "2G"}, "ram_max: must be more than ram, which is 2048 MiB"),
        ({"ram_max": "512M"}, "ram_max: must be more than ram, which is 1024 MiB"),
        ({"ram": "17M", "ram_max": "32M"}, "ram_max: must be more than ram by a multiple of 2 MiB"),
        ({"hugepages": "1G", "ram": "1G", "ram_max": "1536M"},
         "ram_max: must be more than ram by a multiple of 1024 MiB"),
    ],
)  # fmt: skip
def test_what_must_agree(keys: dict[str, str], fault: str) -> None:
    (found,) = faults(keys)
    assert found.startswith(fault)


def test_headroom_grows_with_the_guest() -> None:
    small = machine({"ram": "1G"})
    assert headroom(small, HOST) == 70 * MIB
    disk = Disk(name="a", backend=RbdImage(pool="p", image="i"))
    table = Disk(name="a", backend=LocalPath(path="/a"), format=Format.qcow2)
    for larger in (
        replace(small, ram=8 * GIB),
        replace(small, ram_max=8 * GIB),
        replace(small, cpus=4),
        replace(small, cpus_max=4),
        replace(small, disks=(disk,)),
        replace(small, disks=(table,)),
        replace(small, tpm=Tpm.v2),
        replace(small, spice=Spice(port=5900)),
    ):
        assert headroom(larger, HOST) > headroom(small, HOST)
    assert headroom(small, replace(HOST, kvm=Kvm.no_module)) > headroom(small, HOST)


def test_huge_pages_are_not_counted_as_memory() -> None:
    guest = machine({"ram": "4G"})
    assert needed(guest, HOST) > 4 * GIB
    assert needed(replace(guest, hugepages=0), HOST) < GIB


def test_q19_a_limit_that_is_too_low_is_said() -> None:
    guest = machine({"ram": "1G"})
    assert capacity.scarce(guest, HOST, None) == []
    assert capacity.scarce(guest, HOST, needed(guest, HOST)) == []
    (said,) = capacity.scarce(guest, HOST, GIB)
    assert "1024 MiB, is less than the 1094 MiB" in said
    assert "--memory 1094m" in said


@pytest.mark.parametrize(
    ("keys", "kvm"),
    [({"ram": "16M"}, Kvm.usable), ({"ram": "1G"}, Kvm.usable), ({"ram": "192"}, Kvm.no_module),
     ({"ram": "4G", "hugepages": "on"}, Kvm.usable), ({"ram": "1G", "ram_max": "64G"}, Kvm.no_module)],
)  # fmt: skip
def test_a_limit_that_is_made_up_leaves_room(keys: dict[str, str], kvm: Kvm) -> None:
    """It must never be the reason why a sound VM is killed."""
    guest, host = machine(keys), replace(HOST, kvm=kvm)
    limit = ceiling(guest, host)
    assert limit >= needed(guest, host) + headroom(guest, host) // 2
    assert limit >= 512 * MIB
    assert limit % MIB == 0
    assert capacity.scarce(guest, host, limit) == []


def test_a_vm_that_has_outgrown_its_container() -> None:
    guest = machine({"ram": "4G"})
    capacity.check_reckoned(guest, HOST, ceiling(guest, HOST))
    for reckoned, said in ((GIB, "was 1024 MiB"), (0, "could not be reckoned")):
        with pytest.raises(Outgrown, match=said) as caught:
            capacity.check_reckoned(guest, HOST, reckoned)
        assert caught.value.status == 75


def test_the_command_prints_what_docker_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, host = tmp_path / "vm.yaml", tmp_path / "host.json"
    keys.write_text("ram: 4G\n", encoding="ascii")
    host.write_text(json.dumps({"kvm": "usable", "arch": "x86_64"}), encoding="ascii")
    assert memory.main(["--file", str(keys), "--host-file", str(host)], {}) == 0
    assert capsys.readouterr().out == f"{4096 + 2 * (64 + 4 * 4 + 2)}M\n"
