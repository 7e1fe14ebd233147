"""Fixtures of the tests that go the whole way; those that need an engine are in container.py."""

import re
import shutil
from pathlib import Path

import pytest
from container import ceph, engine, lan, privileged, run

__all__ = ["ceph", "engine", "lan", "privileged", "run"]


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> str:
    """A VM of its own for each test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    return name[:40].strip("-")


@pytest.fixture
def boot_disk(tmp_path: Path, guest: Path) -> Path:
    """A disk file with the small guest on it; `tmp_path` is where it lies."""
    return Path(shutil.copy(guest / "disk.raw", tmp_path / "disk.raw"))
