"""The folder of a running VM."""

import os
from pathlib import Path

import pytest

from holdfast.runtime import rundir
from holdfast.runtime.confinement import Identity

pytestmark = pytest.mark.processes


def test_others_get_through_what_was_made_under_a_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a VM with a new volume and a TPM, or a password, did not start where /run was empty."""
    root = tmp_path / "holdfast"
    monkeypatch.setattr(rundir, "ROOT", root)
    monkeypatch.setattr(rundir, "HEALTH", root / "health")
    before = os.umask(0o077)
    rundir.beat()
    os.umask(before)
    assert (root / "health").exists()
    with rundir.RunDirectory("7", Identity(uid=os.getuid(), gid=os.getgid())):
        assert root.stat().st_mode & 0o777 == 0o711
    root.chmod(0o755)
    with rundir.RunDirectory("7", Identity(uid=os.getuid(), gid=os.getgid())):
        assert root.stat().st_mode & 0o777 == 0o755
