"""Keys in, QEMU's command out, compared letter by letter with what stands beside them.

A golden says "as before". That QEMU takes it is said by tests/integration/test_argv_boots.py.
"""

from pathlib import Path

import pytest
from golden.case import CASES, HOST_TOML, Case

from holdfast import keys
from holdfast.cli import argv
from holdfast.keys.vm_file import raw_from_file
from holdfast.qemu import printable

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def check(path: Path, text: str, regenerate: bool) -> None:
    if regenerate:
        path.write_text(text, encoding="utf-8")
    assert path.exists(), (
        f"{path.name} is missing: pytest tests/golden --regenerate, then look at it"
    )
    assert path.read_text(encoding="utf-8") == text


@EVERY_CASE
def test_pasted(case: Case, regenerate: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way of `holdfast argv`, with no etcd, root or KVM."""
    arguments = [case.name, "--file", str(case.keys), "--host-file", str(case.host_file)]
    assert argv.main(arguments, {"HOLDFAST_CONFIG": str(HOST_TOML)}) == 0
    check(case.pasted, capsys.readouterr().out, regenerate)


@EVERY_CASE
def test_launched(case: Case, regenerate: bool) -> None:
    """The same VM as the launcher starts it: confined, paused, with descriptors."""
    check(case.launched, printable(case.argv()) + "\n", regenerate)


def test_no_golden_is_left_behind() -> None:
    expected = {path for case in CASES for path in (case.pasted, case.launched)}
    assert set(CASES[0].pasted.parent.glob("*.args")) == expected


def test_every_key_is_in_some_case() -> None:
    """A new key comes with a case that shows what it does to the command."""
    used = {
        keys.row_name(name)
        for case in CASES
        for name in raw_from_file(case.keys.read_text(encoding="utf-8"))
    }
    assert used >= set(keys.KEYS)


def test_no_secret_is_in_a_command() -> None:
    case = Case("spice-password")
    assert case.machine.spice
    assert case.machine.spice.password == "pass,word with blanks"  # noqa: S105
    for path in (case.pasted, case.launched):
        assert "pass,word" not in path.read_text(encoding="utf-8").replace(",,", ",")
