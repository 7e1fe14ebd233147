"""The examples are what `holdfast check` passes, and QEMU gets a command from each."""

import json
from pathlib import Path

import pytest

from holdfast.cli import argv, check

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))
ENVIRON = {"HOLDFAST_CONFIG": str(EXAMPLES / "host.toml")}


def test_there_is_a_dozen() -> None:
    assert len(FILES) >= 12


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_sound(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main(["--file", str(file)], ENVIRON) == 0, capsys.readouterr().out
    host = tmp_path / "host.json"
    emulators = {"aarch64": "/usr/bin/qemu-system-aarch64"}
    host.write_text(json.dumps({"kvm": "usable", "emulators": emulators}), encoding="utf-8")
    vm = file.stem
    assert argv.main([vm, "--file", str(file), "--host-file", str(host)], ENVIRON) == 0
    assert "-device" in capsys.readouterr().out
    assert file.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_says_at_once_what_it_needs_of_host_toml(file: Path, tmp_path: Path) -> None:
    (tmp_path / "host.toml").write_text("", encoding="utf-8")
    bare = check.main(["--file", str(file)], {"HOLDFAST_CONFIG": str(tmp_path / "host.toml")})
    first, *_ = file.read_text(encoding="utf-8").splitlines()
    assert (bare == 0) is ("host.toml" not in first)
