"""`boot_order`."""

import pytest
from describing import faults, machine

DISKS = {"disks/root/rbd": "p/a", "disks/cd/path": "/images/a.iso", "disks/cd/kind": "cdrom"}


def test_names_become_devices() -> None:
    order = machine({**DISKS, "boot_order": "cd nic0\nroot"}).boot_order
    assert order == ("disk-cd", "nic-nic0", "disk-root")


def test_a_name_of_both_kinds_is_told_apart_by_its_family() -> None:
    keys = {**DISKS, "nics/root/mode": "user"}
    assert machine({**keys, "boot_order": "nics/root disks/root"}).boot_order == (
        "nic-root",
        "disk-root",
    )
    assert faults({**keys, "boot_order": "root"}) == [
        "boot_order: 'root': is a disk and a network card: write disks/<name> or nics/<name>"
    ]


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ("hd", "'hd': is neither a disk nor a network card of this VM"),
        ("root disks/root", "'disks/root': is there twice"),
        ("usb/a", "'usb/a': its name must be"),
        ("", "'': is empty"),
        ("root,nic0", "'root,nic0': has a comma"),
    ],
)
def test_what_is_no_order(order: str, fault: str) -> None:
    (found,) = faults({**DISKS, "boot_order": order})
    assert found.startswith(f"boot_order: {fault}")


def test_a_faulty_disk_is_reported_once() -> None:
    (found,) = faults({"disks/root/rbd": "p", "boot_order": "root"})
    assert found.startswith("disks/root/rbd")
