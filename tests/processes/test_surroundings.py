"""Holdfast where something that others take for granted is missing."""

import os
import pty
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from launcher import BASE

pytestmark = pytest.mark.processes


def test_84_a_closed_stdin(tmp_path: Path) -> None:
    """What is opened first gets its number, and must not be taken for it."""
    keys = tmp_path / "vm.yaml"
    keys.write_text("ram: 1G\nspice_prt: 5900\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "holdfast", "check", "--file", str(keys)]
    done = subprocess.run(
        ["sh", "-c", f"exec {shlex.join(command)} <&-"],
        env=BASE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    assert "did you mean spice_port?" in done.stdout


STDINS = {"/dev/null": False, "closed": False, "a pipe": True, "a terminal": True}


@pytest.mark.parametrize(("stdin", "said"), STDINS.items(), ids=STDINS)
def test_who_types_is_told_where_it_goes(stdin: str, said: bool, tmp_path: Path) -> None:
    """By docker's -i and -t, that is: it does not reach the guest."""
    keys = tmp_path / "web.yaml"
    keys.write_text("ram: lots\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "holdfast", "run"]
    with ExitStack() as stack:
        ends = {"a pipe": os.pipe, "a terminal": pty.openpty}.get(stdin, lambda: ())()
        for end in ends:
            stack.callback(os.close, end)
        if stdin == "closed":
            command = ["sh", "-c", f"exec {shlex.join(command)} <&-"]
        done = subprocess.run(
            command,
            env={**BASE, "VM_FILE": str(keys)},
            stdin=ends[-1 if stdin == "a terminal" else 0] if ends else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 78, done.stderr
    assert ("stdin is not connected to the guest" in done.stderr) is said
    assert ("/root/run/holdfast/web/console" in done.stderr) is said
