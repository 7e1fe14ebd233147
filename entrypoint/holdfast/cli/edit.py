"""`holdfast edit`: a VM's keys as YAML in an editor."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.cli import definition
from holdfast.cli.set import changing, written
from holdfast.cli.subject import connected
from holdfast.errors import HoldfastError, UsageError
from holdfast.keys.yaml_text import yaml_text
from holdfast.system.config_file import vm_file


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = changing("edit")
    given = parser.parse_args(arguments)
    with connected(given.vm, environ) as (config, store):
        base = definition.read(store, config)
        definition.refuse_absent(base)
        path = (
            Path(tempfile.mkdtemp(prefix="holdfast-")) / f"{given.vm}.yaml"
        )  # for root, or us, alone
        path.write_text(yaml_text(base.values()), encoding="utf-8")
        try:
            opened(path, environ)
            edit = definition.edit_of(base.values(), vm_file(str(path)))
            status = written(given, base, edit, store, environ, "edit")
        except HoldfastError as error:
            error.hint = f"{error.hint}\nyour text is in {path}: mend it, then `holdfast apply {path}`".lstrip()
            raise
    path.unlink()
    path.parent.rmdir()
    return status


def opened(path: Path, environ: Mapping[str, str]) -> None:
    editor = environ.get("VISUAL") or environ.get("EDITOR") or "vi"
    try:
        done = subprocess.run([*shlex.split(editor), str(path)], check=False, env=dict(os.environ))
    except OSError as error:
        raise UsageError(
            f"{editor}: {error.strerror}", hint="set EDITOR to your editor"
        ) from error
    if done.returncode:
        raise UsageError(f"{editor} ended with status {done.returncode}: nothing was written")
