"""What a guest keeps of its first start."""

import pytest
from describing import Keys, faults, machine

from holdfast.description import pinned
from holdfast.machine import Pinned

Q35 = pinned.encode(Pinned(machine="pc-q35-9.2", cpu="max")).decode()
PC = pinned.encode(Pinned(machine="pc-i440fx-9.2", cpu="max")).decode()


@pytest.mark.parametrize(
    ("keys", "board"),
    [
        ({"cpus": "2", "pinned": Q35}, "pc-q35-9.2"),
        ({"cpus": "2", "machine": "q35", "pinned": Q35}, "pc-q35-9.2"),
        ({"ram": "1G", "pinned": Q35}, "pc-q35-9.2"),  # the key that had asked for q35 is gone
        ({"ram": "1G", "pinned": PC}, "pc-i440fx-9.2"),
        ({"cpus": "2", "pinned": PC}, "pc-i440fx-9.2"),  # and one that would ask for it has come
        ({"machine": "pc", "pinned": PC}, "pc-i440fx-9.2"),
        # Only `machine` moves a guest to another board.
        ({"machine": "q35", "pinned": PC}, "q35"),
        ({"machine": "pc-q35-10.0", "pinned": Q35}, "pc-q35-10.0"),
        ({"machine": "pc-q35-9", "pinned": Q35}, "pc-q35-9"),
        ({"machine": "microvm", "pinned": Q35}, "microvm"),
        ({"arch": "aarch64", "disks/root/pool": "default", "pinned": Q35}, "virt"),
    ],
)
def test_the_board(keys: Keys, board: str) -> None:
    assert machine(keys).machine == board


@pytest.mark.parametrize(
    ("kept", "own", "cpu"),
    [("max", {}, ""), ("host", {}, ""), ("Skylake-Server-v4", {}, "Skylake-Server-v4"),
     ("Skylake-Server-v4", {"cpu_model": "EPYC"}, "EPYC")],
)  # fmt: skip
def test_the_cpu(kept: str, own: Keys, cpu: str) -> None:
    record = pinned.encode(Pinned(machine="pc-q35-9.2", cpu=kept)).decode()
    assert machine({"cpus": "1", "pinned": record, **own}).cpu_model == cpu


@pytest.mark.parametrize(
    "text",
    ["", "q35", "[]", "{}", "null", '{"machine": "q35"}', '{"machine": "q35,x=y", "cpu": "max"}',
     '{"machine": 7, "cpu": "max"}', '{"machine": "none", "cpu": "max"}',
     '{"machine": "q35", "cpu": "max,vmx=on"}'],
)  # fmt: skip
def test_a_damaged_record_says_so(text: str) -> None:
    assert faults({"cpus": "1", "pinned": text}) == [
        "pinned: is not what Holdfast writes: delete it"
    ]
