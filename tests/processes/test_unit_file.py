"""The shell lines of kvm@.service, with a `docker` that only notes how it was called."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from holdfast.keys.reference import VARIABLES

pytestmark = pytest.mark.processes

UNIT = Path(__file__).parents[2] / "systemd" / "kvm@.service"
# Of the unit itself, or for a launcher without etcd.
NOT_PASSED = {"VM", "INSTANCE", "HOSTNAME", "VM_FILE", "EXEC", "MEMORY_RECKONED"}
DOCKER = """#!/bin/sh
printf '%s\n' "$*" >>"$CALLS"
case "$*" in
    *" memory") test -z "$SAYS" && exit 69; echo "$SAYS" ;;
esac
"""


def start_lines() -> tuple[str, dict[str, str]]:
    """The script that makes the container, as systemd hands it to the shell, and the unit's own variables."""
    text = UNIT.read_text(encoding="utf-8").replace("\\\n", " ")
    (script,) = re.findall(r"(?m)^ExecStartPre=/bin/sh -c '(.*)'$", text)
    script = script.replace("%i", "7").replace("%H", "host-a").replace("$$", "$")
    return script, dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", text))


def called(tmp_path: Path, says: str, **env: str) -> list[str]:
    script, own = start_lines()
    docker = tmp_path / "docker"
    docker.write_text(DOCKER, encoding="ascii")
    docker.chmod(0o755)
    calls = tmp_path / "calls"
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "SAYS": says}
    subprocess.run(["sh", "-ec", script], env={**own, **env, **path}, check=True)
    return calls.read_text(encoding="ascii").splitlines()


def test_the_limit_is_asked_of_the_image(tmp_path: Path) -> None:
    asked, made = called(tmp_path, "1234M")
    assert asked.startswith("run --rm --network host ")
    assert asked.endswith(" holdfast memory")
    assert made.startswith("run --detach --name kvm-7 ")
    assert " --memory 1234M " in made
    assert " -e MEMORY_RECKONED=1234M " in made
    # The same container otherwise, so that both see the same host.
    assert made.endswith(asked.removeprefix("run --rm ").removesuffix(" memory"))


def test_a_limit_that_nobody_could_tell(tmp_path: Path) -> None:
    """The launcher waits for etcd, or for better keys, and then asks for another container."""
    _, made = called(tmp_path, "")
    assert " --memory 0 -e MEMORY_RECKONED=0 " in made


@pytest.mark.parametrize(
    ("given", "limit"), [("6g", "6g"), ("0", "0"), ("", "0"), ("1500M", "1500M")]
)
def test_a_limit_of_ones_own(tmp_path: Path, given: str, limit: str) -> None:
    (made,) = called(tmp_path, "1234M", MEMORY=given)
    assert f" --memory {limit} " in made
    assert "MEMORY_RECKONED" not in made


def test_each_variable_reaches_the_launcher() -> None:
    """One that stands in an env file and is not handed on would have no effect, without a word."""
    script, _ = start_lines()
    passed = set(re.findall(r"-e (\w+)(?=[ =])", script))
    assert passed - {"VM", "HOSTNAME"} == {one.name for one in VARIABLES} - NOT_PASSED
