"""Files of a pool that are on their way: a living maker's stay, a dead one's go."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.storage.directory import unfinished

pytestmark = pytest.mark.processes

MAKER = """
import sys
from pathlib import Path
from holdfast.storage.directory import unfinished
with unfinished(Path(sys.argv[1])) as new:
    new.write_text("half")
    print(new, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "a-root.qcow2"


def making(volume: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A launcher that makes it, and as what."""
    command = [sys.executable, "-c", MAKER, str(volume)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    maker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert maker.stdout
    return maker, Path(maker.stdout.readline().strip())


def test_what_another_one_makes_is_left_to_him(volume: Path) -> None:
    other, his = making(volume)
    with other:
        with unfinished(volume) as new:
            new.write_text("ours")
            assert his.read_text() == "half"
        assert his.read_text() == "half"
        other.communicate()
    assert other.returncode == 0
    assert list(volume.parent.iterdir()) == []


def test_what_a_killed_one_has_left_goes(volume: Path) -> None:
    other, his = making(volume)
    with other:
        other.send_signal(signal.SIGKILL)
    assert his.exists()
    with unfinished(volume) as new:
        assert not his.exists()
        new.touch()
    assert list(volume.parent.iterdir()) == []


def test_a_lock_of_one_that_had_no_file_yet_goes(volume: Path) -> None:
    (volume.parent / f".{volume.name}.0badcafe.lock").touch()
    with unfinished(volume):
        pass
    assert list(volume.parent.iterdir()) == []


@pytest.mark.parametrize("middle", ["", ".0badcafe", ".copy.0badcafe"])
def test_what_older_launchers_have_left_goes(volume: Path, middle: str) -> None:
    (volume.parent / f".{volume.name}{middle}.new").touch()
    with unfinished(volume):
        pass
    assert list(volume.parent.iterdir()) == []


def test_a_copy_of_its_source_stays_while_it_is_made(volume: Path) -> None:
    """Its name begins as that of the volume does."""
    with unfinished(volume.with_name(f"{volume.name}.copy")) as copy:
        copy.write_text("source")
        with unfinished(volume) as new:
            new.write_text("made")
            assert copy.read_text() == "source"
