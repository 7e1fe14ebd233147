"""How far a real QEMU goes with a device of the host that is none.

Nobody lends a device to the tests. /dev/null stands for its nodes: QEMU must find each descriptor,
where the golden file has put it, and stumble over what is behind it only.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from golden.case import IOMMU, PCI, USB, Case
from launcher import BASE

pytestmark = pytest.mark.integration

QEMU = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-machine", "q35"]


def said(*words: str, descriptors: dict[str, int]) -> str:
    """`{name}` in the words is the descriptor's number."""
    argv = [*QEMU, *(word.format(**descriptors) for word in words)]
    done = subprocess.run(
        argv,
        pass_fds=list(descriptors.values()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def devices(driver: str) -> list[str]:
    text = Case("hostdevs").launched.read_text(encoding="utf-8").replace("\\\n", "")
    return [word for word in shlex.split(text) if word.startswith(f"{driver},")]


@pytest.fixture
def null() -> Iterator[int]:
    with Path(os.devnull).open("r+b", buffering=0) as opened:
        yield opened.fileno()


def test_usb_is_opened_by_its_descriptor(null: int) -> None:
    *_, stick = devices("usb-host")
    named = stick.replace(f"/dev/fdset/{USB + 2}", "/dev/fdset/{null}")
    assert named != stick
    words = ("-device", "qemu-xhci,id=usb", "-device", named)
    assert "Failed to find fdset" in said(*words, descriptors={"null": null})
    passed = ("-add-fd", "fd={null},set={null}", *words)
    assert "failed to open host usb device" in said(*passed, descriptors={"null": null})


def test_pci_is_bound_by_its_descriptor(null: int) -> None:
    gpu, _ = devices("vfio-pci")
    named = gpu.replace(f"fd={PCI}", "fd={null}")
    assert named != gpu
    objects = ("-object", '{{"qom-type":"iommufd","id":"iommufd","fd":"{iommu}"}}')
    port = ("-device", "pcie-root-port,id=port-pci-0,chassis=1")
    with Path(os.devnull).open("r+b", buffering=0) as opened:
        given = {"null": null, "iommu": opened.fileno()}
        told = said(*objects, *port, "-device", named, descriptors=given)
    assert "error bind device fd={null} to iommufd={iommu}".format(**given) in told
    golden = Case("hostdevs").launched.read_text(encoding="utf-8")
    assert f'"id":"iommufd","fd":"{IOMMU}"' in golden


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("usb", "ffff:fff0", "usb/a: no device ffff:fff0 is plugged into this host"),
        ("pci", "ffff:ff:1f.7", "pci/a: no device ffff:ff:1f.7 is in this host"),
    ],
)
def test_a_vm_does_not_start_without_its_device(
    key: str, value: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "host.toml").write_text(f'{key} = ["{value}"]\n', encoding="utf-8")
    (tmp_path / "vm.yaml").write_text(f"ram: 16M\n{key}: {{a: '{value}'}}\n", encoding="utf-8")
    files = {"HOLDFAST_CONFIG": "host.toml", "VM_FILE": "vm.yaml"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "holdfast", "run", "a"],
        env={**BASE, **{name: str(tmp_path / file) for name, file in files.items()}},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 77, done.stderr
    assert message in done.stderr
