"""docs/reliability.md names a case for every fault, and every case is named there."""

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "reliability.md"
FAULTS = 44
WITNESSES = {"test_oracles.py", "test_table.py"}


def named() -> list[tuple[str, str]]:
    """Each fault's number, or `also` where it has none, and what its item says."""
    items = r"^- \*\*(\d+|also): (.*\n(?:  .*\n)+)"
    return re.findall(items, TABLE.read_text(), flags=re.MULTILINE)


def cases() -> set[str]:
    return {
        f"{path.name}::{name}"
        for path in HERE.glob("test_*.py")
        if path.name not in WITNESSES
        for name in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE)
    }


def test_every_fault_has_a_case() -> None:
    faults = named()
    numbers = [number for number, _ in faults if number != "also"]
    assert numbers == [str(number) for number in range(1, FAULTS + 1)]
    assert all("::test_" in said for _, said in faults)


def test_the_cases_are_those_that_are_named() -> None:
    found = set(re.findall(r"test_\w+\.py::test_\w+", TABLE.read_text()))
    assert found == cases()
