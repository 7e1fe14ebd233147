"""Holdfast where something that others take for granted is missing."""

import shlex
import subprocess
import sys
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
