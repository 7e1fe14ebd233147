"""CPUs: how they are written, and what must agree."""

import pytest
from describing import faults, machine

from holdfast.grammar import Refused, cpu
from holdfast.machine import Topology


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", (0,)),
        ("0-3,8", (0, 1, 2, 3, 8)),
        ("8,0-3", (0, 1, 2, 3, 8)),
        ("1,1-2,2", (1, 2)),
        ("5-5", (5,)),
        ("8191", (8191,)),
    ],
)
def test_cpu_set(text: str, cpus: tuple[int, ...]) -> None:
    assert cpu.cpu_set(text) == cpus
    assert cpu.cpu_set(cpu.spelled(cpus)) == cpus


@pytest.mark.parametrize(
    "text", ["", ",", "0,", "-1", "1-", "a", "0 1", "3-1", "8192", "0-9999999", "0-3:2", "٣"]
)
def test_what_is_no_cpu_set(text: str) -> None:
    with pytest.raises(Refused):
        cpu.cpu_set(text)


@pytest.mark.parametrize(
    ("cpus", "text"), [((), ""), ((3,), "3"), ((0, 1), "0-1"), ((0, 2, 3, 4, 9), "0,2-4,9")]
)
def test_spelled(cpus: tuple[int, ...], text: str) -> None:
    assert cpu.spelled(cpus) == text


@pytest.mark.parametrize(
    ("text", "topology"),
    [
        ("sockets:1,cores:2,threads:2", Topology(cores=2, threads=2)),
        ("threads:2,sockets:3", Topology(sockets=3, threads=2)),
        ("cores:255", Topology(cores=255)),
    ],
)
def test_topology(text: str, topology: Topology) -> None:
    assert cpu.topology(text) == topology


@pytest.mark.parametrize(
    "text",
    ["", "2", "cores", "cores:0", "cores:2,cores:2", "dies:2", "cores=2", "cores:2,", " cores:2"],
)
def test_what_is_no_topology(text: str) -> None:
    with pytest.raises(Refused):
        cpu.topology(text)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"cpus": "4", "cpus_max": "2"}, "cpus_max: '2': must be at least cpus, which is 4"),
        ({"cpus": "2", "cpu_topology": "cores:4"}, "cpu_topology: makes 4 CPUs, and cpus says 2"),
        ({"cpus": "2", "cpus_max": "8", "cpu_topology": "cores:2"},
         "cpu_topology: makes 2 CPUs, and cpus_max says 8"),
        ({"cpus": "0", "cpu_topology": "cores:2"}, "cpus: '0': must be a whole number from 1 to 255"),
    ],
)  # fmt: skip
def test_what_must_agree(keys: dict[str, str], fault: str) -> None:
    assert faults(keys) == [fault]


def test_the_board_follows_the_guests_cpus_and_not_the_hosts() -> None:
    assert machine({"cpu_set": "0", "cpu_weight": "10"}).machine == "pc"
    assert machine({"cpus_max": "2"}).machine == "q35"
