"""The linters of everything that is not Python. None may be missing: the image `test` has them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"


def shell_scripts() -> Iterator[Path]:
    for folder in ("tests", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and is_shell(path):
                yield path.relative_to(ROOT)


def is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline()
    words = first.replace(b"/", b" ").split()
    return path.suffix == ".sh" or (first.startswith(b"#!") and words[-1] in {b"sh", b"bash"})


@pytest.mark.parametrize("script", shell_scripts(), ids=str)
def test_shell(script: Path) -> None:
    run("shellcheck", "--external-sources", script)


def test_dockerfile() -> None:
    run(".venv/bin/hadolint", "--config", ".hadolint.yaml", "Dockerfile")


@pytest.mark.parametrize("profile", ["", "ceph"])
def test_compose(profile: str) -> None:
    run("docker", "compose", "--profile", profile, "config", "--quiet")


@pytest.mark.parametrize(
    "unit", sorted((ROOT / "systemd").glob("*.service")), ids=lambda p: p.name
)
def test_unit(unit: Path, tmp_path: Path) -> None:
    # The engine's own unit belongs to the host.
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/usr/bin/true\n")
    run("env", f"SYSTEMD_UNIT_PATH={tmp_path}:", "systemd-analyze", "verify", "--man=no", unit)
