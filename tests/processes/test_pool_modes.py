"""Who may look at the files of a pool: root, and no other VM's QEMU."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import LockHeld
from holdfast.machine import Disk, Format, Volume
from holdfast.storage import directory, local
from holdfast.storage.pathname import ANYWHERE

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def disk(pool: Path, form: Format) -> Disk:
    volume = Volume(pool="default", directory=str(pool), name=f"7-root.{form}")
    return Disk(name="root", backend=volume, size=1 << 20, format=form)


def test_a_volume_is_roots_alone(tmp_path: Path) -> None:
    """Also while it is on its way, and whoever fills it."""
    seen = []

    def fill(path: Path, of: Disk) -> None:
        subprocess.run(["touch", str(path)], check=True)
        seen.append(path.stat().st_mode & 0o777)

    directory.provide(disk(tmp_path, Format.raw), ANYWHERE, fill)
    assert seen == [0o600]
    directory.provide(disk(tmp_path, Format.qcow2), ANYWHERE, fill)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    (tmp_path / "later").touch()
    assert (tmp_path / "later").stat().st_mode & 0o777 == 0o644


def test_volumes_of_old_are_closed(tmp_path: Path) -> None:
    old = disk(tmp_path, Format.raw)
    assert isinstance(old.backend, Volume)
    path = Path(old.backend.path)
    path.touch()
    path.chmod(0o644)
    directory.keep_private(old)
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    directory.keep_private(old)


def test_a_qcow2_grows_unless_a_qemu_has_it(tmp_path: Path) -> None:
    """By a qemu-img of few rights, wherever the file lies."""
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 1234, 1234)
    small = disk(tmp_path, Format.qcow2)
    assert isinstance(small.backend, Volume)
    assert directory.provide(small, ANYWHERE) == "created"
    larger = replace(small, size=4 << 20)
    path = Path(small.backend.path)
    before = path.read_bytes()
    with path.open("rb") as qemus:
        shared = local.FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, local.FIRST_LOCK, 1, 0)
        fcntl.fcntl(qemus.fileno(), fcntl.F_OFD_SETLK, shared)
        with pytest.raises(LockHeld, match="another QEMU holds its lock"):
            directory.provide(larger, ANYWHERE)
        assert path.read_bytes() == before
    assert directory.provide(larger, ANYWHERE) == "grown"
