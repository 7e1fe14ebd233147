"""One table, from which dispatch and every help come."""

import subprocess
import sys
from importlib import import_module

import pytest
from launcher import SOURCE

from holdfast.__main__ import DASHED, dispatch
from holdfast.cli.commands import COMMANDS, TABLE, Command, usage
from holdfast.errors import UsageError


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_leads_to_a_function(row: Command) -> None:
    assert callable(getattr(import_module(row.module), row.function))
    assert row.purpose[0].isupper()
    assert row.purpose.endswith(".")


def test_no_name_stands_twice() -> None:
    assert len(COMMANDS) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_all_are_listed(row: Command) -> None:
    line = next(line for line in usage().splitlines() if line.startswith(f"  {row.name} "))
    assert row.purpose in line


OWN_HELP = [row for row in TABLE if row.module == f"holdfast.cli.{row.name}"]


@pytest.mark.parametrize("row", OWN_HELP, ids=lambda row: row.name)
def test_its_own_help_says_the_same(row: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dispatch([row.name, "--help"], {})
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"usage: holdfast {row.name} ")
    assert row.purpose in shown


@pytest.mark.parametrize("word", [*DASHED, "help", "version"])
def test_what_programs_are_asked_for(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch([word], {}) == 0
    assert capsys.readouterr().out.startswith(("usage: holdfast COMMAND", "holdfast "))


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no command chekc") as refused:
        dispatch(["chekc"], {})
    assert "check [VM]" in str(refused.value.lines())


def test_the_table_loads_no_command() -> None:
    """Whoever asks for one waits for that one only."""
    said = "import sys, holdfast.cli.commands as t; print(*(r.name for r in t.TABLE if r.module in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", said],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["version", "help"]


@pytest.mark.parametrize(("fault", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_what_ends_a_command_from_outside(
    fault: type[BaseException], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> int:
        raise fault

    monkeypatch.setattr("holdfast.cli.ls.main", ended)
    assert dispatch(["ls"], {}) == status
