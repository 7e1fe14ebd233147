"""docs/reliability.md names a case for every fault, and every case is named there."""

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "reliability.md"
FAULTS = 44
WITNESSES = {"test_oracles.py", "test_table.py"}


def named() -> dict[str, str]:
    """Each fault's number and what its row says."""
    rows = re.findall(r"^\| (\d+|-) \|(.*)$", TABLE.read_text(), flags=re.MULTILINE)
    return dict(rows)


def cases() -> set[str]:
    return {
        f"{path.name}::{name}"
        for path in HERE.glob("test_*.py")
        if path.name not in WITNESSES
        for name in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE)
    }


def test_every_fault_has_a_case() -> None:
    rows = named()
    assert [str(number) for number in range(1, FAULTS + 1)] == [n for n in rows if n != "-"]
    assert all("::test_" in row for row in rows.values())


def test_the_cases_are_those_that_are_named() -> None:
    found = set(re.findall(r"test_\w+\.py::test_\w+", TABLE.read_text()))
    assert found == cases()
