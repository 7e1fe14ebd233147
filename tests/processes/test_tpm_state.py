"""The file that swtpm keeps its state in: its folder is swtpm's own, and root reads there."""

import os
import threading
from pathlib import Path

import pytest

from holdfast.devices import tpm_record
from holdfast.devices.tpm import STATE, Vault
from holdfast.runtime.confinement import Identity
from holdfast.runtime.rundir import RunDirectory

pytestmark = pytest.mark.processes


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(b"", b"")
    made._file, made._owner = tmp_path / STATE, os.getuid()
    return made


def recorded(vault: Vault) -> bytes:
    """It must not wait, either."""
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(vault.record()), daemon=True)
    reader.start()
    reader.join(60)
    return found[0]


def test_what_swtpm_has_written_is_stored(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"state")
    assert tpm_record.unpack(recorded(vault), b"") == (b"state", "")


def test_what_is_no_file_of_its_own_is_not(
    vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of root's")
    (tmp_path / STATE).symlink_to(secret)
    assert recorded(vault) == b""
    (tmp_path / STATE).unlink()
    os.mkfifo(tmp_path / STATE)
    assert recorded(vault) == b""
    (tmp_path / STATE).unlink()
    (tmp_path / STATE).mkdir()
    assert recorded(vault) == b""
    (tmp_path / STATE).rmdir()
    os.link(secret, tmp_path / STATE)
    vault._owner = os.getuid() + 1  # as a link to a file of somebody else's
    assert recorded(vault) == recorded(vault) == b""
    assert capsys.readouterr().err.count("no file of its own") == 1


def test_what_is_larger_than_any_state_is_not(vault: Vault, tmp_path: Path) -> None:
    with (tmp_path / STATE).open("wb") as file:
        file.truncate(1 << 40)
    assert recorded(vault) == b""


def test_a_folder_in_it_stops_no_restart(tmp_path: Path) -> None:
    folder = tmp_path / "tpm"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "file").touch()
    rundir = RunDirectory("7", Identity(uid=os.getuid(), gid=os.getgid()))
    rundir.path = tmp_path
    rundir.empty()
    assert list(tmp_path.iterdir()) == []
