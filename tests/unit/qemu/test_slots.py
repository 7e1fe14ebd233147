"""Where devices sit: by their own names, whatever else the machine has."""

import itertools
from dataclasses import replace

import pytest

from holdfast.host import Host
from holdfast.machine import Disk, LocalPath, Machine, Nic, NicMode
from holdfast.qemu import command_line, slots
from holdfast.qemu.option import split

HOST = Host(name="a", machine_id="m", boot_id="b")
MACHINE = Machine(vm="a", hostname="a", uuid="6f2c0f7e-5d0c-4b61-9d49-3c1ddc5ac8d5", machine="q35")


def disks(count: int) -> tuple[Disk, ...]:
    return tuple(
        Disk(name=f"d{number}", backend=LocalPath(path=f"/{number}")) for number in range(count)
    )


def nics(count: int) -> tuple[Nic, ...]:
    return tuple(
        Nic(name=f"nic{number}", mode=NicMode.none, mac=f"52:54:00:00:00:{number:02x}")
        for number in range(count)
    )


def places(machine: Machine) -> dict[str, tuple[str, str]]:
    """Bus and address of each device, by its id."""
    argv = command_line(machine, HOST)
    devices = [
        dict(split(after, "driver"))
        for word, after in itertools.pairwise(argv)
        if word == "-device"
    ]
    return {one["id"]: (one.get("bus", ""), one.get("addr", "")) for one in devices}


@pytest.mark.parametrize(
    "changed",
    [{"rng": False}, {"guest_agent": False}, {"disks": disks(3)}, {"nics": nics(4)}],
)
def test_nothing_moves_when_something_else_comes_or_goes(changed: dict[str, object]) -> None:
    before = places(replace(MACHINE, disks=disks(1), nics=nics(1)))
    after = places(replace(MACHINE, **{"disks": disks(1), "nics": nics(1), **changed}))  # type: ignore[arg-type]
    assert {name: after[name] for name in before.keys() & after.keys()} == {
        name: before[name] for name in before.keys() & after.keys()
    }


@pytest.mark.parametrize(("used", "there"), [(0, 1), (1, 2), (8, 9), (13, 14)])
def test_one_port_is_spare(used: int, there: int) -> None:
    found = places(replace(MACHINE, disks=disks(used)))
    assert len([name for name in found if name.startswith("port-disks-")]) == there


def test_no_two_devices_share_a_place() -> None:
    found = places(replace(MACHINE, disks=disks(12), nics=nics(8))).values()
    on_pci = [place for place in found if place[0].startswith(("pcie", "port"))]
    assert len(set(on_pci)) == len(on_pci)


@pytest.mark.parametrize(
    ("board", "there"),
    [("q35", True), ("pc-q35-9.2", True), ("virt", True), ("virt-9.2", True), ("pc", False),
     ("pc-i440fx-7.2", False), ("microvm", False), ("isapc", False)],
)  # fmt: skip
def test_which_boards_have_ports(board: str, *, there: bool) -> None:
    machine = replace(MACHINE, machine=board, disks=disks(1))
    assert bool(slots.ports(machine)) == there
    assert (places(machine)["disk-d0"] == ("port-disks-0", "")) == there
