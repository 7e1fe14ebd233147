"""The commands, a row each. Dispatch, `holdfast help` and each command's own help come from this table."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from holdfast import __version__
from holdfast.dataclass import dataclass
from holdfast.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Command:
    """`function` of `module` takes the arguments behind the name, and the environment; returns the exit status."""

    name: str
    arguments: str = ""  # as the list of all commands shows them
    purpose: str  # a sentence
    module: str  # imported when the command is called, and not before
    function: str = "main"

    def call(self, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
        status: int = getattr(import_module(self.module), self.function)(arguments, environ)
        return status


TABLE = (
    Command(
        name="run",
        arguments="[VM]",
        purpose="Run the VM that VM or the environment names. So does no command at all.",
        module="holdfast.launcher.run",
        function="run",
    ),
    Command(
        name="check",
        arguments="[VM] [--file vm.yaml]",
        purpose="Print all that is wrong with a VM's keys; the status is 78 then.",
        module="holdfast.cli.check",
    ),
    Command(
        name="argv",
        arguments="[VM] [--file vm.yaml]",
        purpose="Print the QEMU command of a VM, an option with its value a line.",
        module="holdfast.cli.argv",
    ),
    Command(
        name="memory",
        arguments="[VM] [--file vm.yaml]",
        purpose="Print the limit of memory for a VM's container, in MiB.",
        module="holdfast.cli.memory",
    ),
    Command(
        name="host",
        arguments="[--json]",
        purpose="Print what this host is and has.",
        module="holdfast.cli.host",
    ),
    Command(
        name="fence",
        arguments="show|forget|shut-out VM",
        purpose="Show or forget the record of a VM's last owner.",
        module="holdfast.cli.fence",
    ),
    Command(
        name="claim",
        arguments="ls|release",
        purpose="List the disks and addresses that VMs have claimed, or set one free.",
        module="holdfast.cli.claim",
    ),
    Command(
        name="volume",
        arguments="ls|forget|adopt",
        purpose="List the volumes that were made, forget one, or take what is here for it.",
        module="holdfast.cli.volume",
    ),
    Command(
        name="image",
        arguments="ls|fetch|prune",
        purpose="List, fetch or remove the images that volumes are made from.",
        module="holdfast.cli.image",
    ),
    Command(
        name="downgrade",
        arguments="VM",
        purpose="Let launchers of an older Holdfast start a VM again.",
        module="holdfast.cli.downgrade",
    ),
    Command(
        name="version",
        purpose="Print the version.",
        module=__name__,
        function="print_version",
    ),
    Command(
        name="help",
        purpose="Print this.",
        module=__name__,
        function="print_usage",
    ),
)
COMMANDS = {one.name: one for one in TABLE}
USAGE = """\
usage: holdfast COMMAND ...
       holdfast -OPTION...          run QEMU with these options instead of what the keys would build

{rows}

`holdfast COMMAND --help` tells more. The environment and the keys are described in docs/keys.md."""


def command(name: str) -> Command:
    """Find a command by its name. Raises UsageError where there is none."""
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name}", hint=usage())
    return COMMANDS[name]


def usage() -> str:
    """List all commands."""
    shown = {f"{one.name} {one.arguments}".strip(): one.purpose for one in TABLE}
    width = max(map(len, shown))
    rows = (f"  {call:{width}}  {purpose}" for call, purpose in shown.items())
    return USAGE.format(rows="\n".join(rows))


def print_usage(_arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    sys.stdout.write(f"{usage()}\n")
    return 0


def print_version(_arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    sys.stdout.write(f"holdfast {__version__}\n")
    return 0
